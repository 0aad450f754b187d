//! Decides when a gateway that reaches neither the API server nor Redis must end its own sessions.

use std::time::Instant;

use super::timeouts::{FENCE_AFTER, PAUSED_AFTER};

/// The fence of one gateway instance with Redis: it tells the instance to end its own sessions before a controller can declare
/// the instance lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// When the last heartbeat was sent that reached the API server or Redis.
    heartbeat_sent: Instant,
    checked: Instant,
}

impl Fence {
    /// Creates the fence of an instance that created its Lease at `now`.
    pub const fn new(now: Instant) -> Self {
        Self { heartbeat_sent: now, checked: now }
    }

    /// Records that a heartbeat sent at `sent` has reached the API server or Redis.
    pub fn heartbeat_sent(&mut self, sent: Instant) {
        self.heartbeat_sent = self.heartbeat_sent.max(sent);
    }

    /// Returns whether no heartbeat has arrived for [`FENCE_AFTER`]. Call it several times a second. A gap of more than
    /// [`PAUSED_AFTER`] between two calls means that the process was paused; then the time starts again.
    pub fn is_cut_off(&mut self, now: Instant) -> bool {
        // A paused process could send no heartbeat. Its Lease tells whether it was declared lost meanwhile.
        if now.saturating_duration_since(self.checked) > PAUSED_AFTER {
            self.heartbeat_sent = self.heartbeat_sent.max(now);
        }
        self.checked = now;
        now.saturating_duration_since(self.heartbeat_sent) >= FENCE_AFTER
    }

    /// Shifts every stored instant; see [`super::FailureDetector::shift`].
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        self.heartbeat_sent = to(self.heartbeat_sent);
        self.checked = to(self.checked);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::timeouts::LOST_AFTER;

    /// Checks the fence four times a second from `from` to `to`. Returns the first second at which the instance is cut off.
    fn falls(fence: &mut Fence, start: Instant, from: u64, to: u64) -> Option<f64> {
        let moments = (from * 4..=to * 4).map(|quarter| f64::from(u32::try_from(quarter).unwrap()) / 4.0);
        moments.into_iter().find(|at| fence.is_cut_off(start + Duration::from_secs_f64(*at)))
    }

    #[test]
    fn the_fence_falls_before_a_controller_declares_the_loss() {
        let start = Instant::now();
        assert_eq!(falls(&mut Fence::new(start), start, 0, 60), Some(FENCE_AFTER.as_secs_f64()));
        assert!(FENCE_AFTER < LOST_AFTER);
    }

    #[test]
    fn any_heartbeat_holds_the_fence_up() {
        let start = Instant::now();
        let mut fence = Fence::new(start);
        for beat in (0..100).step_by(5) {
            fence.heartbeat_sent(start + Duration::from_secs(beat));
            assert_eq!(falls(&mut fence, start, beat, beat + 5), None);
        }
        // A late answer to an earlier heartbeat does not move the time back.
        fence.heartbeat_sent(start);
        assert_eq!(falls(&mut fence, start, 100, 200), Some(110.0));
    }

    #[test]
    fn the_time_starts_again_after_a_pause() {
        let start = Instant::now();
        let mut fence = Fence::new(start);
        assert_eq!(falls(&mut fence, start, 0, 10), None);
        assert_eq!(falls(&mut fence, start, 50, 100), Some(65.0));
    }
}
