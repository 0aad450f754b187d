//! `kubectl bastion terminate`: requests the end of sessions, waits for it, and prints the outcome of each.

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
use super::rights::{GET_SESSION, PATCH_SESSION, explain};
use super::sessions::TableOptions;
use super::{client, output, person, select, sessions};
use crate::api::{BastionSession, Phase, Termination};
use crate::cluster::code;
use crate::text::printable;

/// The most concurrent requests.
const MAX_CONCURRENT_REQUESTS: usize = 16;
/// The most concurrent watches. Each watches one session.
const MAX_CONCURRENT_WATCHES: usize = 64;
/// The delay before a failed watch is started again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Ends the sessions.
pub async fn run(flags: Terminate) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.as_str();
    let names = if flags.names.is_empty() {
        let chosen = select::find(&client, Some(namespace), &flags.filter, Some(Phase::Active)).await?;
        if chosen.is_empty() {
            output::warn(&format!("no Active session matches in namespace {namespace}"));
            return Ok(ExitCode::SUCCESS);
        }
        confirm(&flags, &chosen)?;
        chosen.iter().map(ResourceExt::name_any).collect()
    } else {
        flags.names.iter().map(|name| object_name(name).to_owned()).collect()
    };
    let requested_by = person::caller(&client).await?.username.unwrap_or_default();
    let wanted =
        Termination { requested_by, reason: flags.reason.as_deref().and_then(Termination::reason_of), via: None };
    let api = select::sessions_in(&client, namespace);
    let outcomes = end_all(&api, namespace, names, &wanted, &flags).await?;
    report(&outcomes, flags.output)
}

/// Returns the name without its kind, which `kubectl get -o name` prints before it.
fn object_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// Asks the user to confirm the ends.
fn confirm(flags: &Terminate, chosen: &[BastionSession]) -> anyhow::Result<()> {
    if flags.yes {
        return Ok(());
    }
    let shown = TableOptions { namespaces: false, header: true, now: Timestamp::now() };
    let mut screen = anstream::stderr().lock();
    screen.write_all(sessions::text(chosen, None, &shown)?.as_bytes())?;
    ensure!(stdin().is_terminal(), "nothing is terminated: standard input is not a terminal; confirm with --yes");
    write!(screen, "Terminate {}? [y/N] ", these(chosen.len()))?;
    screen.flush()?;
    ensure!(is_confirmed(&mut stdin().lock())?, "nothing is terminated");
    Ok(())
}

fn these(sessions: usize) -> String {
    if sessions == 1 { "this session".to_owned() } else { format!("these {sessions} sessions") }
}

fn is_confirmed(input: &mut impl BufRead) -> anyhow::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer).context("the answer cannot be read")?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// The outcome for one session.
#[derive(Debug)]
enum Outcome {
    /// The session has ended, because of this request or for another cause.
    Ended(Box<BastionSession>),
    /// The session had already ended before the request.
    AlreadyEnded(Box<BastionSession>),
    /// The end is requested, by this request or an earlier one.
    Requested(Termination),
    /// The object was deleted.
    Gone,
    /// There is no session of this name.
    NotFound,
    /// The request or the wait for the end failed.
    Failed(String),
    /// The session has not ended within this time.
    Late(Duration),
}

impl Outcome {
    const fn is_failure(&self) -> bool {
        matches!(self, Self::NotFound | Self::Failed(_) | Self::Late(_))
    }

    const fn session(&self) -> Option<&BastionSession> {
        match self {
            Self::Ended(session) | Self::AlreadyEnded(session) => Some(session),
            Self::Requested(_) | Self::Gone | Self::NotFound | Self::Failed(_) | Self::Late(_) => None,
        }
    }

    /// Describes the outcome for the session of this name.
    fn describe(&self, name: &str) -> String {
        match self {
            Self::Ended(session) => format!("{name}: {}", end_of(session)),
            Self::AlreadyEnded(session) => format!("{name}: had already ended: {}", end_of(session)),
            Self::Requested(by) => format!("{name}: {} requested its end", by.requested_by),
            Self::Gone => format!("{name}: has ended and was deleted"),
            Self::NotFound => {
                format!("{name}: there is no such session; kubectl bastion sessions lists the open ones")
            }
            Self::Failed(why) => format!("{name}: {why}"),
            Self::Late(after) => format!(
                "{name}: has not ended within {}s; the request remains, and kubectl bastion status {name} shows where it is stuck",
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

/// Requests the ends of all sessions first, and then waits for the ends, so that no request waits for another session's end.
/// Prints each outcome as soon as it is known.
async fn end_all(
    api: &Api<BastionSession>,
    namespace: &str,
    names: Vec<String>,
    wanted: &Termination,
    flags: &Terminate,
) -> anyhow::Result<Vec<(String, Outcome)>> {
    let requested = stream::iter(names).map(async |name| {
        let outcome = request_end(api, namespace, &name, wanted).await;
        (name, outcome)
    });
    let requested: Vec<_> = requested.buffered(MAX_CONCURRENT_REQUESTS).collect().await;
    let limit = Duration::from_secs(flags.timeout);
    let ends = stream::iter(requested).map(async |(name, outcome)| match outcome {
        Outcome::Requested(_) if !flags.no_wait => {
            let outcome = timeout(limit, wait_for_end(api, namespace, &name)).await;
            (name, outcome.unwrap_or(Outcome::Late(limit)))
        }
        outcome => (name, outcome),
    });
    let mut ends = ends.buffer_unordered(MAX_CONCURRENT_WATCHES).boxed_local();
    let mut outcomes = Vec::new();
    while let Some((name, outcome)) = ends.next().await {
        let line = outcome.describe(&name);
        if outcome.is_failure() {
            output::warn(&line);
        } else if flags.output.is_none() {
            output::print(&(printable(&line) + "\n"))?;
        }
        outcomes.push((name, outcome));
    }
    Ok(outcomes)
}

async fn request_end(api: &Api<BastionSession>, namespace: &str, name: &str, wanted: &Termination) -> Outcome {
    let patch = Patch::Merge(json!({ "spec": { "termination": wanted } }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        // A repeated request changes nothing, so it succeeds even after the end.
        Ok(session) if session.phase().is_final() => Outcome::AlreadyEnded(Box::new(session)),
        Ok(_) => Outcome::Requested(wanted.clone()),
        Err(error) => match code(&error) {
            Some(404) => Outcome::NotFound,
            Some(422) => refused(api, namespace, name, error).await,
            _ => Outcome::Failed(format!("{:#}", explain(error, PATCH_SESSION, Some(namespace)))),
        },
    }
}

/// Returns the outcome of a request that a schema rule refused: the session has ended, another user had requested its end, or
/// the request is invalid.
async fn refused(api: &Api<BastionSession>, namespace: &str, name: &str, refusal: kube::Error) -> Outcome {
    match api.get_opt(name).await {
        Ok(None) => Outcome::NotFound,
        Ok(Some(session)) if session.phase().is_final() => Outcome::AlreadyEnded(Box::new(session)),
        Ok(Some(session)) => match session.spec.termination {
            Some(earlier) => Outcome::Requested(earlier),
            None => Outcome::Failed(message(refusal)),
        },
        Err(error) => Outcome::Failed(format!("{:#}", explain(error, GET_SESSION, Some(namespace)))),
    }
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

/// Waits for the end of a session. A failed watch is started again.
async fn wait_for_end(api: &Api<BastionSession>, namespace: &str, name: &str) -> Outcome {
    let has_ended = |session: Option<&BastionSession>| session.is_none_or(|session| session.phase().is_final());
    loop {
        match await_condition(api.clone(), name, has_ended).await {
            Ok(Some(session)) => return Outcome::Ended(Box::new(session)),
            Ok(None) => return Outcome::Gone,
            Err(WaitError::ProbeFailed(error)) => {
                if let Some(failure) = super::watch::forbidden(error, Some(namespace)) {
                    return Outcome::Failed(format!("its end is requested; {failure:#}"));
                }
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

fn report(outcomes: &[(String, Outcome)], format: Option<Format>) -> anyhow::Result<ExitCode> {
    if let Some(format) = format {
        let ended: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.session().cloned()).collect();
        let shown = TableOptions { namespaces: false, header: true, now: Timestamp::now() };
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
    fn only_yes_confirms(#[case] typed: &str, #[case] expected: bool) {
        assert_eq!(is_confirmed(&mut typed.as_bytes()).unwrap(), expected);
    }

    #[rstest]
    #[case("a", "a")]
    #[case("bastionsession.bastion.dev/a", "a")]
    #[case("bsess/a", "a")]
    fn names_are_accepted_as_kubectl_prints_them(#[case] typed: &str, #[case] expected: &str) {
        assert_eq!(object_name(typed), expected);
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
    #[case(Outcome::Requested(by("ops")), false, "a: ops requested its end")]
    #[case(Outcome::Gone, false, "a: has ended and was deleted")]
    #[case(Outcome::NotFound, true, "a: there is no such session; kubectl bastion sessions lists")]
    #[case(Outcome::Failed("you may not".into()), true, "a: you may not")]
    #[case(
        Outcome::Late(Duration::from_secs(45)),
        true,
        "a: has not ended within 45s; the request remains, and kubectl bastion status a"
    )]
    fn each_outcome_is_described(#[case] outcome: Outcome, #[case] failure: bool, #[case] words: &str) {
        assert!(outcome.describe("a").starts_with(words), "{}", outcome.describe("a"));
        assert_eq!(outcome.is_failure(), failure);
    }

    #[test]
    fn an_open_session_has_no_end_to_describe() {
        assert!(end_of(&active("a")).starts_with("Active/ after 0s"));
    }
}
