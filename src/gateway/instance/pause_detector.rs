//! Whether this process has been running all the time. One that was frozen does not know what was decided about it
//! meanwhile, and must ask before it passes on what a user typed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::lifecycle::{MAYBE_LOST_AFTER, PAUSED_AFTER};

/// How often the process takes its own pulse.
const BEAT: Duration = Duration::from_millis(250);

/// The pulse of one gateway instance.
#[derive(Debug)]
pub struct PauseDetector {
    state: Mutex<State>,
    doubted: Notify,
    assured: Notify,
}

/// One lock for both, so that nobody sees the beat after a pause without the doubt that it leaves.
#[derive(Debug)]
struct State {
    last_beat: Instant,
    /// The end of the last pause, while it is not known what happened in it.
    doubt: Option<Instant>,
    /// When the last renewal of the Lease was begun.
    renewed: Instant,
}

impl Default for PauseDetector {
    fn default() -> Self {
        let now = Instant::now();
        let state = State { last_beat: now, doubt: None, renewed: now };
        Self { state: Mutex::new(state), doubted: Notify::new(), assured: Notify::new() }
    }
}

impl PauseDetector {
    /// Beats for as long as it is polled.
    pub async fn beat(&self) {
        loop {
            self.take(Instant::now());
            sleep(BEAT).await;
        }
    }

    /// Whether the process has been running all the time, or it is known that this instance was not declared lost in the
    /// last pause.
    pub fn is_sure(&self) -> bool {
        self.take(Instant::now())
    }

    /// Returns at once while the process has been running all the time; after a pause, when it is known that this
    /// instance was not declared lost in it.
    pub async fn sure(&self) {
        loop {
            let assured = self.assured.notified();
            if self.is_sure() {
                return;
            }
            assured.await;
        }
    }

    /// Returns when whoever comes now may be let in: there is no doubt, and the Lease was renewed not long ago. After a
    /// longer silence the instance may have been declared lost, which its next renewal will tell.
    pub async fn fresh(&self) {
        loop {
            let assured = self.assured.notified();
            let now = Instant::now();
            if self.take(now) && now.saturating_duration_since(self.lock().renewed) < MAYBE_LOST_AFTER {
                return;
            }
            assured.await;
        }
    }

    /// Waits for a doubt, which only a renewal of the Lease can settle.
    pub async fn doubted(&self) {
        loop {
            let doubted = self.doubted.notified();
            if self.lock().doubt.is_some() {
                return;
            }
            doubted.await;
        }
    }

    /// The Lease was renewed, by a request that was begun at `begun`. Begun before the end of a pause it settles
    /// nothing: the Lease may have changed hands since.
    pub fn assure(&self, begun: Instant) {
        let mut state = self.lock();
        state.renewed = begun;
        if state.doubt.is_some_and(|doubt| begun >= doubt) {
            state.doubt = None;
            info!("the Lease was not touched during the pause");
        }
        drop(state);
        self.assured.notify_waiters();
    }

    /// Takes the pulse; whether there is no doubt.
    fn take(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let pause = now.saturating_duration_since(state.last_beat);
        state.last_beat = now.max(state.last_beat);
        if pause <= PAUSED_AFTER {
            return state.doubt.is_none();
        }
        state.doubt = Some(now);
        drop(state);
        warn!(seconds = pause.as_secs(), "this process was paused; nothing is passed on before its Lease is verified");
        self.doubted.notify_waiters();
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_a_doubt_that_only_a_later_renewal_settles() {
        let pulse = PauseDetector::default();
        let start = pulse.lock().last_beat;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(pulse.take(at(1)) && pulse.take(at(3)));
        assert!(!pulse.take(at(40)), "after a pause");
        pulse.assure(at(2));
        assert!(!pulse.take(at(41)), "a renewal from before the pause");
        pulse.assure(at(41));
        assert!(pulse.take(at(42)));
        assert!(!pulse.take(at(80)) && !pulse.take(at(120)));
        pulse.assure(at(81));
        assert!(!pulse.take(at(121)), "a renewal from before the second pause");
    }

    #[tokio::test]
    async fn nobody_comes_in_after_a_silence_before_the_lease_is_renewed() {
        let pulse = PauseDetector::default();
        pulse.fresh().await;
        pulse.lock().renewed = Instant::now().checked_sub(MAYBE_LOST_AFTER).unwrap();
        pulse.sure().await;
        let mut coming_in = std::pin::pin!(pulse.fresh());
        assert!(futures::poll!(&mut coming_in).is_pending());
        pulse.assure(Instant::now());
        coming_in.await;
    }

    #[tokio::test]
    async fn whoever_waits_is_let_go_when_the_doubt_is_settled() {
        let pulse = PauseDetector::default();
        pulse.lock().doubt = Some(Instant::now());
        pulse.doubted().await;
        let settle = async {
            tokio::task::yield_now().await;
            pulse.assure(Instant::now() + Duration::from_secs(1));
        };
        tokio::join!(pulse.sure(), settle);
    }
}
