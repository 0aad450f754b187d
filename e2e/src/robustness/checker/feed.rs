//! A page that says it is live shows what the API server lists.

use jiff::{SignedDuration, Timestamp};

use super::ends::ended_unseen;
use super::{Kind, Violation};
use crate::robustness::faults::{Fault, FaultRecord};
use crate::robustness::history::{FeedChange, History, Session};
use crate::robustness::spans::{Span, Spans};

/// How long a page that says it is live may differ from the list: it must say within 10 s that it is not live, and these
/// moments are observed on a busy machine.
const MAY_DIFFER_FOR: SignedDuration = SignedDuration::from_secs(15);

pub fn check(history: &History, session: &Session<'_>) -> Option<Violation> {
    if session.end().is_none() && ended_unseen(history, session) {
        return None;
    }
    let stalls: Spans = history.faults_of(|fault| fault == Fault::MachineStalled).map(FaultRecord::span).collect();
    let (listed, live) = (listed(history, session), live(history).without(&stalls));
    let shown = shown(history, session.name);
    let extra = shown.without(&listed).and(&live);
    let missing = listed.without(&shown).and(&live);
    let (difference, verb) = [(extra, "shows"), (missing, "does not show")].into_iter().find_map(|(spans, verb)| {
        let first = spans.lasting(MAY_DIFFER_FOR).next();
        first.map(|it| (it, verb))
    })?;
    let seconds = difference.length().as_secs_f64();
    let listed = if verb == "shows" { "is not" } else { "is" };
    let what =
        format!("for {seconds:.1} s a page that says it is live {verb} the session, which {listed} listed as Active");
    Some(Violation::of(Kind::Feed, session, difference.to, what))
}

/// When the watch had the session Active.
fn listed(history: &History, session: &Session<'_>) -> Spans {
    let Some(first) = session.shown.first() else { return Spans::default() };
    Spans::from_iter([Span { from: first.at, to: session.end().map_or(history.ended, |end| end.at) }])
}

/// When the page showed the session of this name.
fn shown(history: &History, name: &str) -> Spans {
    states(history, |change| match change {
        FeedChange::Shows(names) => Some(names.contains(name)),
        FeedChange::Live(_) => None,
    })
}

/// When the page said that it was live.
fn live(history: &History) -> Spans {
    states(history, |change| match change {
        FeedChange::Live(live) => Some(*live),
        FeedChange::Shows(_) => None,
    })
}

/// The times from each change with `Some(true)` to the next with `Some(false)`.
fn states(history: &History, state: impl Fn(&FeedChange) -> Option<bool>) -> Spans {
    let mut since: Option<Timestamp> = None;
    let mut spans = Vec::new();
    for event in &history.feed {
        match (state(&event.change), since) {
            (Some(true), None) => since = Some(event.at),
            (Some(false), Some(from)) => {
                spans.push(Span { from, to: event.at });
                since = None;
            }
            _ => {}
        }
    }
    spans.extend(since.map(|from| Span { from, to: history.ended }));
    spans.into_iter().collect()
}
