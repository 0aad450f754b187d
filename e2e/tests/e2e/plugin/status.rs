//! `kubectl bastion status`.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::Person;
use bastion_e2e::objects::{bastion_session, ended_status};
use bastion_e2e::{Audit, Bastion, Namespace, default_timeout, eventually};

/// Has the gateway of this Pod, which does not run, make a session of this name.
pub async fn add_session(namespace: &Namespace, name: &str, pod: &str) {
    let gateway = namespace.account("bastion-gateway", pod).await.client;
    namespace.create_as(&gateway, bastion_session(name, pod)).await.expect("a session");
}

pub async fn end_session(namespace: &Namespace, name: &str, pod: &str) {
    let gateway = namespace.account("bastion-gateway", pod).await.client;
    namespace.patch_status(&gateway, name, json!({"status": ended_status()})).await.expect("an end");
}

#[tokio::test]
async fn a_session_is_followed_to_where_it_is_stuck() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let ops = Person::new(namespace, "ops", &["bastion-viewer", "bastion-support"]).await;
    let alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    let text = ops.prints(&["status", &name]).await;
    for words in
        ["alice on web-1 as ", "Lease       ok      gateway-0-", "renews its Lease", "Recording   ok      none"]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let json: Value = serde_json::from_str(&ops.prints(&["status", &name, "-o", "json"]).await).expect("JSON");
    assert_eq!(json["ok"], true, "{json}");

    add_session(namespace, "orphan", "gateway-8").await;
    add_session(namespace, "late", "gateway-9").await;
    end_session(namespace, "late", "gateway-9").await;
    let outcome = ops.bastion(&["status", "orphan"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stdout.contains("STUCK   gateway-8-abcdefghij has none: this gateway instance has ended"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("\nLease: check that a controller runs"), "{outcome:?}");
    let outcome = ops.bastion(&["status", "late"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("after the end: no audit program leads"), "{outcome:?}");

    let _audit = Audit::start(namespace, "bastion-audit-0", "10m").await;
    eventually(default_timeout(), "it is on record", async || {
        let outcome = ops.bastion(&["status", "late"]).await;
        let on_record = outcome.stdout.contains("written, with the end");
        if outcome.code == Some(0) && on_record { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    ops.is_told(&["status", "nobody-web-1-x"], "there is no session \"nobody-web-1-x\" in namespace").await;
    drop(alice);
}

#[tokio::test]
async fn what_may_not_be_seen_is_named() {
    let bastion = Bastion::up().await;
    let viewer = Person::new(&bastion.namespace, "viewer", &["bastion-viewer"]).await;
    let alice = bastion.open("alice").await;
    let text = viewer.prints(&["status", &alice.session.name_any()]).await;
    let words = format!(
        "unknown   you may not get pods in namespace {}; have the Role bastion-support",
        bastion.namespace.name
    );
    assert!(text.contains(&words), "{text}");
}
