//! What a run prints: how long ends took, and for each violation the shortest history that shows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::checker::{Violation, is_bounded, prompt_ends};
use super::history::{Action, Answer, FeedChange, History, Session};
use super::spans::Span;

/// The violation, what happened to its session, and the faults that overlapped.
pub fn shortest_history(history: &History, violation: &Violation) -> String {
    let sessions = history.sessions();
    let session = violation.session.as_deref().and_then(|name| sessions.get(name));
    let name = session.map_or_else(String::new, |it| format!("session {}: ", it.name));
    let mut text = format!("{:?}: {name}{}\n", violation.kind, violation.what);
    let mut lines = faults(history, violation.span, session);
    lines.extend(session.into_iter().flat_map(|it| events(history, it)));
    lines.sort();
    for (at, line) in lines {
        let _ = writeln!(text, "  {} {line}", offset(history, at));
    }
    text
}

/// The time since the beginning of the run.
fn offset(history: &History, at: Timestamp) -> String {
    format!("[{:7.1} s]", at.duration_since(history.began).as_secs_f64())
}

/// The faults that overlapped the time and that can matter to the session.
fn faults(history: &History, span: Span, session: Option<&Session<'_>>) -> Vec<(Timestamp, String)> {
    let concerns = |fault: super::Fault| session.is_none_or(|it| fault.concerns(it.gateway));
    let overlapping = history.faults_of(concerns).filter(|it| it.span().meets(span));
    let describe = |record: super::FaultRecord| {
        let seconds = record.span().length().as_secs_f64();
        (record.from, format!("FAULT {}, for {seconds:.1} s until {}", record.fault, offset(history, record.to).trim()))
    };
    overlapping.map(describe).collect()
}

/// What the session's client, others, the watch and the page had to do with it.
fn events(history: &History, session: &Session<'_>) -> Vec<(Timestamp, String)> {
    let shown = session.shown.iter().map(|shown| {
        let record = &shown.session;
        let reason = record.reason.as_deref().unwrap_or("-");
        let end = record.end_time.and_then(|it| Timestamp::from_microsecond(it).ok());
        let end = end.map(|end| format!(", endTime {}", offset(history, end).trim())).unwrap_or_default();
        (shown.at, format!("shown as {} {reason} on {}{end}", record.status, record.gateway_instance))
    });
    let actions = history.actions_on(session.client).map(|it| {
        let certain = if it.certain { "" } else { " (whether it was done is not known)" };
        (it.at, format!("{}{certain}", action(it.action)))
    });
    let mut lines: Vec<_> = shown.chain(actions).chain(page(history, session.name)).collect();
    lines.extend(typed(history, session));
    lines.dedup_by(|one, other| one.1 == other.1);
    lines
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Exited => "the user typed exit",
        Action::ClientKilled => "the client was killed",
        Action::TargetHungUp => "the target broke the connection off",
        Action::NotOpened => "the client had no shell, and was ended",
        Action::Terminated => "an administrator asked for its end",
        Action::ClosedByItsUser => "its user asked for its end over the API",
    }
}

/// The last line that was echoed, and each that was not.
fn typed(history: &History, session: &Session<'_>) -> Vec<(Timestamp, String)> {
    let is = |answer: Answer| history.lines_of(session.client).filter(move |it| it.answer == answer);
    let echoed = is(Answer::Echoed).last().map(|it| (it.at, "the last line was echoed".to_owned()));
    let silent = is(Answer::Silent).map(|it| (it.sent, "a line was typed that was not answered".to_owned()));
    let connected = is(Answer::StillConnected).map(|it| (it.at, "the client was still connected".to_owned()));
    echoed.into_iter().chain(silent).chain(connected).collect()
}

/// When the page began and ceased to show the session, and from then on to be live.
fn page(history: &History, name: &str) -> Vec<(Timestamp, String)> {
    let (mut shows, mut live) = (false, false);
    let mut lines = Vec::new();
    for event in &history.feed {
        match &event.change {
            FeedChange::Shows(names) if names.contains(name) != shows => {
                shows = !shows;
                lines.push((event.at, format!("the page {} it", if shows { "shows" } else { "no longer shows" })));
            }
            FeedChange::Live(now) if *now != live => {
                live = *now;
                lines.push((event.at, format!("the page says that it is {}live", if live { "" } else { "not " })));
            }
            _ => {}
        }
    }
    let own = lines.iter().position(|(_, line)| line.ends_with(" it"));
    own.map(|first| lines.split_off(first)).unwrap_or_default()
}

/// How many sessions ended for each reason, how many of them with nothing in the way, and how soon those were shown.
pub fn summary(history: &History) -> String {
    let sessions = history.sessions();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for record in &history.faults {
        *kinds.entry(record.fault.to_string()).or_default() += 1;
    }
    let mut text = format!("{} sessions, {} faults\n", sessions.len(), history.faults.len());
    for (kind, number) in kinds {
        let _ = writeln!(text, "{number:6} x {kind}");
    }
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (reason, took, _) in prompt_ends(history) {
        times.entry(reason).or_default().push(took);
    }
    let mut reasons: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for session in sessions.values() {
        let Some(end) = session.end() else { continue };
        let (all, bounded) = reasons.entry(end.session.reason.as_deref().unwrap_or_default()).or_default();
        *all += 1;
        *bounded += usize::from(is_bounded(history, session));
    }
    let _ = writeln!(
        text,
        "{:20} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "ended as", "sessions", "bounded", "free", "median s", "last s"
    );
    for (reason, (all, bounded)) in reasons {
        let times = times.entry(reason.to_owned()).or_default();
        times.sort_unstable();
        let at = |index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
        let (median, last) = (at(times.len() / 2), at(times.len().saturating_sub(1)));
        let _ = writeln!(text, "{reason:20} {all:8} {bounded:8} {:8} {median:9.3} {last:9.3}", times.len());
    }
    text.push_str("bounded: the guarantee set a time by which the end had to be shown\n");
    text.push_str("free: nothing was broken around the end that concerns its gateway or the API server\n");
    text
}
