//! Ends that a gateway sees itself, and shows at once.

use std::time::Instant;

use bastion_operator::api::{BastionSession, Reason};
use futures::FutureExt;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::environment::{Environment, LIMITED};
use crate::report::Promise::AtOnce;
use crate::report::ScenarioResult;
use crate::scenarios::{
    Scenario, answering, at_a_terminal, at_age, leave, name, notices, open, shown, ssh_to, stays, warned,
};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Open, TerminalPage, browser};

/// The scenarios, in the order of the table in the design.
pub fn scenarios(environment: &Environment) -> Vec<Scenario<'_>> {
    vec![
        ("a user types exit", exit(environment).boxed_local()),
        ("an ssh client is killed with -9", client_killed(environment).boxed_local()),
        ("a browser tab with a shell is closed", tab_closed(environment).boxed_local()),
        ("one of two sessions ends", one_of_two(environment).boxed_local()),
        ("a user closes a session of their own with kubectl", closed(environment).boxed_local()),
        ("a target closes the connection", target_closed(environment).boxed_local()),
        ("a target cannot be reached", unreachable(environment).boxed_local()),
        ("an administrator terminates a session", terminated(environment).boxed_local()),
        ("an administrator deletes a session", deleted(environment).boxed_local()),
        ("a user types nothing for idleSeconds, here 4", idle(environment).boxed_local()),
        ("a session lasts for maxSeconds, here 4", overdue(environment).boxed_local()),
    ]
}

async fn exit(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "exits").await;
    let event = Instant::now();
    it.ssh.say("exit").await;
    vec![shown(environment, "exit", event, &it.session, Reason::UserExit, AtOnce).await]
}

async fn client_killed(environment: &Environment) -> Vec<ScenarioResult> {
    let it = open(environment, "killed").await;
    let event = Instant::now();
    it.ssh.signal(Signal::SIGKILL);
    vec![shown(environment, "ssh client killed with -9", event, &it.session, Reason::ClientDisconnected, AtOnce).await]
}

/// In Chromium, or where there is none over a WebSocket that ends as one of a closed tab does.
async fn tab_closed(environment: &Environment) -> Vec<ScenarioResult> {
    if !browser::BrowserScenario::has_browser() {
        environment.progress("  (there is no Chromium here: a WebSocket says what a tab says that is closed)");
        let token = ("authorization", format!("Bearer {}", environment.token));
        let mut page = TerminalPage::open(environment.gateways[1].web, "target=web-1", &[token]).await;
        page.types("echo rea$((0))dy").await;
        page.shows("rea0dy").await;
        let session = environment.watch.started("you").await;
        let event = Instant::now();
        page.close_tab().await;
        return vec![shown(environment, "a page's WebSocket closed", event, &session, Reason::TabClosed, AtOnce).await];
    }
    let mut tab =
        browser::BrowserScenario::start("tab", &environment.namespace, &environment.console, &environment.token).await;
    assert_eq!(tab.next().await, "close");
    let session = environment.watch.started("you").await;
    let event = Instant::now();
    tab.answer("").await;
    let scenario =
        shown(environment, "browser tab with a shell closed", event, &session, Reason::TabClosed, AtOnce).await;
    tab.finish().await;
    vec![scenario]
}

async fn one_of_two(environment: &Environment) -> Vec<ScenarioResult> {
    let (mut first, mut second) = (open(environment, "one").await, open(environment, "the-other").await);
    let event = Instant::now();
    first.ssh.say("exit").await;
    let ends = shown(environment, "one of two sessions exits", event, &first.session, Reason::UserExit, AtOnce).await;
    let stays = stays(environment, "  the other of the two", &mut second).await;
    leave(second).await;
    vec![ends, stays]
}

async fn closed(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "closes").await;
    let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch", "get"]}]);
    environment.namespace.allow("bastion:closes", sessions).await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "bastion:closes"}}}"#;
    let event = Instant::now();
    kubectl(
        environment,
        &["--as", "bastion:closes", "patch", "bastionsession", &name(&it), "--type=merge", "-p", patch],
    )
    .await;
    let scenario =
        shown(environment, "closed by its own user (kubectl patch)", event, &it.session, Reason::ApiClosed, AtOnce);
    vec![scenario.await.with_notices(notices(&mut it).await)]
}

async fn target_closed(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "cut-off").await;
    let event = Instant::now();
    it.ssh.say("kill -KILL $PPID").await;
    let scenario = shown(environment, "the target's sshd dies", event, &it.session, Reason::TargetClosed, AtOnce).await;
    vec![scenario.with_notices(notices(&mut it).await)]
}

async fn unreachable(environment: &Environment) -> Vec<ScenarioResult> {
    environment.target("down", json!({"port": free_port().await})).await;
    let ssh = ssh_to(environment, &environment.gateways[1], "knocks", "down").await.start().await;
    let event = Instant::now();
    let session: BastionSession = environment.watch.started("knocks").await;
    let scenario =
        shown(environment, "the target refuses connections", event, &session, Reason::TargetUnreachable, AtOnce);
    let scenario = scenario.await;
    vec![scenario.with_notices(notices(&mut Open { ssh, session }).await)]
}

async fn terminated(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "terminated").await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}}"#;
    let event = Instant::now();
    kubectl(environment, &["patch", "bastionsession", &name(&it), "--type=merge", "-p", patch]).await;
    let scenario =
        shown(environment, "terminated (kubectl patch)", event, &it.session, Reason::AdminTerminated, AtOnce).await;
    let notices = notices(&mut it).await;
    assert!(
        notices.iter().any(|line| line.contains("terminated by admin: maintenance")),
        "the user reads who and why: {notices:?}"
    );
    vec![scenario.with_notices(notices)]
}

async fn deleted(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "deleted").await;
    let event = Instant::now();
    kubectl(environment, &["delete", "bastionsession", &name(&it), "--wait=false"]).await;
    let scenario = shown(environment, "kubectl delete", event, &it.session, Reason::AdminTerminated, AtOnce).await;
    vec![scenario.with_notices(notices(&mut it).await)]
}

async fn idle(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open_limited(environment, "idles", json!({"idleSeconds": LIMITED.as_secs()})).await;
    let event = Instant::now() + LIMITED;
    it.ssh.say("echo this was the last input").await;
    let scenario =
        shown(environment, "no input for its idle limit", event, &it.session, Reason::IdleTimeout, AtOnce).await;
    vec![warned(scenario, notices(&mut it).await, "this session ends in")]
}

async fn overdue(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open_limited(environment, "overstays", json!({"maxSeconds": LIMITED.as_secs()})).await;
    let event = at_age(&it.session, LIMITED);
    let scenario =
        shown(environment, "its longest duration is over", event, &it.session, Reason::MaxDuration, AtOnce).await;
    vec![warned(scenario, notices(&mut it).await, "this session ends in")]
}

/// A session on a target with these limits.
async fn open_limited(environment: &Environment, user: &str, limits: serde_json::Value) -> Open {
    let target = format!("{user}-here");
    environment.target(&target, json!({"limits": limits})).await;
    let ssh = at_a_terminal(ssh_to(environment, &environment.gateways[1], user, &target).await);
    answering(environment, ssh, user).await
}

async fn kubectl(environment: &Environment, arguments: &[&str]) {
    let kubectl = environment.namespace.kubectl(arguments).await;
    assert_eq!(kubectl.code, Some(0), "{kubectl:?}");
}
