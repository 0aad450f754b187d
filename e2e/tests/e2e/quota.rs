//! The ResourceQuota of deploy/: too many sessions, and what goes on all the same.

use bastion_operator::api::Reason;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use bastion_e2e::manifests::in_repository;
use bastion_e2e::{Bastion, Controller, Namespace, default_timeout, eventually, metric};

const COUNT: &str = "count/bastionsessions.bastion.dev";
/// Something else that the quota counts, by whose refusal it is seen that the quota holds.
const PROBE: &str = "count/configmaps";

/// Writes the quota's status, in place of kube-controller-manager, which does not run here.
async fn reckon(namespace: &Namespace, limit: usize, used: usize) {
    let hard = json!({COUNT: limit.to_string(), PROBE: "0"});
    let status = json!({"status": {"hard": hard, "used": {COUNT: used.to_string(), PROBE: "0"}}});
    let quotas = namespace.api::<ResourceQuota>();
    quotas.patch_status("bastion-sessions", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

/// The quota of deploy/.
fn of_deploy() -> Value {
    let quota: Value = serde_saphyr::from_str(&in_repository("deploy/quota.yaml")).expect("a manifest");
    assert!(quota["spec"]["hard"][COUNT].is_string());
    quota
}

/// The quota of deploy/ with another limit, once it holds.
async fn quota(namespace: &Namespace, limit: usize) {
    let mut quota = of_deploy();
    quota["spec"]["hard"] = json!({COUNT: limit.to_string(), PROBE: "0"});
    namespace.add(quota).await;
    reckon(namespace, limit, 0).await;
    eventually(default_timeout(), "the quota holds", async || {
        let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "probe-"}});
        match namespace.create_as(&namespace.admin(), probe).await {
            Err(said) if said.contains("exceeded quota") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// What the API server itself has counted.
async fn used(namespace: &Namespace) -> String {
    let quota = namespace.api::<ResourceQuota>().get("bastion-sessions").await.expect("the quota");
    quota.status.and_then(|status| status.used).map(|used| used[COUNT].0.clone()).expect("a count")
}

#[tokio::test]
async fn over_the_quota_new_sessions_are_refused_with_the_reason_and_ends_are_still_written() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let namespace = &bastion.namespace;
    quota(namespace, 2).await;
    let (mut alice, mut bob) = (bastion.open("alice").await, bastion.open("bob").await);
    assert_eq!(used(namespace).await, "2");
    let refused = bastion.ssh("alice:web-1").await.command("true").run().await;
    assert_eq!(refused.code, Some(255), "{refused:?}");
    let words = "bastion: there are as many sessions as this cluster's quota allows";
    assert!(refused.stderr.contains(words) && !refused.stderr.contains("bastionsessions"), "{refused:?}");
    assert!(bastion.gateway.process.stderr().contains("exceeded quota: bastion-sessions"));
    let sample = "bastion_sign_ins_refused_total{reason=\"over_quota\"}";
    assert_eq!(metric(bastion.gateway.http, sample).await, Some(1.0));
    bob.still_answers().await;

    alice.ssh.say("exit").await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    bob.ssh.say("exit").await;
    bastion.watch.ended(&bob.session, Reason::UserExit).await;
    assert_eq!(bastion.session_names().await.len(), 2, "they wait for their record");
    let refused = bastion.ssh("bob:web-1").await.command("true").run().await;
    assert!(refused.stderr.contains(words), "{refused:?}");
    reckon(namespace, 2, 1).await;
    eventually(default_timeout(), "a user gets in again", async || {
        let outcome = bastion.ssh("bob:web-1").await.command("true").run().await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
}

/// As after an installation, when kube-controller-manager has not heard of the CRDs.
#[tokio::test]
async fn a_quota_without_a_count_lets_people_in_once_the_controller_has_counted() {
    let bastion = Bastion::up().await;
    let mut alice = bastion.open("alice").await;
    bastion.namespace.add(of_deploy()).await;
    let in_force = json!({"status": {"hard": {COUNT: "20000"}}});
    let quotas = bastion.namespace.api::<ResourceQuota>();
    quotas.patch_status("bastion-sessions", &PatchParams::default(), &Patch::Merge(in_force)).await.expect("a status");
    let words = "bastion: this cluster does not count sessions yet";
    eventually(default_timeout(), "no user gets in", async || {
        let refused = bastion.ssh("alice:web-1").await.command("true").run().await;
        if refused.stderr.contains(words) { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
    let before = bastion.session_names().await.len();
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    eventually(default_timeout(), "alice gets in", async || {
        let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    assert_eq!(used(&bastion.namespace).await, (before + 1).to_string());
    alice.still_answers().await;
}

/// The API server counts for all gateways and itself in one object.
#[tokio::test]
async fn of_many_sign_ins_at_once_as_many_get_in_as_there_is_room_for() {
    let bastion = Bastion::up().await;
    quota(&bastion.namespace, 10).await;
    let sign_ins = (0..16).map(|_| async { bastion.ssh("alice:web-1").await.command("true").run().await });
    let outcomes = futures::future::join_all(sign_ins).await;
    let got_in = outcomes.iter().filter(|outcome| outcome.code == Some(0)).count();
    let refused = outcomes.iter().filter(|outcome| outcome.stderr.contains("quota allows")).count();
    assert_eq!((got_in, refused), (10, 6), "{outcomes:?}");
    assert_eq!(used(&bastion.namespace).await, "10");
}
