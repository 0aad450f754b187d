//! `kubectl bastion watch`: who comes and goes, a line each.

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
use super::rights::{LIST_SESSIONS, WATCH_SESSIONS, failed};
use super::sessions::full_name;
use super::{client, output, select};
use crate::api::BastionSession;
use crate::cluster::{Guarded, WATCH_SECONDS, code, retry_pace};
use crate::text::printable;

/// Prints until nobody reads it any more.
pub async fn run(flags: Watch) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = (!flags.all_namespaces).then_some(flags.cluster.namespace.as_str());
    let config = flags.filter.watched().timeout(WATCH_SECONDS);
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
                    output::tell_unreadable::<BastionSession>(std::slice::from_ref(it));
                }
                for (what, session) in feed.see(event) {
                    if flags.filter.takes(&session) {
                        output::print(&line(what, &session, &flags, Timestamp::now())?)?;
                    }
                }
            }
            Err(error) => {
                let told = error.to_string();
                if let Some(failure) = forbidden(error, namespace) {
                    return Err(failure);
                }
                if !std::mem::replace(&mut interrupted, true) {
                    eprintln!("bastion: the watch was interrupted and is taken up again: {told}");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What no retry of a watch can mend.
pub fn forbidden(error: Error, namespace: Option<&str>) -> Option<anyhow::Error> {
    let (error, right) = match error {
        Error::InitialListFailed(error) => (error, LIST_SESSIONS),
        Error::WatchStartFailed(error) => (error, WATCH_SESSIONS),
        _ => return None,
    };
    matches!(code(&error), Some(401 | 403 | 404)).then(|| failed(error, right, namespace))
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// It was open when the watch began.
    Online,
    /// It has started.
    Started,
    /// It has ended.
    Ended,
    /// It was open, and its object is no more: its end was not seen.
    Gone,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Started => "Started",
            Self::Ended => "Ended",
            Self::Gone => "Gone",
        }
    }
}

/// What was shown of the sessions, by which it is known what is new. A watch that begins anew lists all of them again.
#[derive(Default)]
struct Feed {
    /// Those that are open.
    open: HashMap<String, BastionSession>,
    /// Those that have ended and are still there.
    ended: HashSet<String>,
    /// Whether a list has been shown.
    shown: bool,
    /// What a list that is under way has, and what is to be said of it.
    listed: HashSet<String>,
    lines: Vec<(What, BastionSession)>,
}

impl Feed {
    /// Processes an event, and returns what to show. Of an unreadable session, only its end and its removal are shown.
    fn see(&mut self, event: Event<Guarded<BastionSession>>) -> Vec<(What, BastionSession)> {
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

    fn apply(&mut self, session: Guarded<BastionSession>) -> Option<(What, BastionSession)> {
        let uid = session.uid().unwrap_or_default();
        let session = match session.0 {
            Ok(session) => Arc::unwrap_or_clone(session),
            Err(unreadable) if unreadable.has_ended() => {
                self.ended.insert(uid.clone());
                // As it was when it could be read last.
                return self.open.remove(&uid).map(|session| (What::Ended, session));
            }
            Err(_) => return None,
        };
        if session.phase().is_final() {
            let was_open = self.open.remove(&uid).is_some();
            let new = self.ended.insert(uid);
            // What had ended before the watch began is not told.
            return (was_open || (new && self.shown)).then_some((What::Ended, session));
        }
        let what = if self.shown { What::Started } else { What::Online };
        let new = self.open.insert(uid, session.clone()).is_none();
        new.then_some((what, session))
    }

    /// An object goes when its end is on record, unless somebody takes its finalizer off.
    fn delete(&mut self, uid: &str) -> Option<(What, BastionSession)> {
        self.ended.remove(uid);
        self.open.remove(uid).map(|session| (What::Gone, session))
    }

    fn list_ends(&mut self) -> Vec<(What, BastionSession)> {
        let mut lines = std::mem::take(&mut self.lines);
        let gone = self.open.extract_if(|uid, _| !self.listed.contains(uid));
        lines.extend(gone.map(|(_, session)| (What::Gone, session)));
        self.ended.retain(|uid| self.listed.contains(uid));
        lines.sort_by_key(|(what, session)| (moment(*what, session), session.name_any()));
        self.shown = true;
        lines
    }
}

/// When it happened; for what nobody saw, there is no time.
fn moment(what: What, session: &BastionSession) -> Option<Timestamp> {
    match what {
        What::Online | What::Started => Some(session.spec.start_time.0),
        What::Ended => session.status.as_ref()?.end_time.as_ref().map(|time| time.0),
        What::Gone => None,
    }
}

/// The least widths of the columns. What is wider moves the rest of its line: lines that come later are not known.
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

fn line(what: What, session: &BastionSession, flags: &Watch, now: Timestamp) -> anyhow::Result<String> {
    match flags.output {
        Some(Format::Name) => return Ok(full_name(session) + "\n"),
        Some(Format::Json) => {
            let told = json!({"type": what.as_str(), "object": output::object(session)?});
            return Ok(told.to_string() + "\n");
        }
        Some(format @ Format::Yaml) => {
            let told = json!({"type": what.as_str(), "object": output::object(session)?});
            return Ok(format!("---\n{}", output::written(&told, format)?));
        }
        None | Some(Format::Wide) => {}
    }
    let (spec, status) = (&session.spec, session.status.clone().unwrap_or_default());
    let time = moment(what, session).unwrap_or(now);
    let (reason, message, lasted) = match what {
        What::Online | What::Started => (None, None, None),
        What::Ended => (status.reason, status.message, Some(age(spec.start_time.0, time))),
        What::Gone => (None, Some("its end was not seen; kubectl bastion history has it".to_owned()), None),
    };
    let texts = [
        format!("{time:.0}"),
        what.as_str().to_owned(),
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
    Ok(columns(&texts, flags, rest, style(what, session)))
}

/// A line of these columns, and of the namespace, the gateway and the message around them.
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

fn style(what: What, session: &BastionSession) -> Style {
    let tone = match what {
        What::Online | What::Started => Tone::Good,
        What::Ended => super::sessions::tone(session.phase()),
        What::Gone => Tone::Doubtful,
    };
    let colour = match tone {
        Tone::Plain => return Style::new(),
        Tone::Good => AnsiColor::Green,
        Tone::Doubtful => AnsiColor::Yellow,
        Tone::Bad => AnsiColor::Red,
    };
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::plugin::cli::{Cli, Command};
    use crate::plugin::samples::{active, at, ended};

    fn readable(session: BastionSession) -> Guarded<BastionSession> {
        Guarded(Ok(Arc::new(session)))
    }

    /// The same session as a newer version may write it.
    fn unreadable(session: &BastionSession) -> Guarded<BastionSession> {
        let mut object = serde_json::to_value(session).unwrap();
        object["spec"]["protocol"] = "Telepathy".into();
        serde_json::from_value(object).unwrap()
    }

    /// A list of these sessions.
    fn list(sessions: &[BastionSession]) -> Vec<Event<Guarded<BastionSession>>> {
        let listed = sessions.iter().cloned().map(readable).map(Event::InitApply);
        std::iter::once(Event::Init).chain(listed).chain([Event::InitDone]).collect()
    }

    fn told(events: Vec<Event<Guarded<BastionSession>>>) -> Vec<String> {
        let mut feed = Feed::default();
        let lines = events.into_iter().flat_map(|event| feed.see(event));
        lines.map(|(what, session)| format!("{} {}", what.as_str(), session.name_any())).collect()
    }

    #[rstest]
    #[case::only_what_is_open_is_told_at_first(list(&[active("a"), ended("b")]), &["Online a"])]
    #[case::a_start_and_an_end(
        [list(&[]), vec![Event::Apply(readable(active("a"))), Event::Apply(readable(ended("a"))), Event::Apply(readable(ended("a"))), Event::Delete(readable(ended("a")))]].concat(),
        &["Started a", "Ended a"])]
    #[case::a_fresh_list_tells_what_is_new(
        [list(&[active("a"), active("b")]), list(&[ended("a"), active("b"), active("c"), ended("d")])].concat(),
        &["Online a", "Online b", "Started c", "Ended a", "Ended d"])]
    #[case::a_fresh_list_tells_nothing_twice(
        [list(&[active("a")]), vec![Event::Apply(readable(ended("a")))], list(&[ended("a")]), vec![Event::Apply(readable(ended("a")))]].concat(),
        &["Online a", "Ended a"])]
    #[case::what_a_fresh_list_lacks_has_gone([list(&[active("a"), ended("b")]), list(&[])].concat(), &["Online a", "Gone a"])]
    #[case::what_is_deleted_while_open_has_gone([list(&[active("a")]), vec![Event::Delete(readable(active("a")))]].concat(), &["Online a", "Gone a"])]
    #[case::what_cannot_be_read_has_not_gone(
        [list(&[active("a")]), vec![Event::Apply(unreadable(&active("a"))), Event::Init, Event::InitApply(unreadable(&active("a"))), Event::InitDone]].concat(),
        &["Online a"])]
    #[case::what_cannot_be_read_ends(
        [list(&[active("a"), active("b")]), vec![Event::Apply(unreadable(&ended("a"))), Event::Apply(unreadable(&ended("a"))), Event::Delete(unreadable(&ended("a"))), Event::Init, Event::InitApply(unreadable(&ended("b"))), Event::InitDone]].concat(),
        &["Online a", "Online b", "Ended a", "Ended b"])]
    #[case::what_cannot_be_read_goes([list(&[active("a")]), vec![Event::Delete(unreadable(&active("a")))]].concat(), &["Online a", "Gone a"])]
    fn each_start_and_end_is_told_once(#[case] events: Vec<Event<Guarded<BastionSession>>>, #[case] expected: &[&str]) {
        assert_eq!(told(events), expected);
    }

    #[rstest]
    #[case(&["watch"], "\
2027-01-15T08:01:30Z   Ended     alice          web-1            root       192.0.2.7         UserExit             90s        a                            the command ended with exit status 0\n")]
    #[case(&["watch", "-o", "name"], "bastionsession.bastion.dev/a\n")]
    fn a_line_tells_an_end(#[case] arguments: &[&str], #[case] expected: &str) {
        let line_of = std::iter::once("kubectl-bastion").chain(arguments.iter().copied());
        let Command::Watch(flags) = Cli::try_parse_from(line_of).unwrap().command else { panic!("not watch") };
        let text = line(What::Ended, &ended("a"), &flags, at(300)).unwrap();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }
}
