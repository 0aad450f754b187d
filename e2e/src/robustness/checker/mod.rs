//! Proves DESIGN's guarantee over the history of a run, or says where it does not hold. Pure: the same history always has the
//! same violations.

mod causes;
mod ends;
mod feed;
mod records;
mod users;

use jiff::{SignedDuration, Timestamp};

use super::history::{Counts, History, Session};
use super::spans::Span;

pub use ends::{is_bounded, prompt_ends};

/// Within this time an end is shown, from the moment on from which the guarantee counts.
pub const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A session was shown as ended in two ways, or as Active after its end.
    EndedTwice,
    /// A session was shown as ended, and nothing that happened explains the reason: it may be live.
    Unexplained,
    /// An end was shown too late, or not at all.
    Late,
    /// A session that was shown as ended still passed on what was typed.
    AliveAfterEnd,
    /// The audit database has a session not exactly once, or not as its object was.
    Record,
    /// A page that said it was live showed something else than the list of sessions.
    Feed,
    /// At rest, the programs, the target and the users did not count the same sessions.
    Count,
    /// One client had two sessions.
    TwoSessions,
    /// A shell did not answer, and nothing that happened explains it.
    Unanswered,
    /// A connection outlasted the end of its session.
    StillConnected,
}

/// A part of the guarantee that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    /// The name of the session that it concerns.
    pub session: Option<String>,
    pub what: String,
    /// The times that show it.
    pub span: Span,
}

impl Violation {
    fn of(kind: Kind, session: &Session<'_>, until: Timestamp, what: String) -> Self {
        Self { kind, session: Some(session.name.to_owned()), what, span: Span { from: session.started, to: until } }
    }
}

/// Returns all violations, those of one kind together.
pub fn check(history: &History) -> Vec<Violation> {
    let sessions = history.sessions();
    let mut violations: Vec<Violation> = sessions
        .values()
        .flat_map(|session| ends::check(history, session).into_iter().chain(feed::check(history, session)))
        .collect();
    violations.extend(records::check(history, &sessions));
    violations.extend(users::check(history, &sessions));
    violations.extend(history.counts.iter().filter_map(disagreement));
    violations.sort_by_key(|it| it.kind);
    violations
}

fn disagreement(counts: &Counts) -> Option<Violation> {
    let Counts { at, listed, gateways, target, users, page } = *counts;
    let what = format!(
        "at rest the API server lists {listed} Active sessions, the gateways carry {gateways}, the target has {target} \
         connections, {users} users are connected, and the page shows {page}"
    );
    let agree = [gateways, target, users, page] == [listed; 4];
    let span = Span { from: at - SHOWN_WITHIN, to: at };
    (!agree).then_some(Violation { kind: Kind::Count, session: None, what, span })
}

#[cfg(test)]
mod tests;
