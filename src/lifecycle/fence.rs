//! When a gateway must end its own sessions: cut off from both of its witnesses, before anybody calls them dead.

use std::time::Instant;

use super::timeouts::{FENCE_AFTER, PAUSED_AFTER};

/// What one gateway instance, for which Redis is configured, knows of its own signs of life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// When the last sign that reached a witness was begun.
    shown: Instant,
    looked: Instant,
}

impl Fence {
    /// Of an instance that has just made its Lease.
    pub const fn new(now: Instant) -> Self {
        Self { shown: now, looked: now }
    }

    /// A sign of life that was begun at `begun` has reached the API server, or Redis.
    pub fn shown(&mut self, begun: Instant) {
        self.shown = self.shown.max(begun);
    }

    /// Whether neither witness could be reached for too long. To be called several times a second: a gap means that
    /// the process was paused, which had no chance to reach anybody. (What was decided meanwhile is its Lease's to say.)
    pub fn is_cut_off(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.looked) > PAUSED_AFTER {
            self.shown = self.shown.max(now);
        }
        self.looked = now;
        now.saturating_duration_since(self.shown) >= FENCE_AFTER
    }

    /// Moves everything that it remembers in time, for which see [`super::FailureDetector::shift`].
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        self.shown = to(self.shown);
        self.looked = to(self.looked);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::timeouts::LOST_AFTER;

    /// Looks four times a second from `from` to `to`; the first second at which the fence falls.
    fn falls(fence: &mut Fence, start: Instant, from: u64, to: u64) -> Option<f64> {
        let moments = (from * 4..=to * 4).map(|quarter| f64::from(u32::try_from(quarter).unwrap()) / 4.0);
        moments.into_iter().find(|at| fence.is_cut_off(start + Duration::from_secs_f64(*at)))
    }

    #[test]
    fn it_falls_before_anybody_may_call_the_instance_lost() {
        let start = Instant::now();
        assert_eq!(falls(&mut Fence::new(start), start, 0, 60), Some(FENCE_AFTER.as_secs_f64()));
        assert!(FENCE_AFTER < LOST_AFTER);
    }

    #[test]
    fn one_witness_is_enough() {
        let start = Instant::now();
        let mut fence = Fence::new(start);
        for beat in (0..100).step_by(5) {
            fence.shown(start + Duration::from_secs(beat));
            assert_eq!(falls(&mut fence, start, beat, beat + 5), None);
        }
        // The answer to an earlier attempt comes late, and takes nothing back.
        fence.shown(start);
        assert_eq!(falls(&mut fence, start, 100, 200), Some(110.0));
    }

    #[test]
    fn a_process_that_was_paused_gets_its_time() {
        let start = Instant::now();
        let mut fence = Fence::new(start);
        assert_eq!(falls(&mut fence, start, 0, 10), None);
        assert_eq!(falls(&mut fence, start, 50, 100), Some(65.0));
    }
}
