//! When a connection's network counts as lost: no byte and no acknowledgement for too long, while one is owed.

use std::time::{Duration, Instant};

use super::timeouts::{NETWORK_LOOK_EVERY, NETWORK_LOST_AFTER};

/// What the kernel knows of a TCP connection (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHealth {
    /// Since the last byte came from the other side.
    pub since_data: Duration,
    /// Since the other side's kernel last acknowledged anything.
    pub since_ack: Duration,
    /// Whether something that was sent is not acknowledged.
    pub unacknowledged: bool,
    /// Whether the kernel has asked the other side for a sign of life, or for room, and has no answer.
    pub probing: bool,
}

impl TcpHealth {
    /// Whether the other side has been silent for too long. A side that reads slowly, or not at all, is not: its
    /// kernel goes on acknowledging.
    fn is_silent(&self) -> bool {
        self.since_data.min(self.since_ack) >= NETWORK_LOST_AFTER
    }

    /// Whether the other side owes an answer.
    const fn is_owed(&self) -> bool {
        self.unacknowledged || self.probing
    }
}

/// Watches one connection. A side is lost that is silent and owes an answer, and owed it at the look before already:
/// after a pause of our own everybody has been silent, and has just been asked.
#[derive(Debug, Default)]
pub struct NetworkWatch {
    owed_since: Option<Instant>,
    looked: Option<Instant>,
}

impl NetworkWatch {
    /// Looks at the connection; whether its other side is lost. To be called every [`NETWORK_LOOK_EVERY`] or more
    /// often.
    pub fn is_lost(&mut self, health: TcpHealth, now: Instant) -> bool {
        let paused = self.looked.is_some_and(|looked| now.duration_since(looked) > 2 * NETWORK_LOOK_EVERY);
        self.looked = Some(now);
        if paused || !health.is_owed() {
            self.owed_since = None;
        }
        if !health.is_owed() {
            return false;
        }
        let owed_since = *self.owed_since.get_or_insert(now);
        health.is_silent() && now.duration_since(owed_since) >= NETWORK_LOOK_EVERY
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
        assert!(!watch.is_lost(health, start), "at the first look nobody is lost");
        assert_eq!(watch.is_lost(health, start + NETWORK_LOOK_EVERY), lost);
    }

    #[test]
    fn after_a_pause_the_other_side_has_time_to_answer() {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!watch.is_lost(health(4, 4, true, false), at(0)));
        let thawed = health(44, 44, true, false);
        assert!(!watch.is_lost(thawed, at(40)) && !watch.is_lost(thawed, at(41)));
        assert!(!watch.is_lost(health(0, 0, false, false), at(43)));
        assert!(!watch.is_lost(thawed, at(46)), "owed anew");
        assert!(watch.is_lost(thawed, at(49)));
    }
}
