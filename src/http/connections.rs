//! Tracks the open connections of one HTTP port, and decides which one closes at a limit. Pure: the server acts on it.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

/// How many connections one port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, without those that have become WebSockets.
    pub all: usize,
    /// Connections that have not sent a complete request header yet.
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
    /// Counts admissions and requests, which are numbered together: the lower number is the older one.
    clock: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// When it last sent a complete header; before its first one, when it was admitted.
    active: u64,
    unfinished: bool,
    close: CancellationToken,
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
    /// limit, removes the connection that has been idle longest, and cancels its token. Returns the new connection's
    /// number.
    pub fn admit(&mut self, close: CancellationToken) -> (u64, Option<Eviction>) {
        let unfinished = self.open.values().filter(|open| open.unfinished).count();
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
        self.open.insert(self.clock, Open { active: self.clock, unfinished: true, close });
        (self.clock, eviction)
    }

    fn evict(&mut self, eviction: Eviction) {
        let candidates = self.open.iter().filter(|(_, open)| eviction == Eviction::All || open.unfinished);
        let oldest = candidates.min_by_key(|(_, open)| open.active).map(|(number, _)| *number);
        if let Some(open) = oldest.and_then(|number| self.open.remove(&number)) {
            open.close.cancel();
        }
    }

    /// Notes that a connection has sent a complete request header.
    pub fn header_complete(&mut self, number: u64) {
        self.clock += 1;
        if let Some(open) = self.open.get_mut(&number) {
            (open.active, open.unfinished) = (self.clock, false);
        }
    }

    /// Removes a connection that has ended or become a WebSocket. Returns whether it was still open and had never sent a
    /// complete header.
    pub fn remove(&mut self, number: u64) -> bool {
        self.open.remove(&number).is_some_and(|open| open.unfinished)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn admit(connections: &mut Connections) -> (u64, CancellationToken, Option<Eviction>) {
        let close = CancellationToken::new();
        let (number, eviction) = connections.admit(close.clone());
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
            connections.header_complete(all[at].0);
        }
        assert_eq!(admit(&mut connections).2, Some(Eviction::All));
        assert_eq!(all.each_ref().map(|(_, close, _)| close.is_cancelled()), [false, true, false]);
    }

    #[test]
    fn a_flood_never_exceeds_the_limits() {
        let mut connections = Connections::new(Limits { all: 50, unfinished: 10 });
        for round in 0..10_000 {
            let (number, ..) = admit(&mut connections);
            if round % 3 == 0 {
                connections.header_complete(number);
            }
            let unfinished = connections.open.values().filter(|open| open.unfinished).count();
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
