//! What the admission policies refuse to whom, though RBAC would let it through. Nothing but an API server is needed.

use bastion_operator::api::{BastionSession, credentials_namespace};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use bastion_e2e::Namespace;
use bastion_e2e::control_plane::service_account_user;
use bastion_e2e::namespace::TARGET_SECRET;
use bastion_e2e::objects::{bastion_session, bastion_target, ended_status, merge};
use bastion_e2e::refusal::{assert_let_through, assert_refused};

const BY_GATEWAYS: &str = "sessions are created by gateways, each for its own Pod";
const NEW_SESSION: &str = "a new session has the finalizer bastion.dev/audit and no termination, and is not on record";
const STATUS: &str = "only the session's own gateway and the controller write its status";
const FINALIZERS: &str = "only the audit program changes the finalizers of a session";
const METADATA: &str = "labels, annotations and ownerReferences of a session are final";
const LEASES: &str = "a gateway or audit program touches only Leases of its own Pod";

/// A user whom RBAC allows everything on the bastion's objects in the namespace, but no Secret.
const MALLORY: &str = "mallory";

async fn mallory(namespace: &Namespace) -> Client {
    namespace.allow(MALLORY, json!([{"apiGroups": ["bastion.dev"], "resources": ["*"], "verbs": ["*"]}])).await;
    namespace.as_user(MALLORY)
}

async fn gateway(namespace: &Namespace, pod: &str) -> Client {
    namespace.account("bastion-gateway", pod).await.client
}

/// A namespace with one Active session, named `session`, of the gateway in Pod `gateway-0`.
async fn with_session() -> Namespace {
    let namespace = Namespace::new().await;
    let client = gateway(&namespace, "gateway-0").await;
    let created = namespace.create_as(&client, bastion_session("session", "gateway-0")).await;
    assert_let_through("a session by its gateway", created);
    namespace
}

#[tokio::test]
async fn nobody_but_a_gateway_creates_a_session() {
    let namespace = Namespace::new().await;
    let deployer = service_account_user(&namespace.name, "deployer");
    namespace.allow(&deployer, json!([{"apiGroups": ["bastion.dev"], "resources": ["*"], "verbs": ["*"]}])).await;
    let forgers = [
        ("the administrator", namespace.admin()),
        ("a person with every right on sessions", mallory(&namespace).await),
        ("another ServiceAccount", namespace.as_user(&deployer)),
        (
            "the gateway's account with a token of no Pod",
            namespace.as_user(&service_account_user(&namespace.name, "bastion-gateway")),
        ),
    ];
    for (who, client) in forgers {
        let answer = namespace.create_as(&client, bastion_session("forged", "gateway-0")).await;
        assert_refused(who, answer, BY_GATEWAYS);
    }
}

#[tokio::test]
async fn a_gateway_creates_sessions_for_its_own_pod_alone() {
    let namespace = Namespace::new().await;
    let client = gateway(&namespace, "gateway-0").await;
    let instance = |name: &str| {
        let mut session = bastion_session("forged", "gateway-0");
        session["spec"]["gateway"]["instance"] = json!(name);
        session
    };
    let forged = [
        ("for another Pod", bastion_session("forged", "gateway-1")),
        ("for another Pod whose name begins alike", bastion_session("forged", "gateway-01")),
        ("for its Pod, with another's instance", instance("gateway-1-abcdefghij")),
        ("for its Pod, without an instance", instance("gateway-0")),
    ];
    for (what, session) in forged {
        assert_refused(what, namespace.create_as(&client, session).await, BY_GATEWAYS);
    }
}

#[tokio::test]
async fn a_new_session_waits_for_the_audit_and_is_not_terminated() {
    let namespace = Namespace::new().await;
    let client = gateway(&namespace, "gateway-0").await;
    for finalizers in [json!([]), json!(["bastion.dev/audit", "example.com/never"]), json!(["example.com/never"])] {
        let mut session = bastion_session("forged", "gateway-0");
        session["metadata"]["finalizers"] = finalizers.clone();
        assert_refused(&format!("finalizers {finalizers}"), namespace.create_as(&client, session).await, NEW_SESSION);
    }
    let mut session = bastion_session("forged", "gateway-0");
    session["spec"]["termination"] = json!({"requestedBy": "admin"});
    assert_refused("with a termination", namespace.create_as(&client, session).await, NEW_SESSION);
}

#[tokio::test]
async fn nobody_else_writes_the_status_of_a_session() {
    let namespace = with_session().await;
    let other = gateway(&namespace, "gateway-1").await;
    let writers = [
        ("the administrator", namespace.admin()),
        ("a person with patch on bastionsessions/status", mallory(&namespace).await),
        ("another gateway", other.clone()),
    ];
    for (who, client) in writers {
        let answer = namespace.patch_status(&client, "session", json!({"status": ended_status()})).await;
        assert_refused(who, answer, STATUS);
    }
    let claim = json!({"spec": {"gateway": {"name": "gateway-1"}}, "status": ended_status()});
    let answer = namespace.patch_status(&other, "session", claim).await;
    assert_refused("another gateway that claims the session in the same patch", answer, STATUS);
}

#[tokio::test]
async fn the_controller_ends_a_session_in_place_of_its_gateway() {
    let namespace = with_session().await;
    let controller = namespace.account("bastion-controller", "controller-0").await.client;
    let answer = namespace.patch_status(&controller, "session", json!({"status": ended_status()})).await;
    assert_let_through("an end by the controller", answer);
}

#[tokio::test]
async fn who_terminates_a_session_does_so_in_their_own_name() {
    let namespace = with_session().await;
    let mallory = mallory(&namespace).await;
    let request = |name: &str| json!({"spec": {"termination": {"requestedBy": name, "reason": "because"}}});
    let words = "spec.termination.requestedBy must be your own name, mallory";
    for name in ["alice", "admin", "Mallory", "system:admin"] {
        assert_refused(name, namespace.patch_session(&mallory, "session", request(name)).await, words);
    }
    let via = json!({"spec": {"termination": {"requestedBy": MALLORY, "via": "Console"}}});
    assert_refused(
        "as the console",
        namespace.patch_session(&mallory, "session", via).await,
        "via is for the bastion's console",
    );
    // The audit program has the right to patch sessions for their finalizers alone.
    let audit = namespace.account("bastion-audit", "audit-0").await.client;
    let own_name = format!("system:serviceaccount:{}:bastion-audit", namespace.name);
    let answer = namespace.patch_session(&audit, "session", request(&own_name)).await;
    assert_refused("the audit program", answer, "the audit program ends no session");
    assert_let_through("their own", namespace.patch_session(&mallory, "session", request(MALLORY)).await);
}

#[tokio::test]
async fn the_console_asks_for_ends_in_the_names_of_people_and_changes_nothing_else() {
    let namespace = with_session().await;
    let console = namespace.account("bastion-console", "console-0").await.client;
    let termination = json!({"requestedBy": "alice", "reason": "because"});
    let patch = json!({"spec": {"termination": termination}});
    assert_refused(
        "unmarked",
        namespace.patch_session(&console, "session", patch).await,
        "via is for the bastion's console",
    );
    for metadata in [json!({"annotations": {"a": "b"}}), json!({"labels": {"a": "b"}}), json!({"finalizers": null})] {
        let patch = json!({"metadata": metadata});
        let answer = namespace.patch_session(&console, "session", patch.clone()).await;
        assert!(answer.is_err(), "{patch} was let through");
    }
    let ended = namespace.patch_status(&console, "session", json!({"status": ended_status()})).await;
    assert!(ended.is_err(), "it ends nothing itself");
    let patch = json!({"spec": {"termination": {"requestedBy": "alice", "via": "Console"}}});
    assert_let_through("an end", namespace.patch_session(&console, "session", patch).await);
}

#[tokio::test]
async fn nobody_but_the_audit_program_changes_the_finalizers_of_a_session() {
    let namespace = with_session().await;
    let people = [
        ("the administrator", namespace.admin()),
        ("a person with every right on sessions", mallory(&namespace).await),
    ];
    for (who, client) in people {
        for finalizers in [json!(null), json!([]), json!(["bastion.dev/audit", "example.com/never"])] {
            let patch = json!({"metadata": {"finalizers": finalizers}});
            let answer = namespace.patch_session(&client, "session", patch.clone()).await;
            assert_refused(&format!("{who}: {patch}"), answer, FINALIZERS);
        }
    }
    let controller = namespace.account("bastion-controller", "controller-0").await.client;
    let audit = namespace.account("bastion-audit", "audit-0").await.client;
    let patch = json!({"metadata": {"finalizers": null}});
    let answer = namespace.patch_session(&controller, "session", patch.clone()).await;
    assert!(answer.is_err(), "a controller may not even patch a session");
    assert_let_through("the audit program", namespace.patch_session(&audit, "session", patch).await);
}

/// The retention counts from this annotation: who could write it could have a session deleted early, or kept for ever.
#[tokio::test]
async fn nobody_but_the_audit_program_says_when_a_session_was_recorded() {
    let namespace = with_session().await;
    let recorded = json!({"metadata": {"annotations": {"bastion.dev/recorded-at": "2026-01-01T00:00:00Z"}}});
    for (who, client) in [("the administrator", namespace.admin()), ("mallory", mallory(&namespace).await)] {
        assert_refused(who, namespace.patch_session(&client, "session", recorded.clone()).await, METADATA);
    }
    let gateway = gateway(&namespace, "gateway-0").await;
    let mut early = bastion_session("early", "gateway-0");
    merge(&mut early["metadata"], recorded["metadata"].clone());
    assert_refused("a gateway, of a new session", namespace.create_as(&gateway, early).await, NEW_SESSION);
    let audit = namespace.account("bastion-audit", "audit-0").await.client;
    let other = json!({"metadata": {"annotations": {"example.com/note": "seen"}}});
    assert_refused("another annotation", namespace.patch_session(&audit, "session", other).await, METADATA);
    assert_let_through("the audit program", namespace.patch_session(&audit, "session", recorded).await);
    let gone = json!({"metadata": {"annotations": {"bastion.dev/recorded-at": null}}});
    let answer = namespace.patch_session(&namespace.admin(), "session", gone).await;
    assert_refused("the administrator, taking it off", answer, METADATA);
}

/// `kubectl delete --cascade=foreground` puts a finalizer of Kubernetes' own beside the audit's, and its garbage
/// collector takes that one off, and must not take the other with it.
#[tokio::test]
async fn kubernetes_takes_its_own_finalizer_off_and_not_the_audits() {
    let namespace = with_session().await;
    let sessions: Api<BastionSession> = namespace.api();
    sessions.delete("session", &DeleteParams::foreground()).await.expect("a deletion that waits");
    let both = sessions.get("session").await.expect("the session waits").finalizers().to_vec();
    assert!(both.iter().any(|it| it == "foregroundDeletion"), "{both:?}");
    let collector = namespace.admin();
    let none = namespace.patch_session(&collector, "session", json!({"metadata": {"finalizers": []}})).await;
    assert_refused("both off", none, FINALIZERS);
    let audit = json!({"metadata": {"finalizers": ["bastion.dev/audit"]}});
    assert_let_through("its own off", namespace.patch_session(&collector, "session", audit).await);
}

#[tokio::test]
async fn labels_annotations_and_owners_of_a_session_are_final() {
    let namespace = with_session().await;
    let mallory = mallory(&namespace).await;
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]);
    let note = json!({"annotations": {"example.com/note": "seen"}});
    for metadata in [json!({"labels": {"team": "blue"}}), json!({"ownerReferences": owner}), note] {
        let answer = namespace.patch_session(&mallory, "session", json!({"metadata": metadata})).await;
        assert_refused(&metadata.to_string(), answer, METADATA);
    }
}

/// kubectl reads an object as YAML before it prints it as YAML, and refuses these characters. One object fails the list.
#[tokio::test]
async fn nobody_who_asks_for_an_end_breaks_the_lists_of_others() {
    let namespace = with_session().await;
    let (mallory, gateway) = (mallory(&namespace).await, gateway(&namespace, "gateway-0").await);
    let list = async || namespace.kubectl(&["get", "bastionsessions", "-o", "yaml"]).await;
    for evil in ["\u{7f}", "\u{9b}", "\u{fffe}", "\u{ffff}"] {
        let termination = json!({"requestedBy": MALLORY, "reason": evil});
        let patches =
            [json!({"spec": {"termination": termination}}), json!({"metadata": {"annotations": {"a": evil}}})];
        for patch in patches {
            let answer = namespace.patch_session(&mallory, "session", patch.clone()).await;
            assert!(answer.is_err(), "{patch} was let through");
        }
        assert_eq!(list().await.code, Some(0));
        // The premise. The gateway makes such texts printable, and no rule of the schema may refuse an end.
        let status = json!({"status": {"phase": "Active", "message": evil}});
        assert_let_through("a message", namespace.patch_status(&gateway, "session", status).await);
        let outcome = list().await;
        assert!(outcome.stderr.contains("control characters are not allowed"), "{outcome:?}");
        let status = json!({"status": {"phase": "Active", "message": null}});
        assert_let_through("no message", namespace.patch_status(&gateway, "session", status).await);
    }
}

fn lease(name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {"holderIdentity": "x"}})
}

#[tokio::test]
async fn a_gateway_makes_no_lease_but_its_own() {
    let namespace = Namespace::new().await;
    let client = gateway(&namespace, "gateway-0").await;
    let names = [
        "gateway-1-abcdefghij",
        "gateway-0",
        "gateway-0-short",
        "gateway-0-abcdefghijk",
        "gateway-0-1-abcdefghij",
        "bastion-controller",
    ];
    for name in names {
        assert_refused(name, namespace.create_as(&client, lease(name)).await, LEASES);
    }
    assert_let_through("its own", namespace.create_as(&client, lease("gateway-0-abcdefghij")).await);
}

/// Consoles send their token to the address in such a Lease.
#[tokio::test]
async fn nobody_but_audit_programs_says_where_the_history_is_served() {
    let namespace = Namespace::new().await;
    let audit = namespace.account("bastion-audit", "audit-0").await.client;
    let lease_of_audit = |name: &str| {
        let mut lease = lease(name);
        merge(&mut lease["metadata"], json!({"labels": {"bastion.dev/lease-of": "audit"}}));
        lease
    };
    let words = "only audit programs say where the history is served";
    for (who, client) in [
        ("the administrator", namespace.admin()),
        ("a gateway", gateway(&namespace, "gateway-0").await),
        ("a controller", namespace.account("bastion-controller", "controller-0").await.client),
    ] {
        assert_refused(who, namespace.create_as(&client, lease_of_audit("gateway-0-abcdefghij")).await, words);
    }
    for name in ["audit-1-abcdefghij", "audit-0", "gateway-0-abcdefghij"] {
        assert_refused(name, namespace.create_as(&audit, lease(name)).await, LEASES);
        assert_refused(name, namespace.create_as(&audit, lease_of_audit(name)).await, LEASES);
    }
    let answer = namespace.create_as(&audit, lease_of_audit("bastion-audit")).await;
    assert_refused("the leader's, labelled", answer, "the Lease bastion-audit elects a leader");
    assert_let_through("its own", namespace.create_as(&audit, lease_of_audit("audit-0-abcdefghij")).await);
    assert_let_through("the leader's", namespace.create_as(&audit, lease("bastion-audit")).await);
}

#[tokio::test]
async fn a_gateway_renews_and_deletes_no_lease_but_its_own() {
    let namespace = Namespace::new().await;
    let (own, other) = (gateway(&namespace, "gateway-0").await, gateway(&namespace, "gateway-1").await);
    assert_let_through("its own", namespace.create_as(&own, lease("gateway-0-abcdefghij")).await);
    let leases = |client: Client| Api::<Lease>::namespaced(client, &namespace.name);
    let mut renewed = leases(own.clone()).get("gateway-0-abcdefghij").await.expect("the Lease");
    renewed.spec.as_mut().expect("a spec").holder_identity = Some("y".to_owned());
    let replace = async |client: &Client| {
        let answer = leases(client.clone()).replace("gateway-0-abcdefghij", &PostParams::default(), &renewed).await;
        answer.map_err(|error| error.to_string())
    };
    let delete = async |client: &Client| {
        let answer = leases(client.clone()).delete("gateway-0-abcdefghij", &DeleteParams::default()).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_refused("renewed by another", replace(&other).await, LEASES);
    assert_refused("deleted by another", delete(&other).await, LEASES);
    assert_let_through("renewed by itself", replace(&own).await);
    assert_let_through("deleted by itself", delete(&own).await);
}

#[tokio::test]
async fn a_gateway_makes_no_secret_but_the_host_key() {
    let namespace = Namespace::new().await;
    let client = gateway(&namespace, "gateway-0").await;
    let secret = |metadata: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
    let words = "a gateway makes no Secret but bastion-host-key";
    for metadata in [json!({"name": "other"}), json!({"generateName": "bastion-host-key"})] {
        assert_refused(&metadata.to_string(), namespace.create_as(&client, secret(metadata)).await, words);
    }
    let host_key = secret(json!({"name": "bastion-host-key"}));
    assert_let_through("the host key", namespace.create_as(&client, host_key).await);
}

#[tokio::test]
async fn only_a_gateway_publishes_the_host_key_and_no_other_config_map() {
    let namespace = Namespace::new().await;
    let gateway = gateway(&namespace, "gateway-0").await;
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let published = "bastion-known-hosts";
    let words = "only gateways publish their host key";
    assert_refused("by an administrator", namespace.create_as(&namespace.admin(), map(published)).await, words);
    let other = namespace.create_as(&gateway, map("other")).await;
    assert_refused("another one", other, "a gateway makes no ConfigMap but bastion-known-hosts");
    assert_let_through("another's own", namespace.create_as(&namespace.admin(), map("other")).await);
    assert_let_through("by a gateway", namespace.create_as(&gateway, map(published)).await);
    let maps: Api<ConfigMap> = namespace.api();
    let mut changed = maps.get(published).await.expect("the ConfigMap");
    changed.data = Some([("known_hosts".to_owned(), "* mallory".to_owned())].into());
    let answer = maps.replace(published, &PostParams::default(), &changed).await.map_err(|error| error.to_string());
    assert_refused("changed by an administrator", answer, words);
}

#[tokio::test]
async fn who_writes_a_target_must_be_able_to_read_its_secret() {
    let namespace = Namespace::new().await;
    let credentials = credentials_namespace(&namespace.name);
    let words = format!(
        "spec.credentials: you may not get the Secret {TARGET_SECRET} in namespace {credentials}, so you may not have a target use it"
    );
    let mallory = mallory(&namespace).await;
    assert_refused("a new target", namespace.create_as(&mallory, bastion_target("web-1")).await, &words);
    namespace.add(bastion_target("web-1")).await;
    let patch = async |patch: Value| namespace.patch_target(&mallory, "web-1", patch).await;
    assert_refused("a target pointed elsewhere", patch(json!({"spec": {"address": "192.0.2.66"}})).await, &words);
    assert_let_through("a label", patch(json!({"metadata": {"labels": {"team": "blue"}}})).await);
}

#[tokio::test]
async fn who_may_read_one_secret_may_have_targets_use_that_one() {
    let namespace = Namespace::new().await;
    let mallory = mallory(&namespace).await;
    namespace.allow_reading_credentials(MALLORY, TARGET_SECRET).await;
    assert_let_through("its Secret", namespace.create_as(&mallory, bastion_target("web-1")).await);
    let mut other = bastion_target("web-2");
    for kind in ["privateKey", "password", "certificateAuthority"] {
        merge(&mut other["spec"], json!({"credentials": {kind: {"name": "another"}}}));
        let answer = namespace.create_as(&mallory, other.clone()).await;
        assert_refused(kind, answer, "you may not get the Secret another");
    }
}
