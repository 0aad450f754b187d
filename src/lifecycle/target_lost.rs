//! Decides when a session has lost its target although no channel has ended.

use std::time::{Duration, Instant};

use super::timeouts::{NETWORK_CHECK_INTERVAL, TARGET_GONE_AFTER, UNREAD_TIMEOUT};

/// The state of a session's connections to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetConnections {
    /// A connection is open, or no channel needs one.
    Open,
    /// All connections have ended, after the target closed its channels. The channels still pass on buffered data.
    Closed,
    /// All connections have ended, at least one of them before the target had closed its channels. The channels have been told,
    /// and still pass on buffered data.
    Interrupted,
    /// All sockets are closed, and the channels of at least one connection have not been told.
    Vanished,
}

/// Watches one session for a lost target.
#[derive(Debug, Default)]
pub struct TargetWatch {
    /// Since when the target has been lost without a byte passed to the user, and the number of bytes passed by then.
    stalled: Option<(Instant, u64)>,
}

impl TargetWatch {
    /// Returns whether the session has to end because its target is lost. `passed` counts the bytes passed to the user.
    pub fn is_lost(&mut self, connections: TargetConnections, passed: u64, now: Instant) -> bool {
        let limit = match connections {
            TargetConnections::Open | TargetConnections::Closed => {
                self.stalled = None;
                return false;
            }
            TargetConnections::Interrupted => UNREAD_TIMEOUT,
            TargetConnections::Vanished => TARGET_GONE_AFTER,
        };
        match self.stalled {
            Some((since, before)) if before == passed => now.saturating_duration_since(since) >= limit,
            _ => {
                self.stalled = Some((now, passed));
                false
            }
        }
    }

    /// Returns how long to wait before the next check.
    pub const fn next_check(&self) -> Duration {
        if self.stalled.is_some() { TARGET_GONE_AFTER } else { NETWORK_CHECK_INTERVAL }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::TargetConnections::{Closed, Interrupted, Open, Vanished};
    use super::*;

    #[rstest]
    #[case::open([(0, Open, 0), (60, Open, 0)], false)]
    #[case::vanished([(0, Vanished, 0), (2, Vanished, 0)], true)]
    #[case::vanished_just_now([(0, Vanished, 0), (1, Vanished, 0)], false)]
    #[case::another_connection_in_time([(0, Vanished, 0), (2, Open, 0)], false)]
    #[case::closed_in_order_and_not_read([(0, Closed, 0), (600, Closed, 0)], false)]
    #[case::drained_slowly([(0, Interrupted, 0), (20, Interrupted, 1)], false)]
    #[case::announced_and_read([(0, Interrupted, 0), (2, Interrupted, 0)], false)]
    #[case::announced_and_not_read([(0, Interrupted, 0), (20, Interrupted, 0)], true)]
    fn a_target_is_lost(#[case] checks: [(u64, TargetConnections, u64); 2], #[case] lost: bool) {
        let (mut watch, start) = (TargetWatch::default(), Instant::now());
        let [first, second] =
            checks.map(|(at, connections, passed)| watch.is_lost(connections, passed, start + Duration::from_secs(at)));
        assert_eq!((first, second), (false, lost));
    }

    #[test]
    fn a_loss_is_checked_again_soon_and_forgotten_once_a_connection_is_open() {
        let (mut watch, start) = (TargetWatch::default(), Instant::now());
        assert_eq!(watch.next_check(), NETWORK_CHECK_INTERVAL);
        assert!(!watch.is_lost(Vanished, 0, start));
        assert_eq!(watch.next_check(), TARGET_GONE_AFTER);
        assert!(!watch.is_lost(Open, 0, start + TARGET_GONE_AFTER));
        assert!(!watch.is_lost(Vanished, 0, start + 2 * TARGET_GONE_AFTER));
    }
}
