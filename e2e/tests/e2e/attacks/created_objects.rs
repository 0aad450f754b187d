//! A program that is taken over creates objects on which other programs, or Kubernetes itself, act.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use bastion_e2e::Namespace;
use bastion_e2e::objects::{bastion_session, merge};
use bastion_e2e::refusal::{assert_let_through, assert_refused};

async fn account(namespace: &Namespace, program: &str) -> Client {
    namespace.account(&format!("bastion-{program}"), &format!("{program}-0")).await.client
}

/// Returns the object with this in its metadata.
fn with_metadata(mut object: Value, metadata: &Value) -> Value {
    merge(&mut object["metadata"], metadata.clone());
    object
}

/// Metadata on which something else in a cluster acts.
fn planted() -> [Value; 4] {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"});
    [
        json!({"labels": {"grafana_dashboard": "1"}}),
        json!({"annotations": {"kubernetes.io/service-account.name": "bastion-controller"}}),
        json!({"ownerReferences": [owner]}),
        json!({"finalizers": ["example.com/never"]}),
    ]
}

#[tokio::test]
async fn a_gateway_gets_no_token_of_another_account_by_a_secret() {
    let namespace = Namespace::new().await;
    let gateway = account(&namespace, "gateway").await;
    let secret =
        |metadata: Value, kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind});
    let of_controller = json!({"name": "bastion-host-key", "annotations": {"kubernetes.io/service-account.name": "bastion-controller"}});
    let token = secret(of_controller, "kubernetes.io/service-account-token");
    assert_refused("a token", namespace.create_as(&gateway, token).await, "has the type Opaque");
    let host_key = secret(json!({"name": "bastion-host-key"}), "Opaque");
    for metadata in planted() {
        let answer = namespace.create_as(&gateway, with_metadata(host_key.clone(), &metadata)).await;
        assert_refused(&metadata.to_string(), answer, "a gateway");
    }
    assert_let_through("the host key", namespace.create_as(&gateway, host_key).await);
}

#[tokio::test]
async fn a_gateway_plants_nothing_in_its_config_map_and_its_sessions() {
    let namespace = Namespace::new().await;
    let gateway = account(&namespace, "gateway").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bastion-known-hosts"}});
    for metadata in planted() {
        let answer = namespace.create_as(&gateway, with_metadata(map.clone(), &metadata)).await;
        assert_refused(&metadata.to_string(), answer, "a gateway");
        let answer = namespace.create_as(&gateway, with_metadata(bastion_session("s", "gateway-0"), &metadata)).await;
        assert_refused(&metadata.to_string(), answer, "a new session has");
    }
}

/// The Pods `gateway` and `gateway-abcdefghij` may both exist.
#[tokio::test]
async fn a_gateway_creates_no_session_of_an_instance_whose_pod_has_a_longer_name() {
    let namespace = Namespace::new().await;
    let gateway = namespace.account("bastion-gateway", "gateway").await.client;
    for instance in ["gateway-1-abcdefghij", "gateway-abc", "gateway-abcdefghijk", "gateway-ABCDEFGHIJ"] {
        let mut session = bastion_session("forged", "gateway");
        session["spec"]["gateway"]["instance"] = json!(instance);
        let answer = namespace.create_as(&gateway, session).await;
        assert_refused(instance, answer, "sessions are created by gateways, each for its own Pod");
    }
    assert_let_through("its own", namespace.create_as(&gateway, bastion_session("own", "gateway")).await);
}

#[tokio::test]
async fn a_program_writes_events_in_its_own_name_about_the_bastions_objects_alone() {
    let namespace = Namespace::new().await;
    let event = |name: &str, controller: &str, instance: &str, kind: [&str; 2]| {
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
            "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Killing", "action": "Kill", "note": "x",
            "reportingController": controller, "reportingInstance": instance,
            "regarding": {"apiVersion": kind[0], "kind": kind[1], "name": "x", "namespace": namespace.name}})
    };
    let (session, pod) = (["bastion.dev/v1alpha1", "BastionSession"], ["v1", "Pod"]);
    for program in ["gateway", "controller", "audit", "console"] {
        let (client, own) = (account(&namespace, program).await, format!("bastion-{program}"));
        let instance = format!("{program}-0");
        for (controller, instance, kind, words) in [
            ("kubelet", instance.as_str(), session, "only in its own name"),
            (own.as_str(), "another-0", session, "only in its own name"),
            (own.as_str(), instance.as_str(), pod, "only about the bastion's objects"),
        ] {
            let answer = namespace.create_as(&client, event("forged", controller, instance, kind)).await;
            assert_refused(&format!("{program}: {controller} {instance} {kind:?}"), answer, words);
        }
        let own_event = event(&format!("of-{program}"), &own, &instance, session);
        for metadata in planted() {
            let answer = namespace.create_as(&client, with_metadata(own_event.clone(), &metadata)).await;
            assert_refused(&metadata.to_string(), answer, "a program's Events have no");
        }
        assert_let_through(program, namespace.create_as(&client, own_event).await);
    }
}

#[tokio::test]
async fn a_program_makes_no_lease_that_passes_for_anothers() {
    let namespace = Namespace::new().await;
    let lease = |name: &str, of: &str, holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": holder},
            "metadata": {"name": name, "labels": {"bastion.dev/lease-of": of}}})
    };
    let label = "names the program that it belongs to";
    for (program, of, words) in [
        ("gateway", "controller", label),
        ("audit", "controller", label),
        ("audit", "gateway", label),
        ("controller", "gateway", "only Leases of its own Pod and of lost gateways"),
    ] {
        let client = account(&namespace, program).await;
        let name = format!("{program}-0-abcdefghij");
        let answer = namespace.create_as(&client, lease(&name, of, &name)).await;
        assert_refused(&format!("{program}: of {of}"), answer, words);
        for metadata in &planted()[2..] {
            let answer = namespace.create_as(&client, with_metadata(lease(&name, program, &name), metadata)).await;
            assert_refused(&format!("{program}: {metadata}"), answer, "adds no ownerReferences and finalizers");
        }
        let _ = namespace.create_as(&client, lease(&name, program, &name)).await;
    }
    let controller = account(&namespace, "controller").await;
    let other = namespace.create_as(&controller, lease("controller-1-abcdefghij", "controller", "x")).await;
    assert_refused("of another controller", other, "only Leases of its own Pod");
    let lost = namespace.create_as(&controller, lease("gateway-9-abcdefghij", "gateway", "lost")).await;
    assert_let_through("of a gateway that it declares lost", lost);
}

/// By such an annotation a controller could send consoles to a terminal or a history of its own.
#[tokio::test]
async fn a_controller_redirects_no_console() {
    let namespace = Namespace::new().await;
    let name = "gateway-0-abcdefghij";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": name},
        "metadata": {"name": name, "labels": {"bastion.dev/lease-of": "gateway"}}});
    namespace.create_as(&account(&namespace, "gateway").await, lease).await.expect("a gateway's Lease");
    let leases: Api<Lease> = Api::namespaced(account(&namespace, "controller").await, &namespace.name);
    let change = async |change: &dyn Fn(&mut Lease)| {
        let mut lease = leases.get(name).await.expect("the Lease");
        change(&mut lease);
        leases.replace(name, &PostParams::default(), &lease).await.map_err(|error| error.to_string())
    };
    let words = "a controller changes no labels of a Lease";
    let annotate =
        |key: &'static str| move |lease: &mut Lease| drop(lease.annotations_mut().insert(key.into(), "x".into()));
    assert_refused("an address", change(&annotate("bastion.dev/follow-address")).await, words);
    assert_refused("a key of ends", change(&annotate("bastion.dev/end-key")).await, words);
    assert_refused("no label", change(&|lease| lease.labels_mut().clear()).await, words);
    assert_let_through("a confirmation", change(&annotate("bastion.dev/vouched")).await);
    let lost = change(&|lease| lease.spec.as_mut().expect("a spec").holder_identity = Some("lost".to_owned())).await;
    assert_let_through("a loss", lost);
}

#[tokio::test]
async fn a_console_requests_no_token_that_outlives_it_or_is_good_elsewhere() {
    let namespace = Namespace::new().await;
    let client = account(&namespace, "console").await;
    account(&namespace, "gateway").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace.name);
    let request = async |account: &str, audiences: &[&str], seconds: i64, pod: Option<&str>| {
        let bound = pod.map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod}));
        let spec = json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound});
        let request: TokenRequest = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a request");
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        answer.map_err(|error| error.to_string())
    };
    let (ours, own) = ("bastion.dev/terminals/x/y", Some("console-0"));
    let (audience, bound) = ("only for gateways and audit programs", "only for its own Pod, and for 10 minutes");
    for (audiences, seconds, pod, words) in [
        (&["https://kubernetes.default.svc"][..], 600, own, audience),
        (&[ours, "https://kubernetes.default.svc"], 600, own, audience),
        (&[], 600, own, audience),
        (&[ours], 3600, own, bound),
        (&[ours], 600, None, bound),
    ] {
        let answer = request("bastion-console", audiences, seconds, pod).await;
        assert_refused(&format!("{audiences:?} {seconds} {pod:?}"), answer, words);
    }
    assert_refused("another's", request("bastion-gateway", &[ours], 600, own).await, "cannot create resource");
    assert_let_through("its own", request("bastion-console", &[ours], 600, own).await);
}
