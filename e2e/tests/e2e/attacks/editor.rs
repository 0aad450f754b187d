//! A person who may write BastionUsers becomes another, or somebody with more rights.

use bastion_operator::api::{BastionUser, UserKeyLine};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::objects::{bastion_user, merge};
use bastion_e2e::refusal::{assert_let_through, assert_refused};
use bastion_e2e::{Bastion, Namespace};

const MALLORY: &str = "mallory";
const OWN_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SUBJECT: &str = "spec.subject: you may not impersonate the user ";
const GROUP: &str = "spec.groups: you may not impersonate the group ";

/// Mallory's client, with the rights of the aggregated ClusterRole edit.
async fn editor(namespace: &Namespace) -> Client {
    let rules = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastiontargets", "bastionusers"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]}]);
    namespace.allow(MALLORY, rules).await;
    namespace.as_user(MALLORY)
}

/// Lets mallory impersonate these, in the bastion's namespace. Without names, all of them.
async fn may_impersonate(namespace: &Namespace, resource: &str, names: &[&str]) {
    let mut rule = json!({"apiGroups": [""], "resources": [resource], "verbs": ["impersonate"]});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    namespace.allow(MALLORY, json!([rule])).await;
}

async fn patch(namespace: &Namespace, client: &Client, name: &str, spec: Value) -> Result<BastionUser, String> {
    let users: Api<BastionUser> = Api::namespaced(client.clone(), &namespace.name);
    let patch = Patch::Merge(json!({"spec": spec}));
    users.patch(name, &PatchParams::default(), &patch).await.map_err(|error| error.to_string())
}

fn user(name: &str, spec: Value) -> Value {
    let mut user = bastion_user(name);
    user["spec"]["publicKeys"] = json!([OWN_KEY]);
    merge(&mut user["spec"], spec);
    user
}

#[tokio::test]
async fn an_editor_makes_no_user_with_the_rights_of_another() {
    let namespace = Namespace::new().await;
    let mallory = editor(&namespace).await;
    for (what, spec, words) in [
        ("a group", json!({"groups": [PEOPLE]}), SUBJECT),
        ("a subject", json!({"subject": "admin"}), SUBJECT),
        ("a default subject", json!({}), SUBJECT),
    ] {
        assert_refused(what, namespace.create_as(&mallory, user("own", spec)).await, words);
    }
    may_impersonate(&namespace, "users", &["bastion:own"]).await;
    let in_a_group = namespace.create_as(&mallory, user("own", json!({"groups": [PEOPLE]}))).await;
    assert_refused("a group, as oneself", in_a_group, &format!("{GROUP}{PEOPLE}"));
    assert_let_through("oneself, without rights", namespace.create_as(&mallory, user("own", json!({}))).await);
    let joined = patch(&namespace, &mallory, "own", json!({"groups": [PEOPLE]})).await;
    assert_refused("a group, later", joined, &format!("{GROUP}{PEOPLE}"));
    let renamed = patch(&namespace, &mallory, "own", json!({"subject": "admin"})).await;
    assert_refused("a subject, later", renamed, &format!("{SUBJECT}admin"));
}

#[tokio::test]
async fn an_editor_signs_in_as_nobody() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let mallory = editor(namespace).await;
    let alice = namespace.api::<BastionUser>().get("alice").await.expect("alice");
    let keys: Vec<&str> = alice.spec.public_keys.iter().map(UserKeyLine::as_str).collect();
    let secret = json!({"name": "mallorys", "key": "password"});
    for (what, spec) in [
        ("a key of one's own", json!({"publicKeys": [keys[0], OWN_KEY]})),
        ("another password", json!({"authentication": ["password"], "password": secret})),
        ("another second factor", json!({"authentication": ["publickey", "totp"], "totp": secret})),
    ] {
        assert_refused(what, patch(namespace, &mallory, "alice", spec).await, &format!("{SUBJECT}bastion:alice"));
    }
    assert_let_through(
        "an expiry",
        patch(namespace, &mallory, "alice", json!({"expires": "2030-01-01T00:00:00Z"})).await,
    );
    let sooner = patch(namespace, &mallory, "alice", json!({"expires": "2029-01-01T00:00:00+05:00"})).await;
    assert_let_through("an earlier one", sooner);
    for expires in [json!("2031-01-01T00:00:00Z"), json!(null)] {
        let answer = patch(namespace, &mallory, "alice", json!({"expires": expires})).await;
        assert_refused(&format!("expiry {expires}"), answer, SUBJECT);
    }
    assert_let_through("disabled", patch(namespace, &mallory, "alice", json!({"disabled": true})).await);
    assert_refused("enabled", patch(namespace, &mallory, "alice", json!({"disabled": false})).await, SUBJECT);
    assert_let_through("no keys", patch(namespace, &mallory, "alice", json!({"publicKeys": []})).await);
    assert_let_through("no groups", patch(namespace, &mallory, "alice", json!({"groups": []})).await);
}

/// A restricted key keeps its user from the web terminal, which asks for no key.
#[tokio::test]
async fn an_editor_opens_no_web_terminal() {
    let namespace = Namespace::new().await;
    let mallory = editor(&namespace).await;
    let authority = |options: &str| format!("cert-authority{options} {OWN_KEY} no-pty");
    let restricted = [
        authority(",no-pty"),
        authority(r#",principals="a,b",verify-required"#),
        authority(r#",command="say \"a, b\" c \\\"",no-port-forwarding"#),
        "verify-required sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAA".to_owned(),
    ];
    for (number, line) in restricted.iter().enumerate() {
        let name = format!("restricted-{number}");
        namespace.user_with(&name, json!({"publicKeys": [OWN_KEY, line]})).await;
        for keys in [json!([OWN_KEY]), json!([]), json!(null)] {
            let answer = patch(&namespace, &mallory, &name, json!({"publicKeys": keys})).await;
            assert_refused(&format!("{keys} in place of {line}"), answer, &format!("{SUBJECT}bastion:{name}"));
        }
        assert_let_through("the other key", patch(&namespace, &mallory, &name, json!({"publicKeys": [line]})).await);
        let disabled = patch(&namespace, &mallory, &name, json!({"publicKeys": [], "disabled": true})).await;
        assert_let_through("no keys, and disabled", disabled);
        let enabled = patch(&namespace, &mallory, &name, json!({"disabled": false})).await;
        assert_refused("enabled without keys", enabled, &format!("{SUBJECT}bastion:{name}"));
    }
    let unrestricted = [
        authority(""),
        authority(r#",principals="no-pty,command=",no-port-forwarding"#),
        authority(",no-agent-forwarding,no-touch-required"),
    ];
    for (number, line) in unrestricted.iter().enumerate() {
        let name = format!("unrestricted-{number}");
        namespace.user_with(&name, json!({"publicKeys": [OWN_KEY, line]})).await;
        let answer = patch(&namespace, &mallory, &name, json!({"publicKeys": [OWN_KEY]})).await;
        assert_let_through(line, answer);
    }
}

/// The right is asked for in the bastion's namespace: a Role there grants it, and nothing at the API server.
#[tokio::test]
async fn who_manages_users_needs_no_right_outside_the_bastions_namespace() {
    let namespace = Namespace::new().await;
    let mallory = editor(&namespace).await;
    may_impersonate(&namespace, "users", &[]).await;
    let groups: Vec<String> = (0..9).map(|number| format!("group-{number}")).collect();
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    may_impersonate(&namespace, "groups", &names).await;
    let with = async |name: &str, groups: &[&str]| {
        namespace.create_as(&mallory, user(name, json!({"subject": format!("oidc#{name}"), "groups": groups}))).await
    };
    assert_let_through("eight groups", with("eight", &names[..8]).await);
    for at in 0..8 {
        let mut groups = names[..8].to_vec();
        groups[at] = "admins";
        assert_refused(&format!("group {at}"), with("other", &groups).await, &format!("{GROUP}admins"));
    }
    assert_refused("nine groups", with("nine", &names).await, "for more than 8 groups");
    may_impersonate(&namespace, "groups", &[]).await;
    let many: Vec<String> = (0..64).map(|number| format!("any-{number}")).collect();
    let made =
        assert_let_through("all groups", with("many", &many.iter().map(String::as_str).collect::<Vec<_>>()).await);
    assert_eq!(made.name_any(), "many");
    for resource in ["users", "groups"] {
        let asked = json!({"verb": "impersonate", "group": "", "resource": resource});
        assert!(!namespace.may(MALLORY, asked).await, "it is no right at the API server");
    }
}
