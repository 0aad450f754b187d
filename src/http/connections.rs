//! Tracks the open connections of one HTTP port, and decides which one closes at a limit. Pure: the server acts on it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a request header may take. The first one's time begins with the connection, a later one's with its first byte.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may idle between two requests. Longer than the 60 s for which reverse proxies keep one for reuse,
/// as a rule: they would lose a request that they send while it is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How many connections one port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, without those that have become WebSockets.
    pub all: usize,
    /// Connections that owe the rest of a request header, be it their first or a later one.
    pub unfinished: usize,
}

/// Which limit an evicted connection had to make room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// [`Limits::all`]
    All,
    /// [`Limits::unfinished`]
    Unfinished,
}

/// The open connections by number.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    /// Counts all that happens to connections, which is numbered together: the lower number is the older one.
    clock: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// When it last entered its phase, or took a part of an answer.
    active: u64,
    phase: Phase,
    close: CancellationToken,
}

#[derive(Debug)]
enum Phase {
    /// It owes the rest of a request header since then.
    Unfinished(Instant),
    /// A request is answered. The answer's body holds the other end, and is dropped when hyper has taken all of it.
    Answering(Weak<()>),
    /// It has been answered, and has sent nothing since then.
    Idle(Instant),
}

impl Open {
    const fn is_unfinished(&self) -> bool {
        matches!(self.phase, Phase::Unfinished(_))
    }

    const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle(_))
    }
}

impl Limits {
    /// Returns the limits, reduced so that a port holds at most a quarter of the process's open files: several ports,
    /// sessions and connections to the API server share them.
    pub fn within_open_files(self, open_files: usize) -> Self {
        let all = self.all.min(open_files / 4).max(2);
        Self { all, unfinished: self.unfinished.min(all / 2) }
    }
}

impl Connections {
    /// Returns an empty set.
    pub fn new(limits: Limits) -> Self {
        Self { limits, clock: 0, open: HashMap::new() }
    }

    /// Adds a connection. This always succeeds, because a probe must get through while strangers hold all places. At a
    /// limit, removes another connection, and cancels its token. Returns the new connection's number.
    pub fn admit(&mut self, close: CancellationToken, now: Instant) -> (u64, Option<Eviction>) {
        let unfinished = self.open.values().filter(|open| open.is_unfinished()).count();
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
        self.open.insert(self.clock, Open { active: self.clock, phase: Phase::Unfinished(now), close });
        (self.clock, eviction)
    }

    /// Evicts the oldest unfinished connection, or of all the one that has idled longest. When none idles, the one without
    /// progress for longest goes: an answer that nobody reads, as a rule.
    fn evict(&mut self, eviction: Eviction) {
        let candidates = self.open.iter().filter(|(_, open)| eviction == Eviction::All || open.is_unfinished());
        let first = candidates.min_by_key(|(_, open)| (!open.is_idle(), open.active)).map(|(number, _)| *number);
        if let Some(open) = first.and_then(|number| self.open.remove(&number)) {
            open.close.cancel();
        }
    }

    /// Notes that the handshake before the first request is over.
    pub fn opened(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::Unfinished(now), Open::is_unfinished);
    }

    /// Notes that a connection has sent a part of a request.
    pub fn received(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::Unfinished(now), Open::is_idle);
    }

    /// Notes that a connection has sent a complete request header. Its answer lasts until the returned value is dropped and
    /// the answer's last bytes are [`Self::flushed`].
    pub fn header_complete(&mut self, number: u64) -> Arc<()> {
        let answer = Arc::new(());
        self.enter(number, Phase::Answering(Arc::downgrade(&answer)), |_| true);
        answer
    }

    /// Notes that a connection has taken a part of an answer.
    pub fn sent(&mut self, number: u64) {
        self.clock += 1;
        if let Some(open) = self.open.get_mut(&number) {
            open.active = self.clock;
        }
    }

    /// Notes that a connection has taken all that was written.
    pub fn flushed(&mut self, number: u64, now: Instant) {
        self.enter(number, Phase::Idle(now), |open| match &open.phase {
            Phase::Answering(answer) => answer.strong_count() == 0,
            Phase::Unfinished(_) | Phase::Idle(_) => false,
        });
    }

    fn enter(&mut self, number: u64, phase: Phase, from: impl FnOnce(&Open) -> bool) {
        self.clock += 1;
        if let Some(open) = self.open.get_mut(&number).filter(|open| from(open)) {
            (open.active, open.phase) = (self.clock, phase);
        }
    }

    /// Returns when a connection is to be closed unless it sends the rest of a request header before; `None` while a request
    /// is answered.
    pub fn deadline(&self, number: u64) -> Option<Instant> {
        match self.open.get(&number)?.phase {
            Phase::Unfinished(since) => Some(since + HEADER_TIMEOUT),
            Phase::Idle(since) => Some(since + IDLE_TIMEOUT),
            Phase::Answering(_) => None,
        }
    }

    /// Removes a connection that has ended or become a WebSocket. Returns whether it was still open and owed the rest of a
    /// request header.
    pub fn remove(&mut self, number: u64) -> bool {
        self.open.remove(&number).is_some_and(|open| open.is_unfinished())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn admit(connections: &mut Connections) -> (u64, CancellationToken, Option<Eviction>) {
        let close = CancellationToken::new();
        let (number, eviction) = connections.admit(close.clone(), Instant::now());
        (number, close, eviction)
    }

    #[test]
    fn the_oldest_unfinished_header_makes_room_for_the_next() {
        let mut connections = Connections::new(Limits { all: 9, unfinished: 2 });
        let (served, first) = (admit(&mut connections), admit(&mut connections));
        connections.header_complete(served.0);
        let second = admit(&mut connections);
        assert_eq!(second.2, None, "a connection that has sent a header takes no place of the unfinished");
        let third = admit(&mut connections);
        assert_eq!(third.2, Some(Eviction::Unfinished));
        let closed = [&served.1, &first.1, &second.1, &third.1].map(CancellationToken::is_cancelled);
        assert_eq!(closed, [false, true, false, false]);
        assert!(!connections.remove(first.0), "it was evicted");
        assert!(connections.remove(second.0) && !connections.remove(served.0));
        assert_eq!(admit(&mut connections).2, None, "their places are free");
    }

    #[test]
    fn of_all_connections_the_one_that_has_been_idle_longest_makes_room() {
        let mut connections = Connections::new(Limits { all: 3, unfinished: 3 });
        let all = [(); 3].map(|()| admit(&mut connections));
        for at in [0, 1, 2, 0] {
            drop(connections.header_complete(all[at].0));
            connections.flushed(all[at].0, Instant::now());
        }
        assert_eq!(admit(&mut connections).2, Some(Eviction::All));
        assert_eq!(all.each_ref().map(|(_, close, _)| close.is_cancelled()), [false, true, false]);
    }

    #[test]
    fn an_answer_in_progress_makes_room_only_when_no_connection_idles() {
        let (mut connections, now) = (Connections::new(Limits { all: 4, unfinished: 4 }), Instant::now());
        let all = [(); 4].map(|()| admit(&mut connections));
        let mut answers = all.each_ref().map(|(number, ..)| connections.header_complete(*number)).to_vec();
        for (number, ..) in &all {
            connections.flushed(*number, now);
        }
        drop(answers.pop());
        let closed = || all.each_ref().map(|(_, close, _)| close.is_cancelled());
        assert_eq!(connections.deadline(all[3].0), None, "its last bytes are not flushed");
        connections.flushed(all[3].0, now);
        admit(&mut connections);
        assert_eq!(closed(), [false, false, false, true], "the only one that idles");
        connections.sent(all[0].0);
        admit(&mut connections);
        assert_eq!(closed(), [false, true, false, true], "the one that has taken nothing for longest");
    }

    #[test]
    fn a_later_header_counts_from_its_first_byte_and_idling_from_the_answer() {
        let (mut connections, start) = (Connections::new(Limits { all: 9, unfinished: 1 }), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let close = CancellationToken::new();
        let (number, _) = connections.admit(close.clone(), start);
        connections.opened(number, at(3));
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
        assert!(close.is_cancelled(), "a later header takes a place of the unfinished too");
    }

    #[test]
    fn a_flood_never_exceeds_the_limits() {
        let mut connections = Connections::new(Limits { all: 50, unfinished: 10 });
        for round in 0..10_000 {
            let (number, ..) = admit(&mut connections);
            if round % 3 == 0 {
                connections.header_complete(number);
            }
            let unfinished = connections.open.values().filter(|open| open.is_unfinished()).count();
            assert!(connections.open.len() <= 50 && unfinished <= 10, "{connections:?}");
        }
    }

    #[rstest]
    #[case(1_048_576, 512, 256)]
    #[case(1024, 256, 128)]
    #[case(256, 64, 32)]
    #[case(0, 2, 1)]
    fn open_files_bound_the_limits(#[case] open_files: usize, #[case] all: usize, #[case] unfinished: usize) {
        let limits = Limits { all: 512, unfinished: 256 }.within_open_files(open_files);
        assert_eq!(limits, Limits { all, unfinished });
    }
}
