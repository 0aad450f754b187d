//! Objects that a program cannot read, as an older or a newer schema may have accepted them: all others are served. And
//! objects with text that would control a terminal: no terminal obeys it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bastion_operator::api::Reason;
use kube::ResourceExt;
use kube::api::DynamicObject;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use bastion_e2e::control_plane::service_account_user;
use bastion_e2e::manifests::{api_of, apply, in_repository};
use bastion_e2e::objects::{bastion_session, bastion_target, bastion_user, ended_status};
use bastion_e2e::refusal::{assert_let_through, assert_refused};
use bastion_e2e::websocket::bearer;
use bastion_e2e::{
    Audit, Bastion, Console, ConsoleApi, ControlPlane, Controller, FeedPage, Gateway, Namespace, PROMPT_BOUND,
    default_timeout, eventually, metric, metric_becomes, weight,
};

/// A time that the format `date-time` accepts, and that no program can read.
const NO_TIME: &str = "2099-01-01T00:00:00.000000+99:00";

/// Sets the clipboard (OSC 52), and clears the screen, by `ESC [` and by its one-character form U+009B.
const EVIL: &str = "bye \u{1b}]52;c;cm0gLXJmIC8=\u{7}\u{1b}[2J\u{9b}2J\naudit: forged";

fn unreadable(kind: &str) -> String {
    format!("bastion_objects_unreadable_total{{kind=\"{kind}\"}}")
}

/// Waits until a program has counted its one unreadable object of a kind, which it counts once, however often it reads it.
async fn counted_once(http: SocketAddr, kind: &str) {
    metric_becomes(http, &unreadable(kind), |count| count > 0.0).await;
    assert_eq!(metric(http, &unreadable(kind)).await, Some(1.0));
}

/// Adds a session that cannot be decoded, as the gateway of this Pod.
async fn add_unreadable_session(namespace: &Namespace, pod: &str, spec: (&str, &str)) {
    let client = namespace.account("bastion-gateway", pod).await.client;
    let mut session = bastion_session("bad", pod);
    session["spec"][spec.0] = json!(spec.1);
    assert_let_through("a session without a rule", namespace.create_as(&client, session).await);
}

/// Waits for the Event that says why an object cannot be read.
async fn assert_reported(namespace: &Namespace, name: &str, words: &str) {
    eventually(default_timeout(), &format!("an Event about {name}"), async || {
        let events = namespace.events_of(name).await;
        let fits = |(reason, note): &(String, String)| reason == "Unreadable" && note.contains(words);
        if events.iter().any(fits) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

/// Waits until the condition `Valid` of a user or target has this status and a message with these words.
async fn assert_valid(namespace: &Namespace, object: Value, status: &str, words: &str) {
    let what = format!("Valid={status} of {}", object["metadata"]["name"]);
    eventually(default_timeout(), &what, async || {
        let stored = raw_object(namespace, object.clone()).await;
        let condition = &stored.data["status"]["conditions"][0];
        let message = condition["message"].as_str().unwrap_or_default();
        let current = condition["observedGeneration"] == json!(stored.metadata.generation);
        let fits = condition["type"] == "Valid" && condition["status"] == status && message.contains(words) && current;
        if fits { Ok(()) } else { Err(stored.data.to_string()) }
    })
    .await;
}

/// Returns a session as the API server stores it, without reading it as a BastionSession.
async fn raw(namespace: &Namespace, name: &str) -> DynamicObject {
    raw_object(namespace, bastion_session(name, "any")).await
}

/// Returns an object as the API server stores it, by its kind and name.
async fn raw_object(namespace: &Namespace, mut object: Value) -> DynamicObject {
    object["metadata"]["namespace"] = json!(namespace.name);
    let (api, name) = api_of(&namespace.admin(), &object);
    api.get(&name).await.expect("the object")
}

#[tokio::test]
async fn a_gateway_becomes_ready_beside_what_it_cannot_read_and_lets_everybody_else_in() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |namespace, _| {
        namespace.user_with("mallory", json!({"expires": NO_TIME})).await;
        let mut target = bastion_target("web-9");
        target["spec"]["recording"] = json!("Sometimes");
        namespace.add(target).await;
        add_unreadable_session(namespace, "gateway-0", ("startTime", NO_TIME)).await;
    })
    .await;
    let namespace = &bastion.namespace;
    let (mut ssh, gateway) = (bastion.ssh("alice:web-1").await.no_terminal().start().await, &bastion.gateway);
    ssh.say("echo $((40 + 2))").await;
    ssh.shows("42").await;
    for (kind, name, words) in [
        ("BastionUser", "mallory", "spec.expires: "),
        ("BastionTarget", "web-9", "spec.recording: unknown variant `Sometimes`"),
    ] {
        counted_once(gateway.http, kind).await;
        assert_reported(namespace, name, words).await;
    }
    let outcome = bastion.ssh("mallory:web-1").await.command("true").run().await;
    assert_ne!(outcome.code, Some(0), "a user that cannot be decoded cannot sign in");
    assert_valid(namespace, bastion_target("web-9"), "False", "spec.recording: unknown variant `Sometimes`").await;
    assert_valid(namespace, bastion_user("mallory"), "False", "spec.expires: ").await;
    namespace.user_with("mallory", json!({"groups": ["people"], "expires": "2099-01-01T00:00:00Z"})).await;
    assert_valid(namespace, bastion_user("mallory"), "True", "").await;
    let outcome = bastion.ssh("mallory:web-1").await.command("true").run().await;
    assert_eq!(outcome.code, Some(0), "a corrected user can sign in: {outcome:?}");
    let alice = raw_object(namespace, bastion_user("alice")).await;
    assert!(alice.data["status"].is_null(), "an object that can be read has no condition: {}", alice.data);
}

#[tokio::test]
async fn a_user_who_becomes_unreadable_is_out() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |_, _| ()).await;
    let alice = bastion.open("alice").await;
    bastion.namespace.user_with("alice", json!({"groups": ["people"], "expires": NO_TIME})).await;
    bastion.watch.ended(&alice.session, Reason::AccessRevoked).await;
    let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
    assert_ne!(outcome.code, Some(0), "it was let in: {outcome:?}");
}

/// As after a roll-back: a newer gateway of the same Pod has written a value that this one does not know.
#[tokio::test]
async fn a_session_that_becomes_unreadable_goes_on_and_its_end_is_written() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |_, _| ()).await;
    let (mut alice, namespace) = (bastion.open("alice").await, &bastion.namespace);
    let name = alice.session.name_any();
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    let patch = json!({"status": {"phase": "Active", "observedBy": "Telepathy"}});
    // The answer cannot be read here either.
    let answer = namespace.patch_status(&gateway, &name, patch).await;
    assert_refused("an answer that can be read", answer, "Telepathy");
    assert_reported(namespace, &name, "status.observedBy: unknown variant `Telepathy`").await;
    counted_once(bastion.gateway.http, "BastionSession").await;
    alice.still_answers().await;
    alice.ssh.say("exit").await;
    alice.ssh.finish(default_timeout()).await;
    eventually(PROMPT_BOUND, "the end", async || {
        let status = raw(namespace, &name).await.data["status"].clone();
        if status["reason"] == "UserExit" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    metric_becomes(bastion.gateway.http, "bastion_sessions_active", |active| active == 0.0).await;
    assert_eq!(metric(bastion.gateway.http, "bastion_unwritten_ends").await, Some(0.0));
}

/// As after a roll-back: a newer console has requested the end with a value that this gateway does not know.
#[tokio::test]
async fn a_request_with_an_unknown_value_ends_a_session() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |_, _| ()).await;
    let (mut alice, namespace) = (bastion.open("alice").await, &bastion.namespace);
    let name = alice.session.name_any();
    let console = namespace.account("bastion-console", "console-0").await.client;
    let patch = json!({"spec": {"termination": {"requestedBy": "ops", "via": "Telepathy"}}});
    let answer = namespace.patch_session(&console, &name, patch).await;
    assert_refused("an answer that can be read", answer, "Telepathy");
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("session terminated by ops"), "{outcome:?}");
    eventually(PROMPT_BOUND, "the end", async || {
        let status = raw(namespace, &name).await.data["status"].clone();
        if status["reason"] == "AdminTerminated" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_console_shows_all_sessions_but_those_that_it_cannot_read() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |namespace, _| {
        let mut target = bastion_target("web-9");
        target["spec"]["recording"] = json!("Sometimes");
        namespace.add(target).await;
        add_unreadable_session(namespace, "gateway-9", ("startTime", NO_TIME)).await;
    })
    .await;
    let namespace = &bastion.namespace;
    let client = namespace.account("bastion-gateway", "gateway-0").await.client;
    let good = bastion_session("good", "gateway-0");
    assert_let_through("a session", namespace.create_as(&client, good).await);
    let console = Console::start(namespace).await;
    let token = namespace.viewer().await;
    let viewer = ConsoleApi::new(&console, Some(&token)).await;
    let answer = viewer.get("/api/v1/sessions").await;
    assert_eq!((answer.status, answer.each("name")), (StatusCode::OK, vec!["good"]), "{answer:?}");
    let targets = viewer.get("/api/v1/targets").await;
    assert_eq!(targets.status, StatusCode::OK, "{targets:?}");
    assert_eq!(targets.body["targets"].as_array().map(Vec::len), Some(1), "{targets:?}");
    let page = FeedPage::open(&console, &[bearer(&token)]).await;
    assert_eq!(page.names(), ["good"]);
    assert_reported(namespace, "bad", "spec.startTime: ").await;
    counted_once(console.http, "BastionSession").await;
    counted_once(console.http, "BastionTarget").await;
}

#[tokio::test]
async fn a_controller_ends_the_sessions_of_lost_gateways_even_those_that_it_cannot_read() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |namespace, _| {
        add_unreadable_session(namespace, "gateway-9", ("protocol", "Telepathy")).await;
    })
    .await;
    let namespace = &bastion.namespace;
    let lost = Gateway::start(namespace, "gateway-1").await;
    let controller = Controller::start(namespace, "controller-0").await;
    let _audit = Audit::start(namespace, "audit-0", "10m").await;
    let mut ssh = lost.ssh("alice:web-1").await.no_terminal().start().await;
    ssh.say("echo $((40 + 2))").await;
    ssh.shows("42").await;
    let name = eventually(default_timeout(), "the session", async || {
        let names = namespace.kubectl(&["get", "bastionsessions", "-o", "name"]).await.stdout;
        let mut all = names.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name.to_owned());
        all.rfind(|name| name != "bad").ok_or(names)
    })
    .await;
    assert_reported(namespace, "bad", "spec.protocol: unknown variant `Telepathy`").await;
    counted_once(controller.http, "BastionSession").await;
    let killed = Instant::now();
    lost.process.signal(Signal::SIGKILL);
    eventually(Duration::from_secs(30), "the end of a lost session", async || {
        let status = raw(namespace, &name).await.data["status"].clone();
        if status["reason"] == "GatewayLost" { Ok(()) } else { Err(format!("{status} after {:?}", killed.elapsed())) }
    })
    .await;
    eventually(default_timeout(), "the record of the lost session", async || {
        let finalizers = raw(namespace, &name).await.finalizers().to_vec();
        if finalizers.is_empty() { Ok(()) } else { Err(format!("{finalizers:?}")) }
    })
    .await;
    eventually(default_timeout(), "the end of the unreadable session, whose gateway never showed itself", async || {
        let status = raw(namespace, "bad").await.data["status"].clone();
        if status["reason"] == "GatewayLost" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(raw(namespace, "bad").await.finalizers(), ["bastion.dev/audit"], "it is not on record");
    // As docs/operations.md says: the policies let no other account do this.
    let audit_account = format!("--as={}", service_account_user(&namespace.name, "bastion-audit"));
    let patch = r#"{"metadata": {"finalizers": null}}"#;
    let arguments = [&audit_account, "patch", "bastionsession", "bad", "--type", "merge", "-p", patch];
    let outcome = namespace.kubectl(&arguments).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(raw(namespace, "bad").await.finalizers(), [] as [&str; 0]);
}

/// A client that may write a Lease can set its time of renewal to the last day of 9999, which no program can represent.
#[tokio::test]
async fn a_lease_with_a_time_that_cannot_be_read_hides_no_lost_gateway() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let lease = |name: &str, labels: Value| {
        let spec = json!({"holderIdentity": name, "renewTime": "9999-12-31T23:59:59.000000Z"});
        let metadata = json!({"name": name, "labels": labels});
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    };
    let bad = namespace.add(lease("gateway-9-abcdefghij", json!({"bastion.dev/lease-of": "gateway"}))).await;
    namespace.add(lease("bastion-audit", json!({}))).await;
    let lost = Gateway::start(namespace, "gateway-1").await;
    let _controller = Controller::start(namespace, "controller-0").await;
    let audit = Audit::start(namespace, "audit-0", "10m").await;
    let alice = bastion.open_on(&lost, "alice", "web-1").await;
    lost.process.signal(Signal::SIGKILL);
    eventually(Duration::from_secs(30), "the end of a lost session", async || {
        let status = raw(namespace, &alice.session.name_any()).await.data["status"].clone();
        if status["reason"] == "GatewayLost" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let (leases, name) = api_of(&namespace.admin(), &serde_json::to_value(&bad).expect("JSON"));
    eventually(Duration::from_secs(30), "the loss of the instance whose Lease has the bad time", async || {
        let spec = leases.get(&name).await.map_err(|error| error.to_string())?.data["spec"].clone();
        if spec["holderIdentity"] == "lost" { Ok(()) } else { Err(spec.to_string()) }
    })
    .await;
    metric_becomes(audit.http, "bastion_leader", |leads| leads >= 1.0).await;
}

/// Any writer of an object can set these times, and no schema checks them.
#[tokio::test]
async fn the_times_of_managed_fields_make_no_object_unreadable() {
    let namespace = Namespace::new().await;
    let user = namespace.create_as(&namespace.admin(), bastion_user("carol")).await.expect("a user");
    let mut object = serde_json::to_value(&user).expect("JSON");
    object["metadata"]["managedFields"][0]["time"] = json!("9999-12-31T23:59:59Z");
    object["spec"]["groups"] = json!(["people"]);
    let file = namespace.dir.join("carol.json");
    std::fs::write(&file, object.to_string()).expect("a file");
    let outcome = namespace.kubectl(&["replace", "-f", file.to_str().expect("a path")]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let stored =
        namespace.kubectl(&["get", "bastionuser", "carol", "-o", "json", "--show-managed-fields"]).await.stdout;
    assert!(stored.contains("9999-12-31T23:59:59Z"), "the API server has kept it: {stored}");
    let gateway = Gateway::start(&namespace, "gateway-0").await;
    assert_eq!(gateway.metric(&unreadable("BastionUser")).await, 0, "it can be read but for these");
}

#[tokio::test]
async fn what_an_older_schema_let_through_can_end_and_go_by_the_new_one() {
    let _held = weight::take(1).await;
    let control_plane = Arc::new(ControlPlane::start_lax().await);
    let namespace = Namespace::on(control_plane.clone()).await;
    add_unreadable_session(&namespace, "gateway-0", ("startTime", NO_TIME)).await;
    namespace.user_with("mallory", json!({"expires": NO_TIME})).await;
    apply(&namespace.admin(), &in_repository("crds/bastion.dev.yaml")).await;
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    eventually(default_timeout(), "the new schema is in force", async || {
        let mut another = bastion_user("eve");
        another["spec"] = json!({"expires": NO_TIME});
        match namespace.create_as(&namespace.admin(), another).await {
            Err(said) if said.contains("spec.expires") => Ok(()),
            Err(said) => Err(said),
            Ok(_) => {
                namespace.kubectl(&["delete", "bastionuser", "eve"]).await;
                Err("it was let through".to_owned())
            }
        }
    })
    .await;
    let kubectl = async |arguments: &[&str]| {
        let outcome = namespace.kubectl(arguments).await;
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
    };
    let _gateway = Gateway::start(&namespace, "gateway-1").await;
    assert_valid(&namespace, bastion_user("mallory"), "False", "spec.expires: ").await;
    kubectl(&["label", "bastionuser", "mallory", "seen=yes"]).await;
    kubectl(&["patch", "bastionuser", "mallory", "--type", "merge", "-p", r#"{"spec": {"disabled": true}}"#]).await;
    // The answers cannot be read here.
    let status = json!({"status": ended_status()});
    let answer = namespace.patch_status(&gateway, "bad", status).await;
    assert_refused("an answer that can be read", answer, "offset");
    assert_eq!(raw(&namespace, "bad").await.data["status"]["phase"], "Closed");
    let audit = namespace.account("bastion-audit", "audit-0").await.client;
    let answer = namespace.patch_session(&audit, "bad", json!({"metadata": {"finalizers": null}})).await;
    assert_refused("an answer that can be read", answer, "offset");
    assert_eq!(raw(&namespace, "bad").await.finalizers(), [] as [&str; 0]);
    control_plane.stop().await;
}

/// Returns all strings in a program's JSON log lines.
fn logged(stderr: &str) -> Vec<String> {
    fn strings(value: Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text),
            Value::Object(fields) => fields.into_iter().for_each(|(_, field)| strings(field, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let lines = stderr.lines().map(|line| serde_json::from_str(line).expect("a log line"));
    lines.for_each(|line| strings(line, &mut found));
    found
}

#[tokio::test]
async fn what_an_administrator_wrote_does_not_steer_the_terminals_of_others() {
    let bastion = Bastion::on(ControlPlane::lax().await, async |_, _| ()).await;
    let mut alice = bastion.open("alice").await;
    let patch = json!({"spec": {"termination": {"requestedBy": "admin", "reason": EVIL}}});
    let name = alice.session.name_any();
    assert_let_through("a reason", bastion.namespace.patch_session(&bastion.namespace.admin(), &name, patch).await);
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(
        outcome.stderr.contains("session terminated by admin: bye ]52;c;cm0gLXJmIC8=[2J2J audit: forged"),
        "{outcome:?}"
    );
    let steers = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\r');
    assert!(!steers(&outcome.stderr) && !steers(&outcome.stdout), "{outcome:?}");
    let observation = bastion.watch.ended(&alice.session, Reason::AdminTerminated).await;
    let message = observation.session.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains("bye") && !message.chars().any(char::is_control), "{message:?}");
    let shown = eventually(default_timeout(), "the end in the log, and as an Event", async || {
        let events = bastion.namespace.events_of(&name).await.into_iter().map(|(_, note)| note);
        let mut shown = logged(&bastion.gateway.process.stderr());
        shown.extend(events);
        shown.retain(|text| text.contains("bye"));
        if shown.len() >= 2 { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await;
    assert!(shown.iter().all(|text| !text.chars().any(char::is_control)), "{shown:?}");
}
