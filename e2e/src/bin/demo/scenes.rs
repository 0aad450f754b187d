//! The scenes: an event, and how long it takes until the watch shows what came of it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase, Reason};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::report::{Promise, Scene};
use crate::stage::{LOST_GATEWAY, Stage};
use crate::{at_once, in_time};
use bastion_e2e::bastion::Open;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::sshd::gives_terminals;
use bastion_e2e::{Gateway, patience};

/// A scene: its name, and what happens in it.
pub type Play<'a> = (&'static str, LocalBoxFuture<'a, Vec<Scene>>);

/// Plays them all: those whose end is seen at once one after the other, and then those that wait, together.
pub async fn play(stage: &Stage) -> Vec<Scene> {
    let mut scenes = Vec::new();
    for scene in at_once::scenes(stage) {
        scenes.extend(perform(stage, scene).await);
    }
    stage.progress("and now, all at the same time, what takes its time, up to a minute:");
    let together = in_time::scenes(stage).into_iter().map(|scene| perform(stage, scene));
    scenes.extend(join_all(together).await.into_iter().flatten());
    scenes
}

/// Plays one. If it fails, that keeps no other from being played.
async fn perform(stage: &Stage, (name, play): Play<'_>) -> Vec<Scene> {
    stage.progress(name);
    let played = AssertUnwindSafe(play).catch_unwind().await;
    played.unwrap_or_else(|_| vec![Scene::failed(name)])
}

/// An `ssh` of a new user, who is in alice's group, to web-1.
pub async fn ssh(stage: &Stage, gateway: &Gateway, user: &str) -> Ssh {
    ssh_to(stage, gateway, user, "web-1").await
}

/// The same, to another target.
pub async fn ssh_to(stage: &Stage, gateway: &Gateway, user: &str, target: &str) -> Ssh {
    stage.namespace.user_with(user, json!({"groups": ["web-team"]})).await;
    gateway.ssh(&format!("{user}:{target}")).await
}

/// Opens a shell of a new user on web-1, through the gateway that stays, and waits until it answers.
pub async fn open(stage: &Stage, user: &str) -> Open {
    answering(stage, ssh(stage, &stage.gateways[1], user).await.no_terminal(), user).await
}

/// Starts an `ssh` that opens a shell, and waits until that answers.
pub async fn answering(stage: &Stage, ssh: Ssh, user: &str) -> Open {
    let mut ssh = ssh.start().await;
    ssh.say("echo rea$((0))dy").await;
    ssh.shows("rea0dy").await;
    Open { session: stage.watch.started(user).await, ssh }
}

/// With a terminal, where warnings are shown, if there is one to be had.
pub fn at_a_terminal(ssh: Ssh) -> Ssh {
    if gives_terminals() { ssh.terminal() } else { ssh.no_terminal() }
}

/// The scene with what its user was told, the warning among it, which a user at a terminal reads.
pub fn warned(scene: Scene, told: Vec<String>, warning: &str) -> Scene {
    let read = told.iter().any(|line| line.contains(warning));
    assert!(read || !gives_terminals(), "the user is warned: {told:?}");
    scene.told(told)
}

/// The scene of a session that ends, with the time from the event until the watch showed it.
pub async fn shown(
    stage: &Stage,
    name: &str,
    event: Instant,
    session: &BastionSession,
    reason: Reason,
    promise: Promise,
) -> Scene {
    let sighting = stage.watch.ended_within(patience() + LOST_GATEWAY, session, reason).await;
    Scene::ended(name, reason, sighting.at.saturating_duration_since(event), promise)
}

/// The scene of a session that is still shown as Active, and is.
pub async fn stays(stage: &Stage, name: &str, open: &mut Open) -> Scene {
    open.still_answers().await;
    assert_eq!(stage.watch.phase(&open.session), Phase::Active);
    Scene::stayed(name)
}

/// Ends a session that has played its part.
pub async fn leave(mut open: Open) {
    open.ssh.say("exit").await;
    open.ssh.finish(patience()).await;
}

/// What the bastion told the user, once the `ssh` has ended.
pub async fn told(open: &mut Open) -> Vec<String> {
    let outcome = open.ssh.finish(patience()).await;
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
