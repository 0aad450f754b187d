//! `kubectl bastion terminate`: asks for the end of sessions, and says what became of each.

use std::io::{BufRead, IsTerminal, Write, stdin};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{Error as WaitError, await_condition};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::cli::Terminate;
use super::output::{Format, age};
use super::rights::{GET_SESSION, PATCH_SESSION, failed};
use super::sessions::Shown;
use super::{client, output, person, select, sessions};
use crate::api::{BastionSession, Phase, Termination};
use crate::cluster::code;
use crate::text::printable;

/// How many sessions are asked to end at once.
const ASKED_AT_ONCE: usize = 16;
/// How many are waited for at once; each is a watch of one object.
const AWAITED_AT_ONCE: usize = 64;
/// How long after a watch has failed the next one begins.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Ends them.
pub async fn run(flags: Terminate) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.as_str();
    let names = if flags.names.is_empty() {
        let chosen = select::find(&client, Some(namespace), &flags.filter, Some(Phase::Active)).await?;
        if chosen.is_empty() {
            eprintln!("bastion: there are no Active sessions of these in namespace {namespace}; nothing is to be done");
            return Ok(ExitCode::SUCCESS);
        }
        confirm(&flags, &chosen)?;
        chosen.iter().map(ResourceExt::name_any).collect()
    } else {
        flags.names.iter().map(|name| bare(name).to_owned()).collect()
    };
    let requested_by = person::caller(&client).await?.username.unwrap_or_default();
    let wanted =
        Termination { requested_by, reason: flags.reason.as_deref().and_then(Termination::reason_of), via: None };
    let api = select::sessions_in(&client, namespace);
    let outcomes = end_all(&api, namespace, names, &wanted, &flags).await?;
    report(&outcomes, flags.output)
}

/// The name without the kind before it, as `kubectl get -o name` prints it.
fn bare(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// Has the caller say whether these are meant.
fn confirm(flags: &Terminate, chosen: &[BastionSession]) -> anyhow::Result<()> {
    if flags.yes {
        return Ok(());
    }
    let shown = Shown { namespaces: false, header: true, now: Timestamp::now() };
    let mut screen = anstream::stderr().lock();
    screen.write_all(sessions::text(chosen, None, &shown)?.as_bytes())?;
    ensure!(stdin().is_terminal(), "nothing is terminated, since nobody can be asked; --yes says that these are meant");
    write!(screen, "Terminate {}? [y/N] ", number(chosen.len()))?;
    screen.flush()?;
    ensure!(says_yes(&mut stdin().lock())?, "nothing is terminated");
    Ok(())
}

fn number(sessions: usize) -> String {
    if sessions == 1 { "this session".to_owned() } else { format!("these {sessions} sessions") }
}

fn says_yes(input: &mut impl BufRead) -> anyhow::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer).context("no answer can be read")?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// What became of one.
#[derive(Debug)]
enum Outcome {
    /// It has ended, as asked or of itself.
    Ended(Box<BastionSession>),
    /// It had ended before.
    AlreadyEnded(Box<BastionSession>),
    /// It is asked to end, by us or somebody before us.
    Asked(Termination),
    /// Its object went away.
    Gone,
    /// There is none of this name.
    NotFound,
    /// It could not be asked, or not be seen to end.
    Failed(String),
    /// It has not ended in time.
    Late(Duration),
}

impl Outcome {
    const fn is_failure(&self) -> bool {
        matches!(self, Self::NotFound | Self::Failed(_) | Self::Late(_))
    }

    const fn session(&self) -> Option<&BastionSession> {
        match self {
            Self::Ended(session) | Self::AlreadyEnded(session) => Some(session),
            Self::Asked(_) | Self::Gone | Self::NotFound | Self::Failed(_) | Self::Late(_) => None,
        }
    }

    /// What is said about the session of this name.
    fn said(&self, name: &str) -> String {
        match self {
            Self::Ended(session) => format!("{name}: {}", end_of(session)),
            Self::AlreadyEnded(session) => format!("{name}: had already ended: {}", end_of(session)),
            Self::Asked(by) => format!("{name}: {} asked for its end", by.requested_by),
            Self::Gone => format!("{name}: has ended, and is gone"),
            Self::NotFound => {
                format!("{name}: there is no such session; kubectl bastion sessions shows what there is")
            }
            Self::Failed(why) => format!("{name}: {why}"),
            Self::Late(after) => format!(
                "{name}: has not ended within {}s; it stays asked for, and kubectl bastion status {name} says where it is stuck",
                after.as_secs()
            ),
        }
    }
}

fn end_of(session: &BastionSession) -> String {
    let status = session.status.clone().unwrap_or_default();
    let start = session.spec.start_time.0;
    let lasted = age(start, status.end_time.map_or(start, |time| time.0));
    let reason = status.reason.unwrap_or_default();
    format!("{}/{reason} after {lasted}: {}", status.phase, status.message.unwrap_or_default())
}

/// Asks for all the ends first, so that none waits for another, and then waits for them.
async fn end_all(
    api: &Api<BastionSession>,
    namespace: &str,
    names: Vec<String>,
    wanted: &Termination,
    flags: &Terminate,
) -> anyhow::Result<Vec<(String, Outcome)>> {
    let asked = stream::iter(names).map(async |name| {
        let outcome = ask(api, namespace, &name, wanted).await;
        (name, outcome)
    });
    let asked: Vec<_> = asked.buffered(ASKED_AT_ONCE).collect().await;
    let patience = Duration::from_secs(flags.timeout);
    let ends = stream::iter(asked).map(async |(name, outcome)| match outcome {
        Outcome::Asked(_) if !flags.no_wait => {
            let outcome = timeout(patience, end(api, namespace, &name)).await;
            (name, outcome.unwrap_or(Outcome::Late(patience)))
        }
        outcome => (name, outcome),
    });
    let mut ends = ends.buffer_unordered(AWAITED_AT_ONCE).boxed_local();
    let mut outcomes = Vec::new();
    while let Some((name, outcome)) = ends.next().await {
        let line = printable(&outcome.said(&name)) + "\n";
        if outcome.is_failure() {
            eprint!("bastion: {line}");
        } else if flags.output.is_none() {
            output::print(&line)?;
        }
        outcomes.push((name, outcome));
    }
    Ok(outcomes)
}

async fn ask(api: &Api<BastionSession>, namespace: &str, name: &str, wanted: &Termination) -> Outcome {
    let patch = Patch::Merge(json!({ "spec": { "termination": wanted } }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        // The same request twice changes nothing, even after the end.
        Ok(session) if session.phase().is_final() => Outcome::AlreadyEnded(Box::new(session)),
        Ok(_) => Outcome::Asked(wanted.clone()),
        Err(error) => match code(&error) {
            Some(404) => Outcome::NotFound,
            Some(422) => refused(api, namespace, name, error).await,
            _ => Outcome::Failed(format!("{:#}", failed(error, PATCH_SESSION, Some(namespace)))),
        },
    }
}

/// A rule of the schema refused it: it has ended, somebody else was first, or what is asked for has a wrong form.
async fn refused(api: &Api<BastionSession>, namespace: &str, name: &str, refusal: kube::Error) -> Outcome {
    match api.get_opt(name).await {
        Ok(None) => Outcome::NotFound,
        Ok(Some(session)) if session.phase().is_final() => Outcome::AlreadyEnded(Box::new(session)),
        Ok(Some(session)) => match session.spec.termination {
            Some(earlier) => Outcome::Asked(earlier),
            None => Outcome::Failed(message(refusal)),
        },
        Err(error) => Outcome::Failed(format!("{:#}", failed(error, GET_SESSION, Some(namespace)))),
    }
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

/// Waits for an end, through interruptions of the watch.
async fn end(api: &Api<BastionSession>, namespace: &str, name: &str) -> Outcome {
    let has_ended = |session: Option<&BastionSession>| session.is_none_or(|session| session.phase().is_final());
    loop {
        match await_condition(api.clone(), name, has_ended).await {
            Ok(Some(session)) => return Outcome::Ended(Box::new(session)),
            Ok(None) => return Outcome::Gone,
            Err(WaitError::ProbeFailed(error)) => {
                if let Some(failure) = super::watch::forbidden(error, Some(namespace)) {
                    return Outcome::Failed(format!("it is asked to end; {failure:#}"));
                }
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn report(outcomes: &[(String, Outcome)], format: Option<Format>) -> anyhow::Result<ExitCode> {
    if let Some(format) = format {
        let ended: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.session().cloned()).collect();
        let shown = Shown { namespaces: false, header: true, now: Timestamp::now() };
        output::print(&sessions::text(&ended, Some(format), &shown)?)?;
    }
    let failures = outcomes.iter().filter(|(_, outcome)| outcome.is_failure()).count();
    match (failures, outcomes.len()) {
        (0, _) => Ok(ExitCode::SUCCESS),
        (_, 1) => Ok(ExitCode::FAILURE),
        (failures, all) => bail!("{failures} of {all} sessions could not be terminated"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plugin::samples::{active, ended};

    #[rstest]
    #[case("y\n", true)]
    #[case(" YES \n", true)]
    #[case("\n", false)]
    #[case("", false)]
    #[case("no\n", false)]
    fn only_yes_is_yes(#[case] typed: &str, #[case] expected: bool) {
        assert_eq!(says_yes(&mut typed.as_bytes()).unwrap(), expected);
    }

    #[rstest]
    #[case("a", "a")]
    #[case("bastionsession.bastion.dev/a", "a")]
    #[case("bsess/a", "a")]
    fn names_are_taken_as_kubectl_prints_them(#[case] typed: &str, #[case] expected: &str) {
        assert_eq!(bare(typed), expected);
    }

    fn by(name: &str) -> Termination {
        Termination { requested_by: name.to_owned(), reason: None, via: None }
    }

    #[rstest]
    #[case(
        Outcome::Ended(Box::new(ended("a"))),
        false,
        "a: Closed/UserExit after 90s: the command ended with exit status 0"
    )]
    #[case(
        Outcome::AlreadyEnded(Box::new(ended("a"))),
        false,
        "a: had already ended: Closed/UserExit after 90s: the command"
    )]
    #[case(Outcome::Asked(by("ops")), false, "a: ops asked for its end")]
    #[case(Outcome::Gone, false, "a: has ended, and is gone")]
    #[case(Outcome::NotFound, true, "a: there is no such session; kubectl bastion sessions shows")]
    #[case(Outcome::Failed("you may not".into()), true, "a: you may not")]
    #[case(
        Outcome::Late(Duration::from_secs(45)),
        true,
        "a: has not ended within 45s; it stays asked for, and kubectl bastion status a"
    )]
    fn what_became_of_each_is_said(#[case] outcome: Outcome, #[case] failure: bool, #[case] words: &str) {
        assert!(outcome.said("a").starts_with(words), "{}", outcome.said("a"));
        assert_eq!(outcome.is_failure(), failure);
    }

    #[test]
    fn an_open_session_has_no_end_to_tell() {
        assert!(end_of(&active("a")).starts_with("Active/ after 0s"));
    }
}
