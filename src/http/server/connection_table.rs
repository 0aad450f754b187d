//! Tracks the open connections of one HTTP port, and decides which one closes at a limit. Pure: the server acts on it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// How long a request header may take: the first one from the start of the connection, a later one from its first byte.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may idle between two requests. Reverse proxies mostly keep one for 60 s. A shorter timeout
/// here would lose a request that a proxy sends while the connection closes.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The limit at which a connection was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// [`Limits::all`]
    All,
    /// [`Limits::unfinished`]
    Unfinished,
}

impl Eviction {
    /// Returns the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unfinished => "unfinished",
        }
    }
}

/// The open connections by number.
#[derive(Debug)]
pub struct ConnectionTable {
    limits: Limits,
    /// A logical clock: counts the events of all connections, so that a lower value is older.
    clock: u64,
    open: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    /// The value of the clock when the connection last entered its phase, or took a part of a response.
    last_active: u64,
    phase: Phase,
    close: CancellationToken,
}

#[derive(Debug)]
enum Phase {
    /// The server waits for the rest of a request header since this time.
    ReadingHeader(Instant),
    /// A request is being answered. The response's body holds the `Arc`, and drops it once hyper has taken all of the
    /// body.
    Responding(Weak<()>),
    /// The last response is flushed; the client has sent nothing since this time.
    Idle(Instant),
}

impl Connection {
    const fn is_reading_header(&self) -> bool {
        matches!(self.phase, Phase::ReadingHeader(_))
    }

    const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle(_))
    }
}

impl ConnectionTable {
    /// Returns an empty table.
    pub fn new(limits: Limits) -> Self {
        Self { limits, clock: 0, open: HashMap::new() }
    }

    /// Adds a connection and returns its number. At a limit, evicts another connection and cancels its token. A new
    /// connection is never refused, because probes must get through a flood of connections.
    pub fn admit(&mut self, close: CancellationToken, now: Instant) -> (u64, Option<Eviction>) {
        let unfinished = self.open.values().filter(|open| open.is_reading_header()).count();
        let eviction = if unfinished >= self.limits.unfinished {
            Some(Eviction::Unfinished)
        } else if self.open.len() >= self.limits.all {
            Some(Eviction::All)
        } else {
            None
        };
        if let Some(eviction) = eviction {
            self.evict(eviction);
        }
        self.clock += 1;
        self.open.insert(self.clock, Connection { last_active: self.clock, phase: Phase::ReadingHeader(now), close });
        (self.clock, eviction)
    }

    /// Evicts a connection because the process has few files left. Returns whether there was one.
    pub fn evict_one(&mut self) -> bool {
        let before = self.open.len();
        self.evict(Eviction::All);
        self.open.len() < before
    }

    /// Evicts the oldest connection with an incomplete header, or for [`Eviction::All`] the one that has idled longest.
    /// If none idles, evicts the one without progress for longest: mostly a response that the client does not read.
    fn evict(&mut self, eviction: Eviction) {
        let candidates = self.open.iter().filter(|(_, open)| eviction == Eviction::All || open.is_reading_header());
        let first = candidates.min_by_key(|(_, open)| (!open.is_idle(), open.last_active)).map(|(number, _)| *number);
        if let Some(open) = first.and_then(|number| self.open.remove(&number)) {
            open.close.cancel();
        }
    }

    /// Records that the TLS handshake is complete. The time of the first request header begins.
    pub fn handshake_complete(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::ReadingHeader(now), Connection::is_reading_header);
    }

    /// Records that bytes of a request have arrived.
    pub fn received(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::ReadingHeader(now), Connection::is_idle);
    }

    /// Records that a request header is complete. The response lasts until the returned value is dropped and the
    /// response's last bytes are [`Self::flushed`].
    pub fn header_complete(&mut self, number: u64) -> Arc<()> {
        let response = Arc::new(());
        self.enter(number, Phase::Responding(Arc::downgrade(&response)), |_| true);
        response
    }

    /// Records that the client has taken a part of a response.
    pub fn sent(&mut self, number: u64) {
        self.clock += 1;
        if let Some(open) = self.open.get_mut(&number) {
            open.last_active = self.clock;
        }
    }

    /// Records that the client has taken all bytes written so far.
    pub fn flushed(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::Idle(now), |open| match &open.phase {
            Phase::Responding(response) => response.strong_count() == 0,
            Phase::ReadingHeader(_) | Phase::Idle(_) => false,
        });
    }

    fn enter(&mut self, number: u64, phase: Phase, from: impl FnOnce(&Connection) -> bool) {
        self.clock += 1;
        if let Some(open) = self.open.get_mut(&number).filter(|open| from(open)) {
            (open.last_active, open.phase) = (self.clock, phase);
        }
    }

    /// Returns when to close a connection if no complete request header arrives before; `None` while a request is being
    /// answered.
    pub fn deadline(&self, number: u64) -> Option<Instant> {
        match self.open.get(&number)?.phase {
            Phase::ReadingHeader(since) => Some(since + HEADER_TIMEOUT),
            Phase::Idle(since) => Some(since + IDLE_TIMEOUT),
            Phase::Responding(_) => None,
        }
    }

    /// Removes a connection that has ended or become a WebSocket. Returns whether it was still open with an incomplete
    /// request header.
    pub fn remove(&mut self, number: u64) -> bool {
        self.open.remove(&number).is_some_and(|open| open.is_reading_header())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(connections: &mut ConnectionTable) -> (u64, CancellationToken, Option<Eviction>) {
        let close = CancellationToken::new();
        let (number, eviction) = connections.admit(close.clone(), Instant::now());
        (number, close, eviction)
    }

    #[test]
    fn an_incomplete_header_evicts_the_oldest_one() {
        let mut connections = ConnectionTable::new(Limits { all: 9, unfinished: 2 });
        let (served, first) = (admit(&mut connections), admit(&mut connections));
        connections.header_complete(served.0);
        let second = admit(&mut connections);
        assert_eq!(second.2, None, "a complete header does not count");
        let third = admit(&mut connections);
        assert_eq!(third.2, Some(Eviction::Unfinished));
        let closed = [&served.1, &first.1, &second.1, &third.1].map(CancellationToken::is_cancelled);
        assert_eq!(closed, [false, true, false, false]);
        assert!(!connections.remove(first.0), "it was evicted");
        assert!(connections.remove(second.0) && !connections.remove(served.0));
        assert_eq!(admit(&mut connections).2, None, "removed connections do not count");
    }

    #[test]
    fn a_full_table_evicts_the_connection_that_idles_longest() {
        let mut connections = ConnectionTable::new(Limits { all: 3, unfinished: 3 });
        let all = [(); 3].map(|()| admit(&mut connections));
        for at in [0, 1, 2, 0] {
            drop(connections.header_complete(all[at].0));
            connections.flushed(all[at].0, Instant::now());
        }
        assert_eq!(admit(&mut connections).2, Some(Eviction::All));
        assert_eq!(all.each_ref().map(|(_, close, _)| close.is_cancelled()), [false, true, false]);
    }

    #[test]
    fn without_files_a_new_connection_replaces_another_one() {
        let mut connections = ConnectionTable::new(Limits { all: 3, unfinished: 3 });
        assert!(!connections.evict_one(), "there is none");
        let (_, first, _) = admit(&mut connections);
        let (_, second, _) = admit(&mut connections);
        assert!(connections.evict_one());
        assert!(first.is_cancelled() && !second.is_cancelled());
    }

    #[test]
    fn a_response_in_progress_is_evicted_only_if_no_connection_idles() {
        let (mut connections, now) = (ConnectionTable::new(Limits { all: 4, unfinished: 4 }), Instant::now());
        let all = [(); 4].map(|()| admit(&mut connections));
        let mut responses = all.each_ref().map(|(number, ..)| connections.header_complete(*number)).to_vec();
        for (number, ..) in &all {
            connections.flushed(*number, now);
        }
        drop(responses.pop());
        let closed = || all.each_ref().map(|(_, close, _)| close.is_cancelled());
        assert_eq!(connections.deadline(all[3].0), None, "its last bytes are not flushed");
        connections.flushed(all[3].0, now);
        admit(&mut connections);
        assert_eq!(closed(), [false, false, false, true], "the only idle connection");
        connections.sent(all[0].0);
        admit(&mut connections);
        assert_eq!(closed(), [false, true, false, true], "the connection without progress for longest");
    }

    #[test]
    fn the_time_of_a_later_header_begins_with_its_first_byte_and_idling_with_the_flush() {
        let (mut connections, start) = (ConnectionTable::new(Limits { all: 9, unfinished: 1 }), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let close = CancellationToken::new();
        let (number, _) = connections.admit(close.clone(), start);
        connections.handshake_complete(number, at(3));
        connections.received(number, at(4));
        assert_eq!(connections.deadline(number), Some(at(3) + HEADER_TIMEOUT));
        drop(connections.header_complete(number));
        connections.received(number, at(5));
        assert_eq!(connections.deadline(number), None, "a part of the body");
        connections.flushed(number, at(6));
        connections.flushed(number, at(7));
        assert_eq!(connections.deadline(number), Some(at(6) + IDLE_TIMEOUT));
        connections.received(number, at(60));
        connections.received(number, at(62));
        connections.flushed(number, at(63));
        assert_eq!(connections.deadline(number), Some(at(60) + HEADER_TIMEOUT));
        assert_eq!(admit(&mut connections).2, Some(Eviction::Unfinished));
        assert!(close.is_cancelled(), "a later incomplete header counts too");
    }

    #[test]
    fn a_flood_never_exceeds_the_limits() {
        let mut connections = ConnectionTable::new(Limits { all: 50, unfinished: 10 });
        for round in 0..10_000 {
            let (number, ..) = admit(&mut connections);
            if round % 3 == 0 {
                connections.header_complete(number);
            }
            let unfinished = connections.open.values().filter(|open| open.is_reading_header()).count();
            assert!(connections.open.len() <= 50 && unfinished <= 10, "{connections:?}");
        }
    }
}
