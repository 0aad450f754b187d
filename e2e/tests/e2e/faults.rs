//! Programs that die, an API server that is away, and many sessions at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bastion_operator::api::{ObservedBy, Phase, Reason};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::sshd::free_port;
use bastion_e2e::{
    Bastion, ControlPlane, Controller, Gateway, LOST_GATEWAY, Observation, Open, PROMPT_BOUND, Process,
    default_timeout, eventually, weight,
};

#[tokio::test]
async fn the_sessions_of_a_killed_gateway_are_shown_as_lost_and_no_others() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let other = Gateway::start(&bastion.namespace, "gateway-1").await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let mut bob = bastion.open_on(&other, "bob", "web-1").await;
    let open = join_all((0..20).map(|_| bastion.open("alice"))).await;
    let killed = Instant::now();
    bastion.gateway.process.signal(Signal::SIGKILL);
    for Open { session, .. } in &open {
        let left = LOST_GATEWAY.saturating_sub(killed.elapsed());
        let end = bastion.watch.ended_within(left, session, Reason::GatewayLost).await;
        let status = end.session.status.expect("a status");
        assert_eq!(status.observed_by, Some(ObservedBy::Controller));
    }
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}

#[tokio::test]
async fn a_gateway_whose_container_has_ended_is_given_up_at_once() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let open = bastion.open("alice").await;
    bastion.gateway.process.signal(Signal::SIGKILL);
    bastion.namespace.report_ended_container("gateway-0", open.session.spec.start_time.0).await;
    bastion.watch.ended_within(PROMPT_BOUND, &open.session, Reason::GatewayLost).await;
}

#[tokio::test]
async fn a_gateway_without_a_pod_is_given_up_sooner() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let open = bastion.open("alice").await;
    bastion.gateway.process.signal(Signal::SIGKILL);
    let now = DeleteParams::default().grace_period(0);
    bastion.namespace.api::<Pod>().delete("gateway-0", &now).await.expect("the Pod");
    let within = Duration::from_secs(15);
    bastion.watch.ended_within(within, &open.session, Reason::GatewayLost).await;
}

/// There is no controller: it is the next process in the same Pod that ends them.
#[tokio::test]
async fn a_gateway_that_is_started_again_in_its_pod_ends_what_the_one_before_left_behind() {
    let mut bastion = Bastion::up().await;
    let open = bastion.open("alice").await;
    bastion.gateway.process.signal(Signal::SIGKILL);
    bastion.gateway = Gateway::start(&bastion.namespace, "gateway-0").await;
    let end = bastion.watch.ended_within(PROMPT_BOUND, &open.session, Reason::GatewayLost).await;
    assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Gateway));
    let again = bastion.open("alice").await;
    assert_ne!(again.session.spec.gateway.instance, open.session.spec.gateway.instance);
    assert_eq!(bastion.watch.phase(&again.session), Phase::Active);
}

/// All that the gateway does stands still but its watchdog, which has a thread and connections of its own.
#[tokio::test]
async fn a_gateway_whose_tasks_are_stuck_cuts_its_sessions_off() {
    let bastion = Bastion::up().await;
    let mut open = bastion.open("alice").await;
    bastion.gateway.process.hold_all_threads_but("watchdog").await;
    let end = bastion.watch.ended_within(LOST_GATEWAY, &open.session, Reason::Stale).await;
    let status = end.session.status.expect("a status");
    assert_eq!(status.observed_by, Some(ObservedBy::Gateway));
    assert!(status.message.is_some_and(|message| message.contains("no longer moved")));
    assert_eq!(open.ssh.finish(PROMPT_BOUND).await.code, Some(255));
}

/// A gateway that was frozen finds its sessions ended by others: nothing that a user typed meanwhile may pass.
#[tokio::test]
async fn a_frozen_gateway_that_was_given_up_passes_nothing_when_it_thaws() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let leak = bastion.namespace.dir.join("leak");
    bastion.gateway.process.freeze().await;
    ssh.say(&format!("touch {}", leak.display())).await;
    bastion.watch.ended_within(LOST_GATEWAY + default_timeout(), &session, Reason::GatewayLost).await;
    let mut waiting = join_all((0..10).map(|_| connected(&bastion))).await;
    bastion.gateway.process.thaw();
    let outcome = ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("this gateway was cut off from the cluster"), "the user reads why: {outcome:?}");
    assert!(!leak.exists(), "what was typed while the gateway was frozen reached the target");
    for ssh in &mut waiting {
        let outcome = ssh.finish(default_timeout()).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "in its new life: {outcome:?}");
        let again = bastion.watch.started("alice").await;
        assert_ne!(again.spec.gateway.instance, session.spec.gateway.instance);
    }
}

/// A client that has come as far as the door.
async fn connected(bastion: &Bastion) -> Process {
    let mut ssh = bastion.ssh("alice:web-1").await.option("-v").command("echo through").start().await;
    ssh.close_input();
    let established = |ssh: &Process| ssh.stderr().contains("Connection established").then_some(());
    ssh.finds("a connection", established).await;
    ssh
}

#[tokio::test]
async fn a_session_that_ends_while_the_api_server_is_away_is_written_afterwards_with_its_own_time() {
    let _held = weight::take(1).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let bastion = Bastion::on(control_plane.clone(), async |namespace, _| namespace.user("bob").await).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    control_plane.stop_api();
    alice.ssh.say("exit").await;
    assert_eq!(alice.ssh.finish(PROMPT_BOUND).await.code, Some(0));
    let ended = Timestamp::now();
    eventually(default_timeout(), "three seconds without an API server", async || {
        bob.still_answers().await;
        let away = Timestamp::now().duration_since(ended);
        if away.as_secs() >= 3 { Ok(()) } else { Err(format!("{away:?}")) }
    })
    .await;
    control_plane.start_api().await;
    let end = bastion.watch.ended_within(default_timeout(), &alice.session, Reason::UserExit).await;
    let told = end.session.status.and_then(|status| status.end_time).expect("an endTime").0;
    let late = told.duration_since(ended).as_secs_f64();
    assert!(late < 1.0, "endTime is {late} s after the end, so it is when it was written");
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active, "an outage of the API ends no session");
    let again = bastion.open("alice").await;
    assert_eq!(again.session.spec.gateway.instance, bob.session.spec.gateway.instance, "the gateway is the same");
}

#[tokio::test]
async fn nobody_signs_in_while_the_api_server_does_not_answer() {
    let _held = weight::take(1).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let bastion = Bastion::on(control_plane.clone(), async |_, _| ()).await;
    control_plane.stop_api();
    let outcome = bastion.ssh("alice:web-1").await.command("echo through").run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(255), ""), "{outcome:?}");
}

/// The end of a session, of which there is exactly one in all that the watch saw.
fn only_end(bastion: &Bastion, name: &str) -> Observation {
    let seen = bastion.watch.seen();
    let ends = seen.iter().filter(|it| it.name == name && it.phase.is_final());
    let mut histories: Vec<_> = ends.clone().map(|it| (it.phase, it.reason.clone())).collect();
    histories.dedup();
    assert_eq!(histories.len(), 1, "session {name} ended in more than one way: {histories:?}");
    ends.clone().next().expect("an end").clone()
}

/// Users of which each one's session ends in another way.
const WAYS: [(&str, Reason); 12] = [
    ("exits", Reason::UserExit),
    ("signalled", Reason::UserExit),
    ("killed", Reason::ClientDisconnected),
    ("hung-up", Reason::ClientDisconnected),
    ("terminated", Reason::AdminTerminated),
    ("deleted", Reason::AdminTerminated),
    ("closes", Reason::ApiClosed),
    ("idles", Reason::IdleTimeout),
    ("overstays", Reason::MaxDuration),
    ("cut-off", Reason::TargetClosed),
    ("unreachable", Reason::TargetUnreachable),
    ("shut-down", Reason::GatewayShutdown),
];

#[tokio::test]
async fn twelve_sessions_that_each_end_in_another_way_do_not_disturb_each_other() {
    let bastion = Bastion::with(async |namespace, sshd| {
        join_all(WAYS.map(|(user, _)| namespace.user(user))).await;
        namespace.target_with("idle", sshd, json!({"limits": {"idleSeconds": 3}})).await;
        namespace.target_with("short", sshd, json!({"limits": {"maxSeconds": 4}})).await;
        namespace.target_with("down", sshd, json!({"port": free_port().await})).await;
        let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]);
        namespace.allow("bastion:closes", sessions).await;
    })
    .await;
    let second = Gateway::start(&bastion.namespace, "gateway-1").await;
    let (mut bystander, mut others) = tokio::join!(bastion.open("alice"), open_twelve(&bastion, &second));
    end_twelve(&bastion, &second, &mut others).await;
    for ((user, reason), open) in WAYS.iter().zip(&others) {
        assert_eq!(&open.session.spec.user.name, user);
        bastion.watch.ended_within(default_timeout(), &open.session, *reason).await;
        only_end(&bastion, &open.session.name_any());
    }
    bystander.still_answers().await;
    assert_eq!(bastion.watch.phase(&bystander.session), Phase::Active);
}

async fn open_twelve(bastion: &Bastion, second: &Gateway) -> Vec<Open> {
    join_all(WAYS.map(async |(user, _)| match user {
        "unreachable" => {
            let ssh = bastion.ssh("unreachable:down").await.start().await;
            Open { session: bastion.watch.started(user).await, ssh }
        }
        "hung-up" => {
            let ssh = bastion.ssh("hung-up:web-1").await.terminal().start().await;
            bastion.opened(ssh, user).await
        }
        "idles" => bastion.open_on(&bastion.gateway, user, "idle").await,
        "overstays" => bastion.open_on(&bastion.gateway, user, "short").await,
        "shut-down" => bastion.open_on(second, user, "web-1").await,
        _ => bastion.open(user).await,
    }))
    .await
}

async fn end_twelve(bastion: &Bastion, second: &Gateway, open: &mut [Open]) {
    let namespace = &bastion.namespace;
    let terminate = async |client, by: &str, name: &str| {
        let termination = json!({"spec": {"termination": {"requestedBy": by}}});
        namespace.patch_session(&client, name, termination).await.expect("a termination");
    };
    for Open { ssh, session } in open {
        let name = session.name_any();
        match session.spec.user.name.as_str() {
            "exits" => ssh.say("exit 1").await,
            "signalled" => ssh.say("kill -KILL $$").await,
            "killed" => ssh.signal(Signal::SIGKILL),
            "hung-up" => ssh.say("\n~.").await,
            "terminated" => terminate(namespace.admin(), "admin", &name).await,
            "closes" => terminate(namespace.as_user("bastion:closes"), "bastion:closes", &name).await,
            "deleted" => {
                let outcome = namespace.kubectl(&["delete", "bastionsession", &name, "--wait=false"]).await;
                assert_eq!(outcome.code, Some(0), "{outcome:?}");
            }
            "cut-off" => ssh.say("kill -KILL $PPID").await,
            "shut-down" => second.process.signal(Signal::SIGTERM),
            _ => (),
        }
    }
}
