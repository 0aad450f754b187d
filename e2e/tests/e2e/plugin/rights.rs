//! Each verb with the rights that docs/kubectl.md names for it and no others, and without each of them.

use bastion_operator::plugin::rights::{NEEDS, Need};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::Person;
use super::status::{add_session, end_session};
use bastion_e2e::control_plane::service_account_user;
use bastion_e2e::run::unique;
use bastion_e2e::{Bastion, Namespace, default_timeout};

impl<'a> Person<'a> {
    /// A ServiceAccount with these rights.
    async fn with_rights(namespace: &'a Namespace, needs: &[Need]) -> Self {
        let name = format!("account-{}", unique());
        namespace.add(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
        let rules: Vec<Value> = needs
            .iter()
            .map(|Need { right, .. }| {
                json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]})
            })
            .collect();
        if !rules.is_empty() {
            namespace.allow(&service_account_user(&namespace.name, &name), json!(rules)).await;
        }
        let accounts = namespace.api::<ServiceAccount>();
        let request = TokenRequest::default();
        let answer = accounts.create_token_request(&name, &PostParams::default(), &request).await.expect("a token");
        let kubeconfig = namespace.control_plane.kubeconfig_with(&answer.status.expect("a token").token);
        let path = namespace.dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, serde_saphyr::to_string(&kubeconfig).expect("YAML")).expect("a file");
        Self { namespace, kubeconfig: path }
    }

    /// Runs a verb. Returns its standard output and error.
    async fn output(&self, arguments: &[&str]) -> String {
        let outcome = self.bastion(arguments).await;
        outcome.stdout + &outcome.stderr
    }
}

fn needs_of(verb: &str) -> &'static [Need] {
    NEEDS.iter().find(|(name, _)| *name == verb).expect("a verb").1
}

/// Runs the verb with its rights, and once without each of them.
async fn try_rights(namespace: &Namespace, verb: &str, arguments: &[&str], works: &str, skipped: &[&str]) {
    let needs = needs_of(verb);
    let file = |arguments: &[&str]| -> Vec<String> {
        let path = namespace.dir.join(format!("report-{}.zip", unique())).display().to_string();
        arguments.iter().map(|it| if *it == "FILE" { path.clone() } else { (*it).to_owned() }).collect()
    };
    let run = async |person: Person<'_>| {
        let arguments = file(arguments);
        person.output(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let text = run(Person::with_rights(namespace, needs).await).await;
    assert!(text.contains(works) && !text.contains("you may not"), "{verb} with its rights: {text}");
    for at in 0..needs.len() {
        let right = needs[at].right.to_string();
        if skipped.contains(&right.as_str()) {
            continue;
        }
        let rest: Vec<Need> =
            needs.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, need)| *need).collect();
        let text = run(Person::with_rights(namespace, &rest).await).await;
        assert!(text.contains(&format!("you may not {right} in namespace")), "{verb} without {right}: {text}");
    }
}

#[tokio::test]
async fn verbs_that_look_need_no_more_than_is_documented() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    try_rights(namespace, "sessions", &["sessions"], &name, &[]).await;
    try_rights(namespace, "status", &["status", &name], "renews its Lease", &[]).await;
    // A Lease is looked at again only where it seems silent; `report` reads it for the check that is in it.
    try_rights(namespace, "check", &["check"], "1 renewing", &["get leases"]).await;
    let rest = ["get leases", "get resourcequotas"];
    try_rights(namespace, "report", &["report", "--file", "FILE"], "is written", &rest).await;
}

#[tokio::test]
async fn watching_needs_no_more_than_is_documented() {
    let bastion = Bastion::up().await;
    let alice = bastion.open("alice").await;
    let needs = needs_of("watch");
    let mut lines = Person::with_rights(&bastion.namespace, needs).await.start(&["watch"]).await;
    lines.shows(&alice.session.name_any()).await;
    for (at, Need { right, .. }) in needs.iter().enumerate() {
        let person = Person::with_rights(&bastion.namespace, &[needs[1 - at]]).await;
        let outcome = person.start(&["watch"]).await.finish(default_timeout()).await;
        let words = format!("bastion: you may not {right} in namespace");
        assert!(outcome.code == Some(1) && outcome.stderr.contains(&words), "{outcome:?}");
    }
}

#[tokio::test]
async fn terminating_needs_no_more_than_is_documented() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let needs = needs_of("terminate");
    let alice = bastion.open("alice").await;
    let text = Person::with_rights(namespace, needs).await.output(&["terminate", &alice.session.name_any()]).await;
    assert!(text.contains(": Terminated/AdminTerminated after"), "{text}");
    for (at, Need { right, .. }) in needs.iter().enumerate() {
        let name = format!("session-{at}");
        add_session(namespace, &name, &format!("gateway-1{at}")).await;
        if right.verb == "get" {
            end_session(namespace, &name, &format!("gateway-1{at}")).await;
        }
        let rest: Vec<Need> =
            needs.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, need)| *need).collect();
        let outcome = Person::with_rights(namespace, &rest).await.bastion(&["terminate", &name]).await;
        let words = format!("you may not {right} in namespace");
        assert!(outcome.code == Some(1) && outcome.stderr.contains(&words), "without {right}: {outcome:?}");
    }
}
