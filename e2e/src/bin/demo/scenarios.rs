//! The scenarios: an event, and how long it takes until the watch shows what came of it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase, Reason};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::environment::Environment;
use crate::report::{Promise, ScenarioResult};
use crate::{at_once, in_time};
use bastion_e2e::bastion::Open;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::sshd::gives_terminals;
use bastion_e2e::{Gateway, LOST_GATEWAY, default_timeout};

/// A scenario: its name, and what happens in it.
pub type Scenario<'a> = (&'static str, LocalBoxFuture<'a, Vec<ScenarioResult>>);

/// Runs them all: first the scenarios whose end is shown at once, one by one, then the others, together.
pub async fn run(environment: &Environment) -> Vec<ScenarioResult> {
    let mut scenarios = Vec::new();
    for scenario in at_once::scenarios(environment) {
        scenarios.extend(run_one(environment, scenario).await);
    }
    environment.progress("and now, all at the same time, what takes its time, up to a minute:");
    let together = in_time::scenarios(environment).into_iter().map(|scenario| run_one(environment, scenario));
    scenarios.extend(join_all(together).await.into_iter().flatten());
    scenarios
}

/// Runs one. If it fails, that keeps no other from running.
async fn run_one(environment: &Environment, (name, run): Scenario<'_>) -> Vec<ScenarioResult> {
    environment.progress(name);
    let finished = AssertUnwindSafe(run).catch_unwind().await;
    finished.unwrap_or_else(|_| vec![ScenarioResult::failed(name)])
}

/// An `ssh` of a new user, who is in alice's group, to web-1.
pub async fn ssh(environment: &Environment, gateway: &Gateway, user: &str) -> Ssh {
    ssh_to(environment, gateway, user, "web-1").await
}

/// The same, to another target.
pub async fn ssh_to(environment: &Environment, gateway: &Gateway, user: &str, target: &str) -> Ssh {
    environment.namespace.user_with(user, json!({"groups": ["web-team"]})).await;
    gateway.ssh(&format!("{user}:{target}")).await
}

/// Opens a shell of a new user on web-1, through the gateway that stays, and waits until it answers.
pub async fn open(environment: &Environment, user: &str) -> Open {
    answering(environment, ssh(environment, &environment.gateways[1], user).await.no_terminal(), user).await
}

/// Starts an `ssh` that opens a shell, and waits until that answers.
pub async fn answering(environment: &Environment, ssh: Ssh, user: &str) -> Open {
    let mut ssh = ssh.start().await;
    ssh.say("echo rea$((0))dy").await;
    ssh.shows("rea0dy").await;
    Open { session: environment.watch.started(user).await, ssh }
}

/// With a terminal, where warnings are shown, if there is one to be had.
pub fn at_a_terminal(ssh: Ssh) -> Ssh {
    if gives_terminals() { ssh.terminal() } else { ssh.no_terminal() }
}

/// Adds the notices that the user received, and asserts that the warning is one of them if the user has a terminal.
pub fn warned(scenario: ScenarioResult, notices: Vec<String>, warning: &str) -> ScenarioResult {
    let read = notices.iter().any(|line| line.contains(warning));
    assert!(read || !gives_terminals(), "the user is warned: {notices:?}");
    scenario.with_notices(notices)
}

/// The scenario of a session that ends, with the time from the event until the watch showed it.
pub async fn shown(
    environment: &Environment,
    name: &str,
    event: Instant,
    session: &BastionSession,
    reason: Reason,
    promise: Promise,
) -> ScenarioResult {
    let observation = environment.watch.ended_within(default_timeout() + LOST_GATEWAY, session, reason).await;
    ScenarioResult::ended(name, reason, observation.at.saturating_duration_since(event), promise)
}

/// The scenario of a session that is still shown as Active, and is.
pub async fn stays(environment: &Environment, name: &str, open: &mut Open) -> ScenarioResult {
    open.still_answers().await;
    assert_eq!(environment.watch.phase(&open.session), Phase::Active);
    ScenarioResult::stayed(name)
}

/// Ends a session that is not needed any more.
pub async fn leave(mut open: Open) {
    open.ssh.say("exit").await;
    open.ssh.finish(default_timeout()).await;
}

/// Returns the notices that the user received, once `ssh` has ended.
pub async fn notices(open: &mut Open) -> Vec<String> {
    let outcome = open.ssh.finish(default_timeout()).await;
    let all = format!("{}\n{}", outcome.stdout, outcome.stderr);
    all.lines().map(str::trim).filter(|line| line.starts_with("bastion: ")).map(ToOwned::to_owned).collect()
}

/// The moment at which a session was this old.
pub fn at_age(session: &BastionSession, age: Duration) -> Instant {
    let since = Timestamp::now().duration_since(session.spec.start_time.0);
    let so_far = Duration::try_from(since).unwrap_or_default();
    Instant::now().checked_sub(so_far).expect("this machine was up when the session began") + age
}

/// The session's name.
pub fn name(open: &Open) -> String {
    open.session.name_any()
}
