//! The live output of a session's terminals, for its observers.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::gateway::bridge::SessionNotice;
use crate::lifecycle::Cause;

/// The bytes kept of each terminal's recent output, for observers that join later.
const MAX_RECENT: usize = 16 * 1024;
/// The most events that wait for an observer. A slower observer skips some.
const MAX_WAITING: usize = 64;

/// The terminals of one session.
#[derive(Debug)]
pub struct Broadcast {
    announce: watch::Sender<SessionNotice>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    terminals: BTreeMap<u32, Terminal>,
    /// The number of the terminal opened last.
    last: u32,
    /// Sends to the observers; `None` until the first one joins.
    observers: Option<broadcast::Sender<TerminalEvent>>,
    ended: Option<Cause>,
}

#[derive(Debug)]
struct Terminal {
    columns: u32,
    rows: u32,
    recent: VecDeque<u8>,
}

/// An event that observers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    /// A terminal was opened or resized.
    Terminal {
        /// The terminal's number, counted from 1 within the session.
        number: u32,
        /// The width in characters.
        columns: u32,
        /// The height in lines.
        rows: u32,
    },
    /// A terminal received output.
    Output {
        /// The terminal's number.
        number: u32,
        /// The output, which may begin or end within a character.
        bytes: Bytes,
    },
    /// A terminal was closed.
    Closed {
        /// The terminal's number.
        number: u32,
    },
    /// The session ended. This is the last event.
    SessionEnded(Cause),
}

/// The current state of the terminals, and the events after it.
pub struct Subscription {
    /// The terminals, with their recent output.
    pub snapshot: Vec<TerminalEvent>,
    /// The events after the snapshot.
    pub events: broadcast::Receiver<TerminalEvent>,
}

impl Broadcast {
    /// Returns a broadcast without terminals. `announce` shows a line to the session's user.
    pub fn new(announce: watch::Sender<SessionNotice>) -> Self {
        Self { announce, state: Mutex::default() }
    }

    /// Adds a terminal and returns its number.
    pub fn open(&self, columns: u32, rows: u32) -> u32 {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        state.terminals.insert(number, Terminal { columns, rows, recent: VecDeque::new() });
        state.send(|| TerminalEvent::Terminal { number, columns, rows });
        number
    }

    /// Resizes a terminal.
    pub fn resize(&self, number: u32, columns: u32, rows: u32) {
        let mut state = self.state.lock();
        if let Some(terminal) = state.terminals.get_mut(&number) {
            (terminal.columns, terminal.rows) = (columns, rows);
            state.send(|| TerminalEvent::Terminal { number, columns, rows });
        }
    }

    /// Sends a terminal's output to the observers, and keeps its end.
    pub fn output(&self, number: u32, bytes: &[u8]) {
        let mut state = self.state.lock();
        if let Some(terminal) = state.terminals.get_mut(&number) {
            terminal.keep(bytes);
            state.send(|| TerminalEvent::Output { number, bytes: Bytes::copy_from_slice(bytes) });
        }
    }

    /// Removes a terminal.
    pub fn close(&self, number: u32) {
        let mut state = self.state.lock();
        if state.terminals.remove(&number).is_some() {
            state.send(|| TerminalEvent::Closed { number });
        }
    }

    /// Ends the session for present and later observers.
    pub fn end_session(&self, cause: &Cause) {
        let mut state = self.state.lock();
        state.ended = Some(cause.clone());
        state.send(|| TerminalEvent::SessionEnded(cause.clone()));
    }

    /// Adds an observer.
    pub fn subscribe(&self) -> Subscription {
        let mut state = self.state.lock();
        let events = state.observers.get_or_insert_with(|| broadcast::channel(MAX_WAITING).0).subscribe();
        let terminals = state.terminals.iter().flat_map(|(number, terminal)| terminal.snapshot(*number));
        let snapshot = terminals.chain(state.ended.clone().map(TerminalEvent::SessionEnded)).collect();
        Subscription { snapshot, events }
    }

    /// Shows a line at the session's terminals, unless the session has ended.
    pub fn announce(&self, text: String) {
        self.announce.send_if_modified(|announced| {
            let running = !matches!(announced, SessionNotice::Ended(_));
            if running {
                *announced = SessionNotice::Warning(text.into());
            }
            running
        });
    }
}

impl State {
    fn send(&self, event: impl FnOnce() -> TerminalEvent) {
        if let Some(observers) = self.observers.as_ref().filter(|observers| observers.receiver_count() > 0) {
            // It fails only if the last observer has just left.
            let _ = observers.send(event());
        }
    }
}

impl Terminal {
    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(MAX_RECENT)..];
        let excess = (self.recent.len() + bytes.len()).saturating_sub(MAX_RECENT);
        self.recent.drain(..excess);
        self.recent.extend(bytes);
    }

    fn snapshot(&self, number: u32) -> [TerminalEvent; 2] {
        let bytes = self.recent.iter().copied().collect();
        [
            TerminalEvent::Terminal { number, columns: self.columns, rows: self.rows },
            TerminalEvent::Output { number, bytes },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast() -> (Broadcast, watch::Receiver<SessionNotice>) {
        let (announce, announced) = watch::channel(SessionNotice::None);
        (Broadcast::new(announce), announced)
    }

    fn output(number: u32, text: &[u8]) -> TerminalEvent {
        TerminalEvent::Output { number, bytes: Bytes::copy_from_slice(text) }
    }

    #[test]
    fn a_new_observer_receives_recent_output_and_then_events() {
        let (broadcast, _announced) = broadcast();
        let (one, two) = (broadcast.open(80, 24), broadcast.open(100, 30));
        broadcast.output(one, b"one");
        broadcast.output(two, b"two");
        broadcast.resize(two, 120, 40);
        let mut subscription = broadcast.subscribe();
        let (first, second) = (
            TerminalEvent::Terminal { number: one, columns: 80, rows: 24 },
            TerminalEvent::Terminal { number: two, columns: 120, rows: 40 },
        );
        assert_eq!(subscription.snapshot, [first, output(one, b"one"), second, output(two, b"two")]);
        broadcast.output(one, b" more");
        broadcast.close(two);
        broadcast.output(two, b"after the close");
        broadcast.end_session(&Cause::TabClosed);
        let events: Vec<_> = std::iter::from_fn(|| subscription.events.try_recv().ok()).collect();
        assert_eq!(
            events,
            [
                output(one, b" more"),
                TerminalEvent::Closed { number: two },
                TerminalEvent::SessionEnded(Cause::TabClosed)
            ]
        );
        let late = broadcast.subscribe().snapshot;
        assert_eq!(late.last(), Some(&TerminalEvent::SessionEnded(Cause::TabClosed)));
        assert!(late.contains(&output(one, b"one more")), "{late:?}");
    }

    #[test]
    fn kept_output_and_waiting_events_are_limited() {
        let (broadcast, _announced) = broadcast();
        let number = broadcast.open(80, 24);
        let mut subscription = broadcast.subscribe();
        broadcast.output(number, &vec![b'a'; 3 * MAX_RECENT]);
        for piece in 0..2 * MAX_WAITING {
            broadcast.output(number, format!("{piece:08}").as_bytes());
        }
        assert!(matches!(subscription.events.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))));
        let snapshot = broadcast.subscribe().snapshot;
        let Some(TerminalEvent::Output { bytes, .. }) = snapshot.last() else { panic!("{snapshot:?}") };
        assert_eq!(bytes.len(), MAX_RECENT);
        assert!(bytes.ends_with(format!("{:08}", 2 * MAX_WAITING - 1).as_bytes()));
    }

    #[test]
    fn announcements_stop_with_the_session() {
        let (announce, announced) = watch::channel(SessionNotice::None);
        let broadcast = Broadcast::new(announce.clone());
        broadcast.announce("carol is here".to_owned());
        assert!(matches!(&*announced.borrow(), SessionNotice::Warning(text) if &**text == "carol is here"));
        announce.send_replace(SessionNotice::Ended(None));
        broadcast.announce("carol is gone".to_owned());
        assert!(matches!(&*announced.borrow(), SessionNotice::Ended(None)));
    }
}
