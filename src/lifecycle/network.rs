//! When a connection's network counts as lost: no byte and no acknowledgement for too long, while one is owed.

use std::time::Duration;

use super::budget::NETWORK_LOST_AFTER;

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
    /// Whether the network to the other side is lost. A side that reads slowly, or not at all, is not: its kernel
    /// goes on acknowledging. Nor is one that we ourselves have not spoken to, as after a pause of our own.
    pub fn is_lost(&self) -> bool {
        let silent = self.since_data.min(self.since_ack) >= NETWORK_LOST_AFTER;
        silent && (self.unacknowledged || self.probing)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::idle_and_answering(4, 4, false, false, false)]
    #[case::silent_with_a_keepalive_out(20, 20, true, false, true)]
    #[case::not_yet(19, 19, true, false, false)]
    #[case::downloading_and_never_sending(300, 0, true, false, false)]
    #[case::uploading_only(0, 300, true, false, false)]
    #[case::stopped_reading_but_its_kernel_answers(300, 60, false, false, false)]
    #[case::stopped_reading_and_gone(300, 60, false, true, true)]
    #[case::nothing_was_sent_for_a_while(60, 60, false, false, false)]
    fn a_network(
        #[case] data: u64,
        #[case] ack: u64,
        #[case] unacknowledged: bool,
        #[case] probing: bool,
        #[case] lost: bool,
    ) {
        let (since_data, since_ack) = (Duration::from_secs(data), Duration::from_secs(ack));
        assert_eq!(TcpHealth { since_data, since_ack, unacknowledged, probing }.is_lost(), lost);
    }
}
