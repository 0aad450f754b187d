//! Observing a live session: what an observer sees, the notice to its user, and the refusals.

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, Reason};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use bastion_e2e::console_token::TERMINALS;
use bastion_e2e::http::get_as_a_console;
use bastion_e2e::{
    Bastion, Console, ConsoleApi, ObserverClient, Process, Setting, default_timeout, eventually, metric_becomes, weight,
};

/// A bastion with a console.
async fn with_console() -> (Bastion, Console) {
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    (bastion, console)
}

/// A session of alice's at a terminal, which shows some words.
pub async fn at_a_terminal(bastion: &Bastion) -> (Process, BastionSession) {
    let mut ssh = bastion.ssh("alice:web-1").await.terminal().start().await;
    ssh.say("echo be''fore").await;
    ssh.shows("before").await;
    (ssh, bastion.watch.started("alice").await)
}

/// Asserts that observing a session is refused with this status and these words.
async fn refused(console: &Console, session: &str, token: &str, status: StatusCode, words: &str) {
    let answer = ObserverClient::try_open(console, session, token).await.err();
    let (found, body) = answer.unwrap_or_else(|| panic!("{words}: it is open"));
    assert!(found == status && body.contains(words), "{found} {body:?} should say {status} {words:?}");
}

#[tokio::test]
async fn an_observer_sees_what_the_user_sees_and_the_user_knows() {
    let (bastion, console) = with_console().await;
    let (mut ssh, session) = at_a_terminal(&bastion).await;
    let (observer, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    let name = session.name_any();
    let mut client = ObserverClient::open(&console, &name, &token).await;
    let about =
        json!({"type": "following", "session": name, "user": "alice", "target": "web-1", "login": session.spec.login});
    assert_eq!(client.wait_for("following").await, about);
    let terminal = client.wait_for("terminal").await;
    assert_eq!(terminal["number"], 1);
    client.sees("before").await;
    ssh.finds("that an observer watches", |it| it.stderr().contains(&format!("{observer} is watching")).then_some(()))
        .await;
    ssh.say("echo mean''while").await;
    client.sees("meanwhile").await;
    client.pings().await;
    let mut second = ObserverClient::open(&console, &name, &token).await;
    second.sees("meanwhile").await;
    drop(second);
    ssh.finds("that they have left", |it| {
        it.stderr().contains(&format!("{observer} is no longer watching")).then_some(())
    })
    .await;

    ssh.say("exit 4").await;
    let end = client.wait_for("end").await;
    assert_eq!((&end["status"], &end["reason"]), (&json!("closed"), &json!("UserExit")));
    assert!(end["message"].as_str().expect("a message").contains('4'), "{end}");
    assert_eq!(client.closed().await.map(|close| u16::from(close.code)), Some(1000));
    bastion.watch.ended(&session, Reason::UserExit).await;
    metric_becomes(bastion.gateway.http, "bastion_followers", |open| open == 0.0).await;
    let lines: Vec<Value> =
        bastion.gateway.process.stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for result in ["started", "ended"] {
        let told = |line: &Value| {
            let fields = &line["fields"];
            fields["operation"] == "followed" && fields["who"] == json!(observer) && fields["result"] == result
        };
        assert!(lines.iter().any(told), "{result} is in the audit log");
    }
    eventually(default_timeout(), "the observer stands among its Events", async || {
        let events = bastion.namespace.events_of(&name).await;
        let told = events.iter().any(|(reason, note)| reason == "Followed" && note.contains(&observer));
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    refused(&console, &name, &token, StatusCode::CONFLICT, "has ended already").await;
}

#[tokio::test]
async fn who_follows_sees_the_terminals_come_and_go_and_their_sizes() {
    let (bastion, console) = with_console().await;
    let mut ssh = bastion.ssh("alice:web-1").await.terminal().start_in_terminal(30, 100).await;
    ssh.say("echo be''fore").await;
    ssh.shows("before").await;
    let session = bastion.watch.started("alice").await;
    let (_, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    let mut client = ObserverClient::open(&console, &session.name_any(), &token).await;
    let terminal = client.wait_for("terminal").await;
    assert_eq!((&terminal["cols"], &terminal["rows"]), (&json!(100), &json!(30)));
    ssh.say("exit").await;
    assert_eq!(client.wait_for("terminal_end").await["number"], terminal["number"]);
    client.wait_for("end").await;
}

#[tokio::test]
async fn who_follows_types_nothing() {
    let (bastion, console) = with_console().await;
    let (mut ssh, session) = at_a_terminal(&bastion).await;
    let (_, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    for message in [Message::binary(b"\0\0\0\x01echo intruder\r".as_slice()), Message::text("echo intruder\r")] {
        let mut client = ObserverClient::open(&console, &session.name_any(), &token).await;
        client.sees("before").await;
        client.says(message).await;
        let close = client.closed().await.expect("a close frame");
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "an observed session takes no input"));
    }
    ssh.say("echo af''ter").await;
    ssh.shows("after").await;
    assert!(!ssh.stdout().contains("intruder"), "{}", ssh.stdout());
}

#[tokio::test]
async fn an_observer_that_cannot_keep_up_is_told_so_and_delays_no_session() {
    let _held = weight::take(1).await;
    let (bastion, console) = with_console().await;
    let (mut ssh, session) = at_a_terminal(&bastion).await;
    let (_, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    let mut client = ObserverClient::open(&console, &session.name_any(), &token).await;
    client.sees("before").await;
    // More than all buffers between them hold, while nothing is read.
    ssh.say("head -c 60000000 /dev/zero | tr '\\0' Z; echo al''l").await;
    ssh.shows("all").await;
    client.wait_for("skipped").await;
    client.sees("all").await;
    let shown = client.screens().len();
    assert!(shown < 60_000_000, "{shown} bytes were shown");
}

#[tokio::test]
async fn who_may_not_observe_does_not_and_a_right_that_is_withdrawn_ends_it() {
    let (bastion, console) = with_console().await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let name = session.name_any();
    let (_, viewer) =
        bastion.namespace.service_account_with_roles("viewer", &["bastion-viewer", "bastion-session-terminator"]).await;
    refused(&console, &name, &viewer, StatusCode::FORBIDDEN, "may not get bastionsessions/observe").await;
    let (observer, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    refused(&console, "nobody-web-1-x", &token, StatusCode::NOT_FOUND, "there is no session").await;
    refused(&console, "..%2f..", &token, StatusCode::NOT_FOUND, "there is no session").await;
    refused(&console, &name, "made-up", StatusCode::UNAUTHORIZED, "does not know").await;
    let plain = ConsoleApi::new(&console, Some(&token)).await.get(&format!("/api/v1/sessions/{name}/follow")).await;
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED, "{plain:?}");
    let setting = Setting { env: vec![("POD_NAME", "nowhere".into())], ..Setting::default() };
    let blind = Console::start_in(&bastion.namespace, "console-1", &setting).await;
    refused(&blind, &name, &token, StatusCode::BAD_GATEWAY, "issues no token").await;

    let mut client = ObserverClient::open(&console, &name, &token).await;
    client.sees("before").await;
    let bindings = bastion.namespace.api::<RoleBinding>();
    for binding in bindings.list(&ListParams::default()).await.expect("they can be listed") {
        if binding.subjects.iter().flatten().any(|subject| observer.ends_with(&subject.name)) {
            bindings.delete(&binding.name_any(), &DeleteParams::default()).await.expect("it may");
        }
    }
    let close = client.closed().await.expect("a close frame");
    assert!(u16::from(close.code) == 1008 && close.reason.contains("may not get"), "{close:?}");
}

#[tokio::test]
async fn a_gateway_shows_sessions_to_consoles_alone_and_for_people_who_may() {
    let (bastion, _console) = with_console().await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let name = session.name_any();
    let (observer, _) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    let (may, somebody) = (json!({"username": observer}), json!({"username": "somebody"}));
    let of = async |account: &str, person: &Value| {
        bastion.namespace.console_token(account, TERMINALS, &bastion.gateway.pod, person).await
    };
    let good = of("bastion-console", &may).await;
    for (token, person, status, words) in [
        (String::new(), Some(may.clone()), StatusCode::UNAUTHORIZED, "there is no token"),
        ("made-up".to_owned(), Some(may.clone()), StatusCode::UNAUTHORIZED, "does not know"),
        // One that is good for the API server is good for nothing here, and nor is anybody else's.
        (
            bastion.namespace.token("bastion-console", "https://kubernetes.default.svc").await,
            Some(may.clone()),
            StatusCode::UNAUTHORIZED,
            "does not know",
        ),
        (of("bastion-controller", &may).await, Some(may.clone()), StatusCode::UNAUTHORIZED, "only consoles may"),
        (good.clone(), None, StatusCode::BAD_REQUEST, "does not name the user"),
        (of("bastion-console", &somebody).await, Some(somebody), StatusCode::FORBIDDEN, "may not get"),
        (good.clone(), Some(may), StatusCode::UPGRADE_REQUIRED, "WebSocket"),
    ] {
        let (found, body) =
            get_as_a_console(bastion.gateway.follow, &format!("/follow/v1/sessions/{name}"), &token, person).await;
        assert!(found == status && body.contains(words), "{found} {body:?} should say {status} {words:?}");
    }
}

#[tokio::test]
async fn a_console_shows_its_token_to_the_sessions_own_gateway_alone() {
    let (bastion, console) = with_console().await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let (_, token) = bastion.namespace.service_account_with_roles("observer", &["bastion-observer"]).await;
    let leases = bastion.namespace.api::<Lease>();
    let instance = &session.spec.gateway.instance;
    let another = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"bastion.dev/follow-certificate": another}}}));
    leases.patch(instance, &PatchParams::default(), &patch).await.expect("an administrator may");
    refused(&console, &session.name_any(), &token, StatusCode::BAD_GATEWAY, "cannot be reached").await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"bastion.dev/follow-certificate": null}}}));
    leases.patch(instance, &PatchParams::default(), &patch).await.expect("an administrator may");
    refused(&console, &session.name_any(), &token, StatusCode::BAD_GATEWAY, "does not say where").await;
}
