//! What the terminals of a session show, for those who follow it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::gateway::bridge::Announcement;
use crate::lifecycle::Cause;

/// How much is kept of what a terminal showed last, for who comes later.
const RECENT: usize = 16 * 1024;
/// How many things may wait for somebody who follows; who is slower misses some.
const WAITING: usize = 64;

/// The terminals of one session.
#[derive(Debug)]
pub struct Broadcast {
    announce: watch::Sender<Announcement>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    terminals: BTreeMap<u32, Terminal>,
    /// How many there were.
    last: u32,
    /// Set from when somebody follows for the first time.
    audience: Option<broadcast::Sender<TerminalEvent>>,
    over: Option<Cause>,
}

#[derive(Debug)]
struct Terminal {
    columns: u32,
    rows: u32,
    recent: VecDeque<u8>,
}

/// Something that is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    /// A terminal is there, or has another size now.
    Terminal {
        /// Counted from 1 in its session.
        number: u32,
        /// In characters.
        columns: u32,
        /// In lines.
        rows: u32,
    },
    /// It shows something.
    Output {
        /// Which terminal.
        number: u32,
        /// What it was sent.
        bytes: Bytes,
    },
    /// It is closed.
    Closed {
        /// Which.
        number: u32,
    },
    /// The session is over.
    Over(Cause),
}

/// What there is to be seen, and then what comes.
pub struct View {
    /// What there is.
    pub now: Vec<TerminalEvent>,
    /// What comes.
    pub then: broadcast::Receiver<TerminalEvent>,
}

impl Broadcast {
    /// Without a terminal yet. Who has the session is told by `announce` of those who follow it.
    pub fn new(announce: watch::Sender<Announcement>) -> Self {
        Self { announce, state: Mutex::default() }
    }

    /// A terminal is there. Returns its number.
    pub fn open(&self, columns: u32, rows: u32) -> u32 {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.terminals.insert(number, Terminal { columns, rows, recent: VecDeque::new() });
        state.show(|| TerminalEvent::Terminal { number, columns, rows });
        number
    }

    /// A terminal has another size.
    pub fn resized(&self, number: u32, columns: u32, rows: u32) {
        let mut state = self.lock();
        if let Some(terminal) = state.terminals.get_mut(&number) {
            (terminal.columns, terminal.rows) = (columns, rows);
            state.show(|| TerminalEvent::Terminal { number, columns, rows });
        }
    }

    /// A terminal shows something.
    pub fn output(&self, number: u32, bytes: &[u8]) {
        let mut state = self.lock();
        if let Some(terminal) = state.terminals.get_mut(&number) {
            terminal.keep(bytes);
            state.show(|| TerminalEvent::Output { number, bytes: Bytes::copy_from_slice(bytes) });
        }
    }

    /// A terminal is closed.
    pub fn closed(&self, number: u32) {
        let mut state = self.lock();
        if state.terminals.remove(&number).is_some() {
            state.show(|| TerminalEvent::Closed { number });
        }
    }

    /// The session is over; whoever comes from now on is told that too.
    pub fn over(&self, cause: &Cause) {
        let mut state = self.lock();
        state.over = Some(cause.clone());
        state.show(|| TerminalEvent::Over(cause.clone()));
    }

    /// Everything that there is to be seen.
    pub fn view(&self) -> View {
        let mut state = self.lock();
        let then = state.audience.get_or_insert_with(|| broadcast::channel(WAITING).0).subscribe();
        let terminals = state.terminals.iter().flat_map(|(number, terminal)| terminal.shown(*number));
        View { now: terminals.chain(state.over.clone().map(TerminalEvent::Over)).collect(), then }
    }

    /// Has those who sit at its terminals read something, unless the session is over.
    pub fn tell(&self, text: String) {
        self.announce.send_if_modified(|announced| {
            let goes_on = !matches!(announced, Announcement::Over(_));
            if goes_on {
                *announced = Announcement::Warning(text.into());
            }
            goes_on
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&self, what: impl FnOnce() -> TerminalEvent) {
        if let Some(audience) = self.audience.as_ref().filter(|audience| audience.receiver_count() > 0) {
            // Somebody follows, or has left this moment.
            let _ = audience.send(what());
        }
    }
}

impl Terminal {
    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(RECENT)..];
        let surplus = (self.recent.len() + bytes.len()).saturating_sub(RECENT);
        self.recent.drain(..surplus);
        self.recent.extend(bytes);
    }

    fn shown(&self, number: u32) -> [TerminalEvent; 2] {
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

    fn stage() -> (Broadcast, watch::Receiver<Announcement>) {
        let (announce, announced) = watch::channel(Announcement::None);
        (Broadcast::new(announce), announced)
    }

    fn output(number: u32, text: &[u8]) -> TerminalEvent {
        TerminalEvent::Output { number, bytes: Bytes::copy_from_slice(text) }
    }

    #[test]
    fn who_comes_later_sees_what_was_shown_last_and_then_what_comes() {
        let (stage, _announced) = stage();
        let (one, two) = (stage.open(80, 24), stage.open(100, 30));
        stage.output(one, b"one");
        stage.output(two, b"two");
        stage.resized(two, 120, 40);
        let mut view = stage.view();
        let (first, second) = (
            TerminalEvent::Terminal { number: one, columns: 80, rows: 24 },
            TerminalEvent::Terminal { number: two, columns: 120, rows: 40 },
        );
        assert_eq!(view.now, [first, output(one, b"one"), second, output(two, b"two")]);
        stage.output(one, b" more");
        stage.closed(two);
        stage.output(two, b"nobody's");
        stage.over(&Cause::TabClosed);
        let then: Vec<_> = std::iter::from_fn(|| view.then.try_recv().ok()).collect();
        assert_eq!(
            then,
            [output(one, b" more"), TerminalEvent::Closed { number: two }, TerminalEvent::Over(Cause::TabClosed)]
        );
        let late = stage.view().now;
        assert_eq!(late.last(), Some(&TerminalEvent::Over(Cause::TabClosed)));
        assert!(late.contains(&output(one, b"one more")), "{late:?}");
    }

    #[test]
    fn what_is_kept_and_what_waits_is_bounded() {
        let (stage, _announced) = stage();
        let number = stage.open(80, 24);
        let mut view = stage.view();
        stage.output(number, &vec![b'a'; 3 * RECENT]);
        for piece in 0..2 * WAITING {
            stage.output(number, format!("{piece:08}").as_bytes());
        }
        assert!(matches!(view.then.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        let now = stage.view().now;
        let Some(TerminalEvent::Output { bytes, .. }) = now.last() else { panic!("{now:?}") };
        assert_eq!(bytes.len(), RECENT);
        assert!(bytes.ends_with(format!("{:08}", 2 * WAITING - 1).as_bytes()));
    }

    #[test]
    fn who_has_the_session_is_told_while_it_goes_on() {
        let (announce, announced) = watch::channel(Announcement::None);
        let stage = Broadcast::new(announce.clone());
        stage.tell("carol is here".to_owned());
        assert!(matches!(&*announced.borrow(), Announcement::Warning(text) if &**text == "carol is here"));
        announce.send_replace(Announcement::Over(None));
        stage.tell("carol is gone".to_owned());
        assert!(matches!(&*announced.borrow(), Announcement::Over(None)));
    }
}
