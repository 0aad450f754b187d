//! The scenes: an event, and how long it takes until the watch shows what came of it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase, Reason};
use futures::FutureExt;
use futures::future::join_all;
use kube::ResourceExt;
use nix::sys::signal::Signal;

use crate::harness::bastion::Open;
use crate::harness::{Gateway, PATIENCE};
use crate::report::Scene;
use crate::stage::{AT_ONCE, LOST_GATEWAY, Stage};

/// Plays them all. One that fails does not keep the others from being played.
pub async fn play(stage: &Stage) -> Vec<Scene> {
    let plays = [
        ("a user types exit", exit(stage).boxed_local()),
        ("an ssh client is killed with -9", client_killed(stage).boxed_local()),
        ("one of two sessions ends", one_of_two(stage).boxed_local()),
        ("an administrator terminates a session", terminated(stage).boxed_local()),
        (
            "a gateway with 20 sessions is killed with -9; it is given up after 20 s",
            gateway_killed(stage).boxed_local(),
        ),
    ];
    let mut scenes = Vec::new();
    for (name, play) in plays {
        stage.progress(name);
        let played = AssertUnwindSafe(play).catch_unwind().await;
        scenes.extend(played.unwrap_or_else(|_| vec![Scene::failed(name)]));
    }
    scenes
}

/// Opens a shell of alice on web-1, and waits until it answers.
async fn open(stage: &Stage, gateway: &Gateway) -> Open {
    let mut ssh = gateway.ssh("alice:web-1").await.no_terminal().start().await;
    ssh.say("echo rea$((0))dy").await;
    ssh.shows("rea0dy").await;
    Open { session: stage.watch.started("alice").await, ssh }
}

/// The time from the event until the watch showed this end.
async fn shown(stage: &Stage, event: Instant, session: &BastionSession, reason: Reason) -> Duration {
    let sighting = stage.watch.ended_within(PATIENCE + LOST_GATEWAY, session, reason).await;
    sighting.at.duration_since(event)
}

async fn exit(stage: &Stage) -> Vec<Scene> {
    let Open { mut ssh, session } = open(stage, &stage.gateways[0]).await;
    let event = Instant::now();
    ssh.say("exit").await;
    let took = shown(stage, event, &session, Reason::UserExit).await;
    ssh.finish(PATIENCE).await;
    vec![Scene::ended("exit", Reason::UserExit, took, AT_ONCE)]
}

async fn client_killed(stage: &Stage) -> Vec<Scene> {
    let Open { ssh, session } = open(stage, &stage.gateways[0]).await;
    let event = Instant::now();
    ssh.signal(Signal::SIGKILL);
    let took = shown(stage, event, &session, Reason::ClientDisconnected).await;
    vec![Scene::ended("ssh client killed with -9", Reason::ClientDisconnected, took, AT_ONCE)]
}

async fn one_of_two(stage: &Stage) -> Vec<Scene> {
    let mut first = open(stage, &stage.gateways[0]).await;
    let mut second = open(stage, &stage.gateways[0]).await;
    let event = Instant::now();
    first.ssh.say("exit").await;
    let took = shown(stage, event, &first.session, Reason::UserExit).await;
    let stays = stays(stage, "  the other of the two", &mut second).await;
    second.ssh.say("exit").await;
    shown(stage, event, &second.session, Reason::UserExit).await;
    vec![Scene::ended("one of two sessions exits", Reason::UserExit, took, AT_ONCE), stays]
}

/// Checks that a session is still shown as Active, and that it is.
async fn stays(stage: &Stage, name: &str, open: &mut Open) -> Scene {
    open.still_answers().await;
    assert_eq!(stage.watch.phase(&open.session), Phase::Active);
    Scene::stayed(name)
}

async fn terminated(stage: &Stage) -> Vec<Scene> {
    let Open { mut ssh, session } = open(stage, &stage.gateways[0]).await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}}"#;
    let name = session.name_any();
    let event = Instant::now();
    let kubectl = stage.namespace.kubectl(&["patch", "bastionsession", &name, "--type=merge", "-p", patch]).await;
    assert_eq!(kubectl.code, Some(0), "{kubectl:?}");
    let took = shown(stage, event, &session, Reason::AdminTerminated).await;
    let outcome = ssh.finish(PATIENCE).await;
    assert!(outcome.stderr.contains("terminated by admin: maintenance"), "the user reads who and why: {outcome:?}");
    vec![Scene::ended("kubectl patch of spec.termination", Reason::AdminTerminated, took, AT_ONCE)]
}

async fn gateway_killed(stage: &Stage) -> Vec<Scene> {
    let mut elsewhere = open(stage, &stage.gateways[1]).await;
    let lost = join_all((0..20).map(|_| open(stage, &stage.gateways[0]))).await;
    let event = Instant::now();
    stage.gateways[0].process.signal(Signal::SIGKILL);
    let took = join_all(lost.iter().map(|it| shown(stage, event, &it.session, Reason::GatewayLost))).await;
    let scene = |name: &str, took| Scene::ended(name, Reason::GatewayLost, took, LOST_GATEWAY);
    let fastest = scene("gateway killed with -9: the first of its 20", took.iter().min().copied().unwrap_or_default());
    let slowest = scene("  the last of its 20", took.iter().max().copied().unwrap_or_default());
    let stays = stays(stage, "  a session on the other gateway", &mut elsewhere).await;
    elsewhere.ssh.say("exit").await;
    shown(stage, event, &elsewhere.session, Reason::UserExit).await;
    vec![fastest, slowest, stays]
}
