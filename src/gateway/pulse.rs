//! Whether this process has been running all the time. One that was frozen does not know what was decided about it
//! meanwhile, and must ask before it passes on what a user typed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::lifecycle::PAUSED_AFTER;

/// How often the process takes its own pulse.
const BEAT: Duration = Duration::from_millis(250);
const NO_DOUBT: u64 = 0;

/// The pulse of one gateway instance. Times in it are milliseconds after its start.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    last_beat: AtomicU64,
    /// The end of the last pause, while it is not known what happened in it; [`NO_DOUBT`] otherwise.
    doubt: AtomicU64,
    doubted: Notify,
    assured: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last_beat: AtomicU64::new(0),
            doubt: AtomicU64::new(NO_DOUBT),
            doubted: Notify::new(),
            assured: Notify::new(),
        }
    }
}

impl Pulse {
    /// Beats for as long as it is polled.
    pub async fn beat(&self) {
        loop {
            self.take(Instant::now());
            sleep(BEAT).await;
        }
    }

    /// Returns at once while the process has been running all the time; after a pause, when it is known that this
    /// instance was not declared lost in it.
    pub async fn sure(&self) {
        loop {
            let assured = self.assured.notified();
            if self.take(Instant::now()) {
                return;
            }
            assured.await;
        }
    }

    /// Waits for a doubt, which only a renewal of the Lease can settle.
    pub async fn doubted(&self) {
        loop {
            let doubted = self.doubted.notified();
            if self.doubt.load(Ordering::Acquire) != NO_DOUBT {
                return;
            }
            doubted.await;
        }
    }

    /// The Lease was renewed, by a request that was begun at `begun`. Begun before the end of a pause it settles
    /// nothing: the Lease may have changed hands since.
    pub fn assure(&self, begun: Instant) {
        let doubt = self.doubt.load(Ordering::Acquire);
        if doubt != NO_DOUBT
            && self.millis(begun) >= doubt
            && self.doubt.compare_exchange(doubt, NO_DOUBT, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            info!("the Lease was not touched during the pause");
            self.assured.notify_waiters();
        }
    }

    /// Takes the pulse; whether there is no doubt.
    fn take(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let last = self.last_beat.fetch_max(now, Ordering::AcqRel);
        let pause = Duration::from_millis(now.saturating_sub(last));
        if pause > PAUSED_AFTER {
            warn!(
                seconds = pause.as_secs(),
                "this process was paused; nothing is passed on before its Lease is verified"
            );
            self.doubt.store(now, Ordering::Release);
            self.doubted.notify_waiters();
        }
        self.doubt.load(Ordering::Acquire) == NO_DOUBT
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_a_doubt_that_only_a_later_renewal_settles() {
        let pulse = Pulse::default();
        let at = |seconds| pulse.start + Duration::from_secs(seconds);
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
    async fn whoever_waits_is_let_go_when_the_doubt_is_settled() {
        let pulse = Pulse::default();
        pulse.doubt.store(1, Ordering::Release);
        pulse.doubted().await;
        let settle = async {
            tokio::task::yield_now().await;
            pulse.assure(Instant::now() + Duration::from_secs(1));
        };
        tokio::join!(pulse.sure(), settle);
    }
}
