//! Decides when the network of a connection is lost: the peer is silent although it owes an answer.

use std::time::{Duration, Instant};

use super::timeouts::{NETWORK_CHECK_INTERVAL, NETWORK_LOST_AFTER};

/// The health of a TCP connection, from the kernel's `TCP_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHealth {
    /// The time since the last byte from the peer.
    pub since_data: Duration,
    /// The time since the last acknowledgement from the peer's kernel.
    pub since_ack: Duration,
    /// Whether sent data is not yet acknowledged.
    pub unacknowledged: bool,
    /// Whether a keepalive or zero-window probe of the kernel is unanswered.
    pub probing: bool,
}

impl TcpHealth {
    /// Returns whether the peer has been silent for [`NETWORK_LOST_AFTER`]. A peer that does not read is not silent, since
    /// its kernel acknowledges probes.
    fn is_silent(&self) -> bool {
        self.since_data.min(self.since_ack) >= NETWORK_LOST_AFTER
    }

    /// Returns whether the peer owes an answer.
    const fn is_owed(&self) -> bool {
        self.unacknowledged || self.probing
    }
}

/// Watches the network of one connection.
///
/// A peer is lost if it is silent and has owed an answer since an earlier check. One check is not enough: after a pause of
/// this process every peer looks silent.
#[derive(Debug, Default)]
pub struct NetworkWatch {
    owed_since: Option<Instant>,
    checked: Option<Instant>,
}

impl NetworkWatch {
    /// Checks the connection. Returns whether the peer is lost. Call it at least every [`NETWORK_CHECK_INTERVAL`].
    pub fn is_lost(&mut self, health: TcpHealth, now: Instant) -> bool {
        let paused = self.checked.is_some_and(|checked| now.duration_since(checked) > 2 * NETWORK_CHECK_INTERVAL);
        self.checked = Some(now);
        if paused || !health.is_owed() {
            self.owed_since = None;
        }
        if !health.is_owed() {
            return false;
        }
        let owed_since = *self.owed_since.get_or_insert(now);
        health.is_silent() && now.duration_since(owed_since) >= NETWORK_CHECK_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn health(data: u64, ack: u64, unacknowledged: bool, probing: bool) -> TcpHealth {
        let (since_data, since_ack) = (Duration::from_secs(data), Duration::from_secs(ack));
        TcpHealth { since_data, since_ack, unacknowledged, probing }
    }

    #[rstest]
    #[case::idle_and_answering(health(4, 4, false, false), false)]
    #[case::silent_with_a_keepalive_out(health(20, 20, true, false), true)]
    #[case::not_yet(health(19, 19, true, false), false)]
    #[case::downloading_and_never_sending(health(300, 0, true, false), false)]
    #[case::uploading_only(health(0, 300, true, false), false)]
    #[case::stopped_reading_but_its_kernel_answers(health(300, 60, false, false), false)]
    #[case::stopped_reading_and_gone(health(300, 60, false, true), true)]
    #[case::nothing_was_sent_for_a_while(health(60, 60, false, false), false)]
    fn a_network_that_stays(#[case] health: TcpHealth, #[case] lost: bool) {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        assert!(!watch.is_lost(health, start), "no peer is lost at the first check");
        assert_eq!(watch.is_lost(health, start + NETWORK_CHECK_INTERVAL), lost);
    }

    #[test]
    fn the_peer_has_time_to_answer_after_a_pause() {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!watch.is_lost(health(4, 4, true, false), at(0)));
        let thawed = health(44, 44, true, false);
        assert!(!watch.is_lost(thawed, at(40)) && !watch.is_lost(thawed, at(41)));
        assert!(!watch.is_lost(health(0, 0, false, false), at(43)));
        assert!(!watch.is_lost(thawed, at(46)), "owed since this check");
        assert!(watch.is_lost(thawed, at(49)));
    }
}
