//! What clients see of their own sessions.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{Kind, Violation};
use crate::robustness::faults::{Fault, Part};
use crate::robustness::history::{Answer, History, Line, Session};
use crate::robustness::spans::Span;

/// For how long the effect of a fault can keep a shell from answering.
const EFFECT: SignedDuration = SignedDuration::from_secs(35);

pub fn check(history: &History, sessions: &BTreeMap<&str, Session<'_>>) -> Vec<Violation> {
    two_sessions(sessions).chain(history.lines.iter().filter_map(|line| stuck(history, sessions, line))).collect()
}

/// Each client has one session.
fn two_sessions(sessions: &BTreeMap<&str, Session<'_>>) -> impl Iterator<Item = Violation> {
    let mut clients: BTreeMap<&str, Vec<&Session<'_>>> = BTreeMap::new();
    for session in sessions.values() {
        clients.entry(session.client).or_default().push(session);
    }
    let violations = clients.into_iter().filter_map(|(client, sessions)| match sessions.as_slice() {
        [first, second, ..] => {
            let what = format!("{client} had the sessions {} and {}", first.name, second.name);
            Some(Violation::of(Kind::TwoSessions, second, second.started, what))
        }
        _ => None,
    });
    violations.collect::<Vec<_>>().into_iter()
}

/// A shell does not answer while its gateway or its target is broken, and for a while after.
fn stuck(history: &History, sessions: &BTreeMap<&str, Session<'_>>, line: &Line) -> Option<Violation> {
    let session = sessions.values().find(|it| it.client == line.client)?;
    let seconds = line.at.duration_since(line.sent).as_secs_f64();
    let (kind, what) = match line.answer {
        Answer::Echoed => return None,
        Answer::Silent => (Kind::Unanswered, format!("its shell did not answer for {seconds:.0} s")),
        Answer::StillConnected => {
            (Kind::StillConnected, format!("its client was connected {seconds:.0} s after its end"))
        }
    };
    let around = Span { from: line.sent - EFFECT, to: line.at };
    let stops = |fault: Fault| [Part::Process(session.program()), Part::Target, Part::Machine].contains(&fault.part());
    let excused = history.faults_of(stops).any(|it| it.span().meets(around));
    (!excused).then(|| Violation::of(kind, session, line.at, what))
}
