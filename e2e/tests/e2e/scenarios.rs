//! How sessions end: what happens, and what the watch shows of it at once.

use std::time::Instant;

use bastion_operator::api::{Phase, Reason};
use futures::future::join_all;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::http::get;
use bastion_e2e::refusal::assert_let_through;
use bastion_e2e::{Bastion, Gateway, Namespace, Open, PROMPT_BOUND, Sshd, default_timeout, eventually};

#[tokio::test]
async fn exit_closes_the_session_with_its_exit_code() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    ssh.say("exit 3").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3));
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(3));
}

#[tokio::test]
async fn a_session_says_whose_it_is_and_where_it_goes() {
    let bastion = Bastion::up().await;
    let Open { ssh: _ssh, session } = bastion.open("alice").await;
    let spec = &session.spec;
    assert_eq!((spec.user.name.as_str(), spec.user.subject.as_str()), ("alice", "bastion:alice"));
    assert_eq!((spec.target.as_str(), spec.login.as_str()), ("web-1", bastion.sshd.login.as_str()));
    assert_eq!((spec.client.address.as_str(), spec.gateway.name.as_str()), ("127.0.0.1", "gateway-0"));
    let software = spec.client.software.clone().unwrap_or_default();
    assert!(software.starts_with("SSH-2.0-OpenSSH"), "the client is {software:?}");
    let name = session.name_any();
    assert!(name.starts_with("alice-web-1-"), "the session's name is {name:?}");
}

#[tokio::test]
async fn a_killed_client_closes_the_session_as_disconnected() {
    let bastion = Bastion::up().await;
    let Open { ssh, session } = bastion.open("alice").await;
    ssh.signal(Signal::SIGKILL);
    bastion.watch.ended(&session, Reason::ClientDisconnected).await;
}

#[tokio::test]
async fn the_end_of_one_session_leaves_another_usable() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    alice.ssh.say("exit").await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}

#[tokio::test]
async fn an_administrator_terminates_a_session_and_its_user_reads_who_and_why() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let patch = r#"{"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance at noon"}}}"#;
    let name = session.name_any();
    let kubectl = bastion.namespace.kubectl(&["patch", "bastionsession", &name, "--type=merge", "-p", patch]).await;
    assert_eq!(kubectl.code, Some(0), "{kubectl:?}");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    let outcome = ssh.finish(PROMPT_BOUND).await;
    let told = "bastion: session terminated by admin: maintenance at noon";
    assert!(outcome.stderr.contains(told), "the user read {outcome:?}");
    assert_ne!(outcome.code, Some(0), "a terminated session is no success: {outcome:?}");
}

#[tokio::test]
async fn a_terminated_user_at_a_terminal_reads_who_and_why() {
    let bastion = Bastion::up().await;
    let ssh = bastion.ssh("alice:web-1").await.terminal().start().await;
    let Open { mut ssh, session } = bastion.opened(ssh, "alice").await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    let patched = bastion.namespace.patch_session(&bastion.namespace.admin(), &session.name_any(), termination).await;
    assert_let_through("the termination", patched);
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    let outcome = ssh.finish(PROMPT_BOUND).await;
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(all.contains("bastion: session terminated by admin: maintenance"), "the user read {outcome:?}");
}

#[tokio::test]
async fn a_session_whose_object_is_deleted_is_terminated() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let name = session.name_any();
    let kubectl = bastion.namespace.kubectl(&["delete", "bastionsession", &name, "--wait=false"]).await;
    assert_eq!(kubectl.code, Some(0), "{kubectl:?}");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    assert_ne!(ssh.finish(PROMPT_BOUND).await.code, Some(0));
}

#[tokio::test]
async fn a_user_who_terminates_their_own_session_closes_it() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let alice = session.spec.user.subject.clone();
    bastion
        .namespace
        .allow(&alice, json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]))
        .await;
    let termination = json!({"spec": {"termination": {"requestedBy": alice}}});
    let client = bastion.namespace.as_user(&alice);
    assert_let_through(
        "her own termination",
        bastion.namespace.patch_session(&client, &session.name_any(), termination).await,
    );
    bastion.watch.ended(&session, Reason::ApiClosed).await;
    ssh.finish(PROMPT_BOUND).await;
}

#[tokio::test]
async fn a_target_that_closes_the_connection_ends_the_session() {
    let bastion = Bastion::up().await;
    // Several, because the user's client leaves as soon as it hears of it, and may be faster than the gateway.
    let mut open = join_all((0..10).map(|_| bastion.open("alice"))).await;
    join_all(open.iter_mut().map(|it| it.ssh.say("kill -KILL $PPID"))).await;
    for Open { ssh, session } in &mut open {
        bastion.watch.ended(session, Reason::TargetClosed).await;
        let outcome = ssh.finish(PROMPT_BOUND).await;
        assert!(outcome.stderr.contains("bastion: "), "the user reads that the target is gone: {outcome:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_stopped_leaves_nothing_active() {
    let mut bastion = Bastion::with_users(&["bob", "carol"]).await;
    let open = tokio::join!(bastion.open("alice"), bastion.open("bob"), bastion.open("carol"));
    let start = Instant::now();
    bastion.gateway.process.signal(Signal::SIGTERM);
    for Open { mut ssh, session } in [open.0, open.1, open.2] {
        bastion.watch.ended(&session, Reason::GatewayShutdown).await;
        ssh.finish(PROMPT_BOUND).await;
    }
    let outcome = bastion.gateway.process.finish(PROMPT_BOUND).await;
    assert_eq!(outcome.code, Some(0), "after {:?}", start.elapsed());
}

#[tokio::test]
async fn a_gateway_that_drains_lets_sessions_go_on_and_nobody_in() {
    let bastion = Bastion::with(async |namespace, _| namespace.user("bob").await).await;
    let mut draining = Gateway::start_with(&bastion.namespace, "gateway-1", &["--grace-period", "10m"]).await;
    let mut alice = bastion.open_on(&draining, "alice", "web-1").await;
    draining.process.signal(Signal::SIGTERM);
    eventually(PROMPT_BOUND, "nobody gets in any more", async || {
        let outcome = draining.ssh("bob:web-1").await.command("echo through").run().await;
        if outcome.code == Some(255) && outcome.stdout.is_empty() { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    let (readiness, liveness) = tokio::join!(get(draining.http, "/readyz"), get(draining.http, "/healthz"));
    assert_eq!(
        (readiness.0, liveness.0),
        (503, 200),
        "a Service sends no connection there, and the kubelet does not restart it"
    );
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    alice.ssh.say("exit").await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    assert_eq!(draining.process.finish(PROMPT_BOUND).await.code, Some(0), "it ends when its last session has");
}

#[tokio::test]
async fn two_gateways_that_start_at_once_share_the_host_key() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let other = Gateway::start(&bastion.namespace, "gateway-1").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open_on(&other, "bob", "web-1"));
    assert_eq!(bob.session.spec.gateway.name, "gateway-1");
    alice.ssh.say("exit").await;
    bob.ssh.say("exit").await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    bastion.watch.ended(&bob.session, Reason::UserExit).await;
}

#[tokio::test]
async fn the_first_gateways_of_a_new_bastion_agree_on_a_host_key() {
    let namespace = Namespace::new().await;
    namespace.user("alice").await;
    namespace.target("web-1", &*Sshd::shared().await).await;
    let (one, two) = tokio::join!(Gateway::start(&namespace, "gateway-0"), Gateway::start(&namespace, "gateway-1"));
    for gateway in [one, two] {
        let outcome = gateway.ssh("alice:web-1").await.command("echo through").run().await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_session_can_be_waited_for_with_kubectl() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let name = format!("bastionsession/{}", session.name_any());
    ssh.say("exit").await;
    let waited = bastion.namespace.kubectl(&["wait", "--for=condition=Ended", &name, "--timeout=20s"]).await;
    assert_eq!(waited.code, Some(0), "{waited:?}");
    ssh.finish(default_timeout()).await;
}

#[tokio::test]
async fn events_tell_the_story_of_a_session() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    ssh.say("exit").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    eventually(default_timeout(), "an Event of the start and one of the end", async || {
        let events = bastion.namespace.events_of(&session.name_any()).await;
        let told = |reason: &str| events.iter().any(|(it, note)| it == reason && !note.is_empty());
        if told("Started") && told("UserExit") { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}
