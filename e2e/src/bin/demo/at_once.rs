//! Ends that a gateway sees itself, and shows at once.

use std::time::Instant;

use bastion_operator::api::{BastionSession, Reason};
use futures::FutureExt;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::report::Promise::AtOnce;
use crate::report::Scene;
use crate::scenes::{Play, answering, at_a_terminal, at_age, leave, name, open, shown, ssh_to, stays, told, warned};
use crate::stage::{LIMITED, Stage};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Open, TerminalPage, browser};

/// The scenes, in the order of the table in the design.
pub fn scenes(stage: &Stage) -> Vec<Play<'_>> {
    vec![
        ("a user types exit", exit(stage).boxed_local()),
        ("an ssh client is killed with -9", client_killed(stage).boxed_local()),
        ("a browser tab with a shell is closed", tab_closed(stage).boxed_local()),
        ("one of two sessions ends", one_of_two(stage).boxed_local()),
        ("a user closes a session of their own with kubectl", closed(stage).boxed_local()),
        ("a target closes the connection", target_closed(stage).boxed_local()),
        ("a target cannot be reached", unreachable(stage).boxed_local()),
        ("an administrator terminates a session", terminated(stage).boxed_local()),
        ("an administrator deletes a session", deleted(stage).boxed_local()),
        ("a user types nothing for idleSeconds, here 4", idle(stage).boxed_local()),
        ("a session lasts for maxSeconds, here 4", overdue(stage).boxed_local()),
    ]
}

async fn exit(stage: &Stage) -> Vec<Scene> {
    let mut it = open(stage, "exits").await;
    let event = Instant::now();
    it.ssh.say("exit").await;
    vec![shown(stage, "exit", event, &it.session, Reason::UserExit, AtOnce).await]
}

async fn client_killed(stage: &Stage) -> Vec<Scene> {
    let it = open(stage, "killed").await;
    let event = Instant::now();
    it.ssh.signal(Signal::SIGKILL);
    vec![shown(stage, "ssh client killed with -9", event, &it.session, Reason::ClientDisconnected, AtOnce).await]
}

/// In Chromium, or where there is none over a WebSocket that ends as one of a closed tab does.
async fn tab_closed(stage: &Stage) -> Vec<Scene> {
    if !browser::Scene::has_browser() {
        stage.progress("  (there is no Chromium here: a WebSocket says what a tab says that is closed)");
        let token = ("authorization", format!("Bearer {}", stage.token));
        let mut page = TerminalPage::open(stage.gateways[1].web, "target=web-1", &[token]).await;
        page.types("echo rea$((0))dy").await;
        page.shows("rea0dy").await;
        let session = stage.watch.started("you").await;
        let event = Instant::now();
        page.close_tab().await;
        return vec![shown(stage, "a page's WebSocket closed", event, &session, Reason::TabClosed, AtOnce).await];
    }
    let mut tab = browser::Scene::start("tab", &stage.namespace, &stage.console, &stage.token).await;
    assert_eq!(tab.next().await, "close");
    let session = stage.watch.started("you").await;
    let event = Instant::now();
    tab.answer("").await;
    let scene = shown(stage, "browser tab with a shell closed", event, &session, Reason::TabClosed, AtOnce).await;
    tab.finish().await;
    vec![scene]
}

async fn one_of_two(stage: &Stage) -> Vec<Scene> {
    let (mut first, mut second) = (open(stage, "one").await, open(stage, "the-other").await);
    let event = Instant::now();
    first.ssh.say("exit").await;
    let ends = shown(stage, "one of two sessions exits", event, &first.session, Reason::UserExit, AtOnce).await;
    let stays = stays(stage, "  the other of the two", &mut second).await;
    leave(second).await;
    vec![ends, stays]
}

async fn closed(stage: &Stage) -> Vec<Scene> {
    let mut it = open(stage, "closes").await;
    let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch", "get"]}]);
    stage.namespace.allow("bastion:closes", sessions).await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "bastion:closes"}}}"#;
    let event = Instant::now();
    kubectl(stage, &["--as", "bastion:closes", "patch", "bastionsession", &name(&it), "--type=merge", "-p", patch])
        .await;
    let scene = shown(stage, "closed by its own user (kubectl patch)", event, &it.session, Reason::ApiClosed, AtOnce);
    vec![scene.await.told(told(&mut it).await)]
}

async fn target_closed(stage: &Stage) -> Vec<Scene> {
    let mut it = open(stage, "cut-off").await;
    let event = Instant::now();
    it.ssh.say("kill -KILL $PPID").await;
    let scene = shown(stage, "the target's sshd dies", event, &it.session, Reason::TargetClosed, AtOnce).await;
    vec![scene.told(told(&mut it).await)]
}

async fn unreachable(stage: &Stage) -> Vec<Scene> {
    stage.target("down", json!({"port": free_port().await})).await;
    let ssh = ssh_to(stage, &stage.gateways[1], "knocks", "down").await.start().await;
    let event = Instant::now();
    let session: BastionSession = stage.watch.started("knocks").await;
    let scene = shown(stage, "the target refuses connections", event, &session, Reason::TargetUnreachable, AtOnce);
    let scene = scene.await;
    vec![scene.told(told(&mut Open { ssh, session }).await)]
}

async fn terminated(stage: &Stage) -> Vec<Scene> {
    let mut it = open(stage, "terminated").await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}}"#;
    let event = Instant::now();
    kubectl(stage, &["patch", "bastionsession", &name(&it), "--type=merge", "-p", patch]).await;
    let scene = shown(stage, "terminated (kubectl patch)", event, &it.session, Reason::AdminTerminated, AtOnce).await;
    let told = told(&mut it).await;
    assert!(
        told.iter().any(|line| line.contains("terminated by admin: maintenance")),
        "the user reads who and why: {told:?}"
    );
    vec![scene.told(told)]
}

async fn deleted(stage: &Stage) -> Vec<Scene> {
    let mut it = open(stage, "deleted").await;
    let event = Instant::now();
    kubectl(stage, &["delete", "bastionsession", &name(&it), "--wait=false"]).await;
    let scene = shown(stage, "kubectl delete", event, &it.session, Reason::AdminTerminated, AtOnce).await;
    vec![scene.told(told(&mut it).await)]
}

async fn idle(stage: &Stage) -> Vec<Scene> {
    let mut it = open_limited(stage, "idles", json!({"idleSeconds": LIMITED.as_secs()})).await;
    let event = Instant::now() + LIMITED;
    it.ssh.say("echo this was the last input").await;
    let scene = shown(stage, "no input for its idle limit", event, &it.session, Reason::IdleTimeout, AtOnce).await;
    vec![warned(scene, told(&mut it).await, "this session ends in")]
}

async fn overdue(stage: &Stage) -> Vec<Scene> {
    let mut it = open_limited(stage, "overstays", json!({"maxSeconds": LIMITED.as_secs()})).await;
    let event = at_age(&it.session, LIMITED);
    let scene = shown(stage, "its longest duration is over", event, &it.session, Reason::MaxDuration, AtOnce).await;
    vec![warned(scene, told(&mut it).await, "this session ends in")]
}

/// A session on a target with these limits.
async fn open_limited(stage: &Stage, user: &str, limits: serde_json::Value) -> Open {
    let target = format!("{user}-here");
    stage.target(&target, json!({"limits": limits})).await;
    let ssh = at_a_terminal(ssh_to(stage, &stage.gateways[1], user, &target).await);
    answering(stage, ssh, user).await
}

async fn kubectl(stage: &Stage, arguments: &[&str]) {
    let kubectl = stage.namespace.kubectl(arguments).await;
    assert_eq!(kubectl.code, Some(0), "{kubectl:?}");
}
