//! `kubectl bastion watch`: prints a line for each session that starts or ends.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::Arc;

use anstyle::{AnsiColor, Color, Style};
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Error, Event, ExponentialBackoff, watcher};
use serde_json::json;

use super::cli::Watch;
use super::output::{Format, Tone, age};
use super::rights::{LIST_SESSIONS, WATCH_SESSIONS, explain};
use super::sessions::full_name;
use super::{client, output, select};
use crate::api::BastionSession;
use crate::cluster::{Guarded, WATCH_SECONDS, code, retry_pace};
use crate::text::printable;

/// Prints until standard output is closed.
pub async fn run(flags: Watch) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = (!flags.all_namespaces).then_some(flags.cluster.namespace.as_str());
    let config = flags.filter.watch_config().timeout(WATCH_SECONDS);
    let events = watcher(select::guarded_sessions_in(&client, namespace), config);
    let events = events.backoff(ExponentialBackoff::from(retry_pace()));
    pin_mut!(events);
    let mut feed = Feed::default();
    let mut interrupted = false;
    if !flags.no_headers && matches!(flags.output, None | Some(Format::Wide)) {
        output::print(&header(&flags))?;
    }
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                interrupted = false;
                if let Event::InitApply(Guarded(Err(it))) | Event::Apply(Guarded(Err(it))) = &event {
                    output::warn_unreadable::<BastionSession>(std::slice::from_ref(it));
                }
                for (change, session) in feed.observe(event) {
                    if flags.filter.matches(&session) {
                        output::print(&line(change, &session, &flags, Timestamp::now())?)?;
                    }
                }
            }
            Err(error) => {
                let text = error.to_string();
                if let Some(failure) = forbidden(error, namespace) {
                    return Err(failure);
                }
                if !std::mem::replace(&mut interrupted, true) {
                    output::warn(&format!("watch interrupted; resuming: {text}"));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the error of a watch that no retry can resolve: 401, 403 or 404.
pub fn forbidden(error: Error, namespace: Option<&str>) -> Option<anyhow::Error> {
    let (error, right) = match error {
        Error::InitialListFailed(error) => (error, LIST_SESSIONS),
        Error::WatchStartFailed(error) => (error, WATCH_SESSIONS),
        _ => return None,
    };
    matches!(code(&error), Some(401 | 403 | 404)).then(|| explain(error, right, namespace))
}

/// The change that a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The session was open when the watch started.
    Online,
    /// The session has started.
    Started,
    /// The session has ended.
    Ended,
    /// The object of an open session was deleted; its end was not seen.
    Gone,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Started => "Started",
            Self::Ended => "Ended",
            Self::Gone => "Gone",
        }
    }
}

/// The sessions that the watch has shown. With them, a restarted watch finds the changes in the new list of all sessions.
#[derive(Default)]
struct Feed {
    /// The open sessions, by uid.
    open: HashMap<String, BastionSession>,
    /// The uids of ended sessions whose objects exist.
    ended: HashSet<String>,
    /// Whether the first list was shown completely.
    shown: bool,
    /// The uids of the list that is being read.
    listed: HashSet<String>,
    /// The changes found in that list so far.
    lines: Vec<(Change, BastionSession)>,
}

impl Feed {
    /// Processes a watch event, and returns the changes to show. Of an unreadable session, only the end and the deletion are
    /// shown.
    fn observe(&mut self, event: Event<Guarded<BastionSession>>) -> Vec<(Change, BastionSession)> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(session) => {
                self.listed.insert(session.uid().unwrap_or_default());
                let line = self.apply(session);
                self.lines.extend(line);
                Vec::new()
            }
            Event::InitDone => self.list_ends(),
            Event::Apply(session) => self.apply(session).into_iter().collect(),
            Event::Delete(session) => self.delete(&session.uid().unwrap_or_default()).into_iter().collect(),
        }
    }

    fn apply(&mut self, session: Guarded<BastionSession>) -> Option<(Change, BastionSession)> {
        let uid = session.uid().unwrap_or_default();
        let session = match session.0 {
            Ok(session) => Arc::unwrap_or_clone(session),
            Err(unreadable) if unreadable.has_ended() => {
                self.ended.insert(uid.clone());
                // The last readable version is shown.
                return self.open.remove(&uid).map(|session| (Change::Ended, session));
            }
            Err(_) => return None,
        };
        if session.phase().is_final() {
            let was_open = self.open.remove(&uid).is_some();
            let new = self.ended.insert(uid);
            // Sessions that had ended before the watch started are not shown.
            return (was_open || (new && self.shown)).then_some((Change::Ended, session));
        }
        let change = if self.shown { Change::Started } else { Change::Online };
        let new = self.open.insert(uid, session.clone()).is_none();
        new.then_some((change, session))
    }

    /// Handles a deletion. An open session is deleted only if its finalizer was removed by hand.
    fn delete(&mut self, uid: &str) -> Option<(Change, BastionSession)> {
        self.ended.remove(uid);
        self.open.remove(uid).map(|session| (Change::Gone, session))
    }

    fn list_ends(&mut self) -> Vec<(Change, BastionSession)> {
        let mut lines = std::mem::take(&mut self.lines);
        let gone = self.open.extract_if(|uid, _| !self.listed.contains(uid));
        lines.extend(gone.map(|(_, session)| (Change::Gone, session)));
        self.ended.retain(|uid| self.listed.contains(uid));
        lines.sort_by_key(|(change, session)| (time_of(*change, session), session.name_any()));
        self.shown = true;
        lines
    }
}

/// Returns when the change happened; `None` if that is unknown.
fn time_of(change: Change, session: &BastionSession) -> Option<Timestamp> {
    match change {
        Change::Online | Change::Started => Some(session.spec.start_time.0),
        Change::Ended => session.status.as_ref()?.end_time.as_ref().map(|time| time.0),
        Change::Gone => None,
    }
}

/// The columns and their minimum widths. A wider text shifts the rest of its line, since later lines are not known.
const COLUMNS: [(&str, usize); 9] = [
    ("TIME", 20),
    ("EVENT", 7),
    ("USER", 12),
    ("TARGET", 14),
    ("LOGIN", 8),
    ("CLIENT", 15),
    ("REASON", 18),
    ("DURATION", 8),
    ("NAME", 26),
];

fn header(flags: &Watch) -> String {
    columns(&COLUMNS.map(|(name, _)| name.to_owned()), flags, ("NAMESPACE", "GATEWAY", "MESSAGE"), Style::new())
}

fn line(change: Change, session: &BastionSession, flags: &Watch, now: Timestamp) -> anyhow::Result<String> {
    match flags.output {
        Some(Format::Name) => return Ok(full_name(session) + "\n"),
        Some(Format::Json) => {
            let event = json!({"type": change.as_str(), "object": output::object(session)?});
            return Ok(event.to_string() + "\n");
        }
        Some(format @ Format::Yaml) => {
            let event = json!({"type": change.as_str(), "object": output::object(session)?});
            return Ok(format!("---\n{}", output::serialize_as(&event, format)?));
        }
        None | Some(Format::Wide) => {}
    }
    let (spec, status) = (&session.spec, session.status.clone().unwrap_or_default());
    let time = time_of(change, session).unwrap_or(now);
    let (reason, message, lasted) = match change {
        Change::Online | Change::Started => (None, None, None),
        Change::Ended => (status.reason, status.message, Some(age(spec.start_time.0, time))),
        Change::Gone => (None, Some("its end was not seen; kubectl bastion history has it".to_owned()), None),
    };
    let texts = [
        format!("{time:.0}"),
        change.as_str().to_owned(),
        spec.user.name.clone(),
        spec.target.clone(),
        spec.login.clone(),
        spec.client.address.clone(),
        reason.unwrap_or_default(),
        lasted.unwrap_or_default(),
        session.name_any(),
    ];
    let namespace = session.namespace().unwrap_or_default();
    let rest = (namespace.as_str(), spec.gateway.name.as_str(), message.as_deref().unwrap_or_default());
    Ok(columns(&texts, flags, rest, change_style(change, session)))
}

/// Formats a line: the namespace, the columns, the gateway and the message. The namespace is shown with `--all-namespaces`, and
/// the gateway with `-o wide`.
fn columns(texts: &[String; 9], flags: &Watch, rest: (&str, &str, &str), style: Style) -> String {
    let (namespace, gateway, message) = rest;
    let mut line = if flags.all_namespaces { format!("{namespace:<18}   ") } else { String::new() };
    for (text, (name, width)) in texts.iter().zip(COLUMNS) {
        let text = if text.is_empty() { "-".to_owned() } else { printable(text) };
        let style = if name == "EVENT" { style } else { Style::new() };
        line.extend([format!("{style}{text:<width$}{style:#}   ")]);
    }
    if flags.output == Some(Format::Wide) {
        line.extend([format!("{:<20}   ", printable(gateway))]);
    }
    line += &printable(message);
    line.trim_end().to_owned() + "\n"
}

fn change_style(change: Change, session: &BastionSession) -> Style {
    let tone = match change {
        Change::Online | Change::Started => Tone::Good,
        Change::Ended => super::sessions::tone(session.phase()),
        Change::Gone => Tone::Warning,
    };
    let colour = match tone {
        Tone::Plain => return Style::new(),
        Tone::Good => AnsiColor::Green,
        Tone::Warning => AnsiColor::Yellow,
        Tone::Bad => AnsiColor::Red,
    };
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::cluster::samples::{readable, unreadable};
    use crate::plugin::cli::{Cli, Command};
    use crate::plugin::samples::{active, at, ended};

    /// Returns the watch events of a list of these sessions.
    fn list(sessions: &[BastionSession]) -> Vec<Event<Guarded<BastionSession>>> {
        let listed = sessions.iter().cloned().map(readable).map(Event::InitApply);
        std::iter::once(Event::Init).chain(listed).chain([Event::InitDone]).collect()
    }

    fn changes(events: Vec<Event<Guarded<BastionSession>>>) -> Vec<String> {
        let mut feed = Feed::default();
        let lines = events.into_iter().flat_map(|event| feed.observe(event));
        lines.map(|(change, session)| format!("{} {}", change.as_str(), session.name_any())).collect()
    }

    #[rstest]
    #[case::only_open_sessions_are_shown_at_first(list(&[active("a"), ended("b")]), &["Online a"])]
    #[case::a_start_and_an_end(
        [list(&[]), vec![Event::Apply(readable(active("a"))), Event::Apply(readable(ended("a"))), Event::Apply(readable(ended("a"))), Event::Delete(readable(ended("a")))]].concat(),
        &["Started a", "Ended a"])]
    #[case::a_new_list_shows_changes(
        [list(&[active("a"), active("b")]), list(&[ended("a"), active("b"), active("c"), ended("d")])].concat(),
        &["Online a", "Online b", "Started c", "Ended a", "Ended d"])]
    #[case::a_new_list_shows_nothing_twice(
        [list(&[active("a")]), vec![Event::Apply(readable(ended("a")))], list(&[ended("a")]), vec![Event::Apply(readable(ended("a")))]].concat(),
        &["Online a", "Ended a"])]
    #[case::sessions_missing_from_a_new_list_are_gone([list(&[active("a"), ended("b")]), list(&[])].concat(), &["Online a", "Gone a"])]
    #[case::a_session_deleted_while_open_is_gone([list(&[active("a")]), vec![Event::Delete(readable(active("a")))]].concat(), &["Online a", "Gone a"])]
    #[case::an_unreadable_session_is_not_gone(
        [list(&[active("a")]), vec![Event::Apply(unreadable(&active("a"))), Event::Init, Event::InitApply(unreadable(&active("a"))), Event::InitDone]].concat(),
        &["Online a"])]
    #[case::an_unreadable_session_ends(
        [list(&[active("a"), active("b")]), vec![Event::Apply(unreadable(&ended("a"))), Event::Apply(unreadable(&ended("a"))), Event::Delete(unreadable(&ended("a"))), Event::Init, Event::InitApply(unreadable(&ended("b"))), Event::InitDone]].concat(),
        &["Online a", "Online b", "Ended a", "Ended b"])]
    #[case::an_unreadable_session_is_deleted([list(&[active("a")]), vec![Event::Delete(unreadable(&active("a")))]].concat(), &["Online a", "Gone a"])]
    fn each_start_and_end_is_shown_once(
        #[case] events: Vec<Event<Guarded<BastionSession>>>,
        #[case] expected: &[&str],
    ) {
        assert_eq!(changes(events), expected);
    }

    #[rstest]
    #[case(&["watch"], "\
2027-01-15T08:01:30Z   Ended     alice          web-1            root       192.0.2.7         UserExit             90s        a                            the command ended with exit status 0\n")]
    #[case(&["watch", "-o", "name"], "bastionsession.bastion.dev/a\n")]
    fn a_line_shows_an_end(#[case] arguments: &[&str], #[case] expected: &str) {
        let line_of = std::iter::once("kubectl-bastion").chain(arguments.iter().copied());
        let Command::Watch(flags) = Cli::try_parse_from(line_of).unwrap().command else { panic!("not watch") };
        let text = line(Change::Ended, &ended("a"), &flags, at(300)).unwrap();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }
}
