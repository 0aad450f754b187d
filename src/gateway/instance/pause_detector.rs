//! Detects pauses of the process. After a pause, the instance must renew its Lease before any input passes.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock;
use crate::lifecycle::{MAYBE_LOST_AFTER, PAUSED_AFTER};

/// How often the process checks for a pause.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Detects pauses of the process during one gateway instance. During a pause, a controller may have declared the instance lost.
#[derive(Debug)]
pub struct PauseDetector {
    state: Mutex<State>,
    paused: Notify,
    renewed: Notify,
}

/// The state of a pause detector, behind one lock. Each task that sees the check after a pause thus also sees the pause.
#[derive(Debug)]
struct State {
    last_check: Instant,
    /// The end of the last pause, until a later renewal of the Lease.
    unconfirmed_since: Option<Instant>,
    /// When the last successful renewal of the Lease was sent.
    last_renewal: Instant,
}

impl Default for PauseDetector {
    fn default() -> Self {
        let now = clock::now();
        let state = State { last_check: now, unconfirmed_since: None, last_renewal: now };
        Self { state: Mutex::new(state), paused: Notify::new(), renewed: Notify::new() }
    }
}

impl PauseDetector {
    /// Checks for pauses at each [`CHECK_INTERVAL`]. Never returns.
    pub async fn run(&self) {
        loop {
            self.check(clock::now());
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Returns whether the instance is confirmed: the process was not paused, or the Lease was renewed after the last pause.
    pub fn is_confirmed(&self) -> bool {
        self.check(clock::now())
    }

    /// Waits until the instance is confirmed. Returns at once unless the process was paused.
    pub async fn confirmed(&self) {
        loop {
            let renewed = self.renewed.notified();
            if self.is_confirmed() {
                return;
            }
            renewed.await;
        }
    }

    /// Waits until new sessions may start: the instance is confirmed, and its Lease was renewed within [`MAYBE_LOST_AFTER`]. If
    /// the last renewal is older, a controller may have declared the instance lost.
    pub async fn recently_renewed(&self) {
        loop {
            let renewed = self.renewed.notified();
            let now = clock::now();
            if self.check(now) && now.saturating_duration_since(self.state.lock().last_renewal) < MAYBE_LOST_AFTER {
                return;
            }
            renewed.await;
        }
    }

    /// Waits for a pause. Returns at once if the instance is unconfirmed.
    pub async fn paused(&self) {
        loop {
            let paused = self.paused.notified();
            if self.state.lock().unconfirmed_since.is_some() {
                return;
            }
            paused.await;
        }
    }

    /// Records a renewal of the Lease by a request sent at `begun`. A request that was sent before the end of a pause does not
    /// confirm the instance, because the Lease may have got another holder since.
    pub fn lease_renewed(&self, begun: Instant) {
        let mut state = self.state.lock();
        state.last_renewal = begun;
        if state.unconfirmed_since.is_some_and(|since| begun >= since) {
            state.unconfirmed_since = None;
            info!("the Lease is still held after the pause; input passes again");
        }
        drop(state);
        self.renewed.notify_waiters();
    }

    /// Checks for a pause that ended at `now`. Returns whether the instance is confirmed.
    fn check(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let pause = now.saturating_duration_since(state.last_check);
        state.last_check = now.max(state.last_check);
        if pause <= PAUSED_AFTER {
            return state.unconfirmed_since.is_none();
        }
        state.unconfirmed_since = Some(now);
        drop(state);
        warn!(seconds = pause.as_secs(), "this process was paused; no input passes until its Lease is renewed");
        self.paused.notify_waiters();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_renewal_after_the_pause_confirms_the_instance() {
        let detector = PauseDetector::default();
        let start = detector.state.lock().last_check;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(detector.check(at(1)) && detector.check(at(3)));
        assert!(!detector.check(at(40)), "after a pause");
        detector.lease_renewed(at(2));
        assert!(!detector.check(at(41)), "a renewal from before the pause");
        detector.lease_renewed(at(41));
        assert!(detector.check(at(42)));
        assert!(!detector.check(at(80)) && !detector.check(at(120)));
        detector.lease_renewed(at(81));
        assert!(!detector.check(at(121)), "a renewal from before the second pause");
    }

    #[tokio::test]
    async fn no_session_starts_after_a_long_silence_before_the_lease_is_renewed() {
        let detector = PauseDetector::default();
        detector.recently_renewed().await;
        detector.state.lock().last_renewal = clock::now().checked_sub(MAYBE_LOST_AFTER).unwrap();
        detector.confirmed().await;
        let mut starting = std::pin::pin!(detector.recently_renewed());
        assert!(futures::poll!(&mut starting).is_pending());
        detector.lease_renewed(clock::now());
        starting.await;
    }

    #[tokio::test]
    async fn waiting_tasks_continue_when_the_lease_is_renewed() {
        let detector = PauseDetector::default();
        detector.state.lock().unconfirmed_since = Some(clock::now());
        detector.paused().await;
        let renew = async {
            tokio::task::yield_now().await;
            detector.lease_renewed(clock::now() + Duration::from_secs(1));
        };
        tokio::join!(detector.confirmed(), renew);
    }
}
