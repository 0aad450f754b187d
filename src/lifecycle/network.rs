//! Decides when the network of a connection is lost: the peer is silent although it owes an answer.
//!
//! On a direct connection the peer's kernel answers, even if the peer is suspended or does not read. Behind a proxy that ends
//! TCP, the proxy's kernel answers even if the peer is gone. There, only data from the peer itself counts. A silent peer owes
//! the answer to an SSH keepalive every [`super::KEEPALIVE_INTERVAL`]. During a transfer, the keepalive reaches the peer after
//! the data that was sent before it. The peer gets as much extra time as a link of [`SLOWEST_RATE`] needs for that data.

use std::time::{Duration, Instant};

use super::timeouts::{NETWORK_CHECK_INTERVAL, NETWORK_LOST_AFTER, TRANSFER_ALLOWANCE};

/// The lowest rate of a link behind a proxy at which a transfer survives, in bytes a second: 64 kbit/s.
const SLOWEST_RATE: u32 = 8_000;

/// Whether a peer's own kernel acknowledges what is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpPath {
    /// The connection leads to the peer itself.
    #[default]
    Direct,
    /// The connection leads to a proxy, or may lead to one.
    Proxied,
}

/// The health of a TCP connection, from the kernel's `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpHealth {
    /// Whether the peer's own kernel acknowledges.
    pub path: TcpPath,
    /// The time since the last byte from the peer.
    pub since_data: Duration,
    /// The time since the last acknowledgement from the peer's kernel.
    pub since_ack: Duration,
    /// Whether sent data is not yet acknowledged.
    pub unacknowledged: bool,
    /// Whether a keepalive or zero-window probe of the kernel is unanswered.
    pub probing: bool,
    /// Whether the kernel retransmits data of which no byte was acknowledged, although the peer has room for it. Always false
    /// before Linux 5.4.
    pub retransmitting: bool,
    /// The bytes written to the connection since its start.
    pub written: u64,
    /// The number of written bytes that are acknowledged.
    pub acknowledged: u64,
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
    /// The latest time at which the current retransmission can have begun, and the bytes acknowledged by then; `None` without a
    /// retransmission.
    stuck: Option<(Instant, u64)>,
    checked: Option<Instant>,
    proxied: Option<ProxiedPeer>,
}

impl NetworkWatch {
    /// Checks the connection. Returns whether the peer is lost. Call it at least every [`NETWORK_CHECK_INTERVAL`].
    pub fn is_lost(&mut self, health: TcpHealth, now: Instant) -> bool {
        let paused = self.checked.is_some_and(|checked| now.duration_since(checked) > 2 * NETWORK_CHECK_INTERVAL);
        self.checked = Some(now);
        let is_path_lost = self.is_path_lost(health, paused, now);
        let is_peer_lost = match health.path {
            TcpPath::Direct => false,
            TcpPath::Proxied if paused => {
                self.proxied = Some(ProxiedPeer::new(health, now));
                false
            }
            TcpPath::Proxied => self.proxied.get_or_insert_with(|| ProxiedPeer::new(health, now)).is_lost(health, now),
        };
        self.is_one_way(health, paused, now) || is_path_lost || is_peer_lost
    }

    /// Returns whether the network to the other end of the TCP connection, the peer or a proxy, is lost.
    fn is_path_lost(&mut self, health: TcpHealth, paused: bool, now: Instant) -> bool {
        if paused || !health.is_owed() {
            self.owed_since = None;
        }
        if !health.is_owed() {
            return false;
        }
        let owed_since = *self.owed_since.get_or_insert(now);
        health.is_silent() && now.duration_since(owed_since) >= NETWORK_CHECK_INTERVAL
    }

    /// Returns whether the network works in one direction only: the other end's kernel sends, but has acknowledged no new
    /// data for [`NETWORK_LOST_AFTER`]. A peer that does not read does not count, because the kernel retransmits no data for
    /// which the peer has no room.
    fn is_one_way(&mut self, health: TcpHealth, paused: bool, now: Instant) -> bool {
        match self.stuck {
            _ if paused || !health.retransmitting => self.stuck = None,
            Some((since, acknowledged)) if acknowledged == health.acknowledged => {
                let stuck_for = now.duration_since(since);
                return stuck_for >= NETWORK_LOST_AFTER && health.since_ack < NETWORK_LOST_AFTER;
            }
            Some(_) | None => {
                // The retransmission began after the previous check, and after the last acknowledgement.
                let before = health.since_ack.min(NETWORK_CHECK_INTERVAL);
                let since = now.checked_sub(before).unwrap_or(now);
                self.stuck = Some((since, health.acknowledged));
            }
        }
        false
    }
}

/// The signs of life of a peer behind a proxy.
#[derive(Debug)]
struct ProxiedPeer {
    /// The last sign of life.
    alive: Instant,
    /// How long the data that may be in flight takes to reach the peer at [`SLOWEST_RATE`]; at most [`TRANSFER_ALLOWANCE`].
    on_its_way: Duration,
    /// The bytes written before the last call.
    written: u64,
    sampled: Sample,
}

/// The state of the queue of unacknowledged bytes at one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    written: u64,
    acknowledged: u64,
}

impl Sample {
    const fn of(health: TcpHealth, at: Instant) -> Self {
        Self { at, written: health.written, acknowledged: health.acknowledged }
    }

    /// Returns whether some of the bytes that waited at this sample have been acknowledged since, while others still wait. Then
    /// the proxy's buffers are full, and it accepts only as many bytes as it passes on to the peer.
    const fn has_moved(&self, health: TcpHealth) -> bool {
        self.acknowledged < health.acknowledged && health.acknowledged < self.written
    }
}

impl ProxiedPeer {
    /// Returns a peer that counts as alive at `now`.
    const fn new(health: TcpHealth, now: Instant) -> Self {
        Self { alive: now, on_its_way: Duration::ZERO, written: health.written, sampled: Sample::of(health, now) }
    }

    /// Returns whether the peer is lost: it has given no sign of life for [`NETWORK_LOST_AFTER`] plus the time that the data in
    /// flight may take.
    fn is_lost(&mut self, health: TcpHealth, now: Instant) -> bool {
        self.observe(health, now);
        now.saturating_duration_since(self.alive) >= NETWORK_LOST_AFTER + self.on_its_way
    }

    fn observe(&mut self, health: TcpHealth, now: Instant) {
        if let Some(received) = now.checked_sub(health.since_data) {
            self.observe_life(received);
        }
        if now.duration_since(self.sampled.at) >= NETWORK_CHECK_INTERVAL {
            if self.sampled.has_moved(health) {
                self.observe_life(now);
            }
            self.sampled = Sample::of(health, now);
        }
        let bytes = u32::try_from(health.written.saturating_sub(self.written)).unwrap_or(u32::MAX);
        self.written = health.written;
        self.on_its_way = (self.on_its_way + Duration::from_secs(1) * bytes / SLOWEST_RATE).min(TRANSFER_ALLOWANCE);
    }

    /// Records a sign of life at `at`. Data is assumed to have reached the peer at [`SLOWEST_RATE`] since the sign before.
    fn observe_life(&mut self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.alive);
        self.on_its_way = self.on_its_way.saturating_sub(elapsed);
        self.alive += elapsed;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    fn health(data: u64, ack: u64, unacknowledged: bool, probing: bool) -> TcpHealth {
        let (since_data, since_ack) = (Duration::from_secs(data), Duration::from_secs(ack));
        TcpHealth { since_data, since_ack, unacknowledged, probing, ..TcpHealth::default() }
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

    #[rstest]
    #[case::sends_and_acknowledges_nothing(true, 1, 0, true)]
    #[case::repeats_what_it_sent_and_acknowledges_nothing(true, 60, 0, true)]
    #[case::does_not_read(false, 60, 0, false)]
    #[case::acknowledges_slowly(true, 1, 1, false)]
    #[case::all_is_acknowledged(false, 1, 0, false)]
    fn a_peer_that_is_heard_but_not_reached_is_lost(
        #[case] retransmitting: bool,
        #[case] since_data: u64,
        #[case] progress: u64,
        #[case] lost: bool,
    ) {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        let mut last = false;
        for check in 0..8 {
            let health = TcpHealth {
                retransmitting,
                acknowledged: check * progress,
                ..health(since_data, 0, retransmitting, false)
            };
            assert!(!last, "not before 20 s");
            last = watch.is_lost(health, start + u32::try_from(check).unwrap() * NETWORK_CHECK_INTERVAL);
        }
        assert_eq!(last, lost);
    }

    #[rstest]
    #[case::acknowledged_until_the_first_check(0, 7)]
    #[case::acknowledged_until_the_check_before(3, 6)]
    #[case::idle_until_the_check_before(90, 6)]
    fn a_peer_is_stuck_since_its_last_acknowledgement(#[case] since_ack: u64, #[case] lost_at: u32) {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        let stuck = |since_ack| TcpHealth { retransmitting: true, ..health(1, since_ack, true, false) };
        assert!(!watch.is_lost(stuck(since_ack), start));
        let lost = (1..10).find(|check| watch.is_lost(stuck(0), start + *check * NETWORK_CHECK_INTERVAL));
        assert_eq!(lost, Some(lost_at));
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

    /// A peer behind a proxy: a link of `rate` bytes a second, a proxy with a buffer of `buffer` bytes, and a client. The
    /// client sends a message after every `step` bytes that it has received, as OpenSSH does with
    /// SSH_MSG_CHANNEL_WINDOW_ADJUST.
    struct Link {
        rate: u64,
        buffer: u64,
        step: u64,
        /// The bytes that the program has written. `accepted` and `received` are those that the proxy has accepted and that the
        /// client has received.
        written: u64,
        accepted: u64,
        received: u64,
        announced: u64,
        /// The second of the last message from the client.
        heard: u64,
    }

    impl Link {
        fn new(rate: u64, buffer: u64, step: u64) -> Self {
            Self { rate, buffer, step, written: 0, accepted: 0, received: 0, announced: 0, heard: 0 }
        }

        /// Simulates one second, in which the gateway writes `write` bytes, and a keepalive after every 5 s of silence.
        fn second(&mut self, at: u64, write: u64, cut: bool) -> TcpHealth {
            self.written += write;
            if at.saturating_sub(self.heard).is_multiple_of(5) {
                self.written += 60;
            }
            if !cut {
                self.received = self.accepted.min(self.received + self.rate);
            }
            self.accepted = self.written.min(self.received + self.buffer);
            if !cut && (self.received >= self.announced + self.step || self.received == self.written) {
                (self.announced, self.heard) = (self.received, at);
            }
            TcpHealth {
                path: TcpPath::Proxied,
                since_data: Duration::from_secs(at - self.heard),
                since_ack: Duration::ZERO,
                unacknowledged: self.accepted < self.written,
                probing: self.accepted < self.written,
                retransmitting: false,
                written: self.written,
                acknowledged: self.accepted,
            }
        }
    }

    /// Cuts the link at second `cut`. Returns how many seconds later the peer counts as lost, if it does so before second
    /// `seconds`. A negative result is a false alarm before the cut.
    fn lost_after(link: &mut Link, cut: u64, seconds: u64, write: impl Fn(u64, &Link) -> u64) -> Option<i64> {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        for at in 0..seconds {
            let bytes = write(at, link);
            let health = link.second(at, bytes, at >= cut);
            if watch.is_lost(health, start + Duration::from_secs(at)) {
                return Some(at.cast_signed() - cut.cast_signed());
            }
        }
        None
    }

    const NEVER: u64 = u64::MAX / 2;
    /// The window of a channel of OpenSSH, and the bytes after which its client grants more.
    const OPENSSH: (u64, u64) = (2 << 20, 96 << 10);

    /// The bytes that an endless download writes in one second: as many as the window allows.
    fn bulk(_: u64, link: &Link) -> u64 {
        (link.announced + OPENSSH.0).saturating_sub(link.written).min(50_000_000)
    }

    #[rstest]
    #[case::large_buffers(64 << 20)]
    #[case::small_buffers(64 << 10)]
    fn a_slow_download_through_a_proxy_survives(#[case] buffer: u64) {
        let rate = u64::from(SLOWEST_RATE);
        assert_eq!(lost_after(&mut Link::new(rate, buffer, OPENSSH.1), NEVER, 3600, bulk), None);
    }

    #[test]
    fn a_client_with_an_endless_window_survives_while_the_proxy_moves() {
        let mut link = Link::new(u64::from(SLOWEST_RATE), 256 << 10, NEVER);
        assert_eq!(
            lost_after(&mut link, NEVER, 3600, |_, link| 4_000_000_u64.saturating_sub(link.written - link.accepted)),
            None
        );
    }

    #[rstest]
    #[case::idle(0, 30)]
    #[case::a_screenful_now_and_then(4_000, 30)]
    #[case::a_download(50_000_000, 90)]
    fn a_cut_behind_a_proxy_is_noticed(#[case] burst: u64, #[case] bound: i64) {
        for cut in 60..70 {
            let mut link = Link::new(10_000_000, 8 << 20, OPENSSH.1);
            let write = |at, link: &Link| if at % 10 == 0 || burst > 1_000_000 { burst.min(bulk(at, link)) } else { 0 };
            let lost = lost_after(&mut link, cut, cut + 200, write).expect("it is noticed");
            assert!((15..bound).contains(&lost), "after {lost} s");
        }
    }

    #[test]
    fn a_stream_into_a_proxy_whose_client_is_gone_is_no_sign_of_life() {
        // Such as the output of `tail -f`: the proxy's kernel has room for hours of it.
        let lost = lost_after(&mut Link::new(1_000_000, 64 << 20, OPENSSH.1), 60, 600, |_, _| 2_000);
        assert!(lost.is_some_and(|lost| lost < 30), "{lost:?}");
    }

    #[test]
    fn an_idle_session_after_a_download_is_idle_again_within_a_minute() {
        let download = |at, link: &Link| if at < 30 { bulk(at, link) } else { 0 };
        let lost = lost_after(&mut Link::new(10_000_000, 8 << 20, OPENSSH.1), 90, 600, download);
        assert!(lost.is_some_and(|lost| lost < 30), "{lost:?}");
    }

    #[test]
    fn a_proxied_peer_has_its_whole_time_after_a_pause() {
        let (mut watch, start) = (NetworkWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let idle = |seconds| TcpHealth { path: TcpPath::Proxied, ..health(seconds, 0, false, false) };
        assert!(!watch.is_lost(idle(4), at(0)));
        assert!(!watch.is_lost(idle(604), at(600)), "no keepalive was sent during the pause");
        for seconds in (603..620).step_by(3) {
            assert!(!watch.is_lost(idle(seconds + 4), at(seconds)));
        }
        assert!(watch.is_lost(idle(625), at(621)));
    }

    proptest! {
        #[test]
        fn whatever_was_sent_a_gone_peer_is_lost_in_time(
            bursts in proptest::collection::vec(0_u64..2_000_000, 1..40),
            rate in u64::from(SLOWEST_RATE)..20_000_000,
            cut in 20_u64..200,
        ) {
            let mut link = Link::new(rate, 8 << 20, OPENSSH.1);
            let write = |at: u64, link: &Link| {
                bursts[usize::try_from(at).unwrap() % bursts.len()].min(bulk(at, link))
            };
            let lost = lost_after(&mut link, cut, cut + 400, write);
            prop_assert!(lost.is_some_and(|lost| (0..90).contains(&lost)), "{lost:?}");
        }
    }
}
