//! Grants and rights, against a scripted API server.

use rstest::rstest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::EventSink;
use crate::cluster::scripted_api::{Answer, Received, ScriptedApi};
use crate::gateway::sign_in::WebTerminalBlocker;

/// What the API server answers to the review of one right.
#[derive(Clone, Copy, Debug)]
enum Review {
    Yes,
    No,
    Fails,
}

/// The answers to the reviews of `connect` on the target, on its login and on its group.
#[derive(Clone, Copy, Debug)]
struct Rights {
    target: Review,
    login: Review,
    group: Review,
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const NONE: Rights = Rights { target: Review::No, login: Review::No, group: Review::No };

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({ "name": name, "namespace": "bastion", "uid": name, "resourceVersion": "1" });
    json!({ "apiVersion": "bastion.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec })
}

fn users() -> Vec<Value> {
    vec![
        object("BastionUser", "alice", &json!({ "groups": ["people"] })),
        object("BastionUser", "restricted", &json!({ "publicKeys": [format!("cert-authority,no-pty {KEY}")] })),
        object("BastionUser", "left", &json!({ "disabled": true })),
        object("BastionUser", "trainee", &json!({ "expires": "2099-02-01T00:00:00Z" })),
        object("BastionUser", "contractor", &json!({ "expires": "2099-01-01T00:00:00Z" })),
        object("BastionUser", "guest", &json!({ "expires": "2026-01-01T00:00:00Z" })),
    ]
}

fn targets() -> Vec<Value> {
    let credentials = json!({ "privateKey": { "name": "key" } });
    let spec = json!({
        "address": "192.0.2.1", "hostKeys": [], "logins": ["root", "deploy"], "groups": ["web"], "credentials": credentials,
    });
    let mut without_web = spec.clone();
    without_web["allow"] = json!({ "web": false });
    vec![object("BastionTarget", "web-1", &spec), object("BastionTarget", "without-web", &without_web)]
}

fn answer(received: &Received, rights: Rights) -> Answer {
    let list = |kind: &str, items: Vec<Value>| {
        let metadata = json!({ "resourceVersion": "1" });
        Answer::Object(json!({
            "apiVersion": "bastion.dev/v1alpha1", "kind": format!("{kind}List"), "metadata": metadata, "items": items,
        }))
    };
    if received.query.contains("watch=") {
        return Answer::Silence;
    }
    match received.path.rsplit('/').next().unwrap_or_default() {
        "bastionusers" => list("BastionUser", users()),
        "bastiontargets" => list("BastionTarget", targets()),
        _ => {
            let asked = &received.body["spec"]["resourceAttributes"];
            let review = match (asked["resource"].as_str(), asked["subresource"].as_str()) {
                (Some("bastiontargetgroups"), _) => rights.group,
                (_, Some(_)) => rights.login,
                _ => rights.target,
            };
            let mut answer = received.body.clone();
            answer["status"] = json!({ "allowed": matches!(review, Review::Yes) });
            if matches!(review, Review::Fails) { Answer::Status(500) } else { Answer::Object(answer) }
        }
    }
}

async fn directory(rights: Rights) -> (Directory, ScriptedApi) {
    let api = ScriptedApi::by(move |received| answer(received, rights));
    let (events, _) = EventSink::new(api.client(), "test", "pod-0", CancellationToken::new());
    (Directory::watch(api.client(), "bastion", &UnreadableReports::new(events), &Tasks::default()).await.unwrap(), api)
}

async fn grant(directory: &Directory, sign_in_name: &str) -> Result<Grant, Refusal> {
    let user = directory.active_user("alice").unwrap();
    let proof = Proof::KubernetesUser(user.subject().into());
    directory.grant(user, proof, KeyRestrictions::UNRESTRICTED, sign_in_name).await
}

/// The login of a grant, or the label of a refusal.
fn outcome(granted: &Result<Grant, Refusal>) -> &str {
    match granted {
        Ok(grant) => &grant.login,
        Err(refusal) => refusal.label(),
    }
}

#[rstest]
#[case::on_the_target(Rights { target: Review::Yes, ..NONE }, "alice+web-1", "root")]
#[case::on_the_login(Rights { login: Review::Yes, ..NONE }, "alice+deploy@web-1", "deploy")]
#[case::on_its_group(Rights { group: Review::Yes, ..NONE }, "alice+web-1", "root")]
#[case::on_nothing(NONE, "alice+web-1", "no_right")]
#[case::one_yes_is_enough(Rights { target: Review::Fails, login: Review::Fails, group: Review::Yes }, "alice+web-1", "root")]
#[case::a_failure_is_no_refusal(Rights { login: Review::Fails, ..NONE }, "alice+web-1", "rights_unknown")]
#[case::a_target_that_does_not_exist(Rights { target: Review::Yes, ..NONE }, "alice+db-1", "unknown_target")]
#[case::no_target(Rights { target: Review::Yes, ..NONE }, "alice", "no_target")]
#[case::a_login_that_the_target_lacks(Rights { target: Review::Yes, ..NONE }, "alice+admin@web-1", "login_not_allowed")]
#[case::logins_are_secret_without_the_right(NONE, "alice+admin@web-1", "no_right")]
#[tokio::test(start_paused = true)]
async fn a_right_on_the_target_its_login_or_its_group_grants(
    #[case] rights: Rights,
    #[case] sign_in_name: &str,
    #[case] expected: &str,
) {
    let (directory, _) = directory(rights).await;
    assert_eq!(outcome(&grant(&directory, sign_in_name).await), expected);
}

#[tokio::test]
async fn a_right_is_reviewed_once_within_ten_seconds_and_a_refusal_each_time() {
    for (rights, expected) in [(Rights { target: Review::Yes, ..NONE }, 3), (NONE, 6)] {
        let (directory, api) = directory(rights).await;
        for _ in 0..2 {
            let _ = grant(&directory, "alice+web-1").await;
        }
        let reviews = api.received().iter().filter(|it| it.path.ends_with("localsubjectaccessreviews")).count();
        assert_eq!(reviews, expected, "{rights:?}");
    }
}

#[rstest]
#[case::still_allowed(Rights { target: Review::Yes, ..NONE }, "root", None)]
#[case::withdrawn(NONE, "root", Some("no_right"))]
#[case::the_api_server_fails(Rights { target: Review::Fails, login: Review::Fails, group: Review::Fails }, "root", None)]
#[case::a_login_that_is_gone(Rights { target: Review::Yes, ..NONE }, "admin", Some("no_right"))]
#[tokio::test(start_paused = true)]
async fn a_running_session_ends_when_its_right_is_withdrawn_and_outlasts_an_outage(
    #[case] rights: Rights,
    #[case] login: &str,
    #[case] expected: Option<&str>,
) {
    let (allowed, _) = directory(Rights { target: Review::Yes, ..NONE }).await;
    let granted = Grant { login: login.to_owned(), ..grant(&allowed, "alice+web-1").await.unwrap() };
    let (directory, _) = directory(rights).await;
    assert_eq!(directory.check_right(&granted).await.err().map(|error| error.label()), expected);
}

#[rstest]
#[case::on_the_target(Rights { target: Review::Yes, ..NONE }, 1)]
#[case::on_its_group(Rights { group: Review::Yes, ..NONE }, 3)]
#[case::on_nothing(NONE, 3)]
#[tokio::test(start_paused = true)]
async fn a_running_session_is_reviewed_right_by_right_until_one_is_enough(
    #[case] rights: Rights,
    #[case] reviews: usize,
) {
    let (allowed, _) = directory(Rights { target: Review::Yes, ..NONE }).await;
    let granted = grant(&allowed, "alice+web-1").await.unwrap();
    let (directory, api) = directory(rights).await;
    let _ = directory.check_right(&granted).await;
    let asked = api.received().iter().filter(|it| it.path.ends_with("localsubjectaccessreviews")).count();
    assert_eq!(asked, reviews);
}

#[tokio::test(start_paused = true)]
async fn facts_are_checked_without_the_api_server() {
    let (directory, api) = directory(Rights { target: Review::Yes, ..NONE }).await;
    let granted = grant(&directory, "alice+web-1").await.unwrap();
    let asked = api.received().len();
    assert_eq!(directory.check_facts(&granted).err(), None);
    let gone = Grant { login: "admin".to_owned(), ..granted };
    assert_eq!(directory.check_facts(&gone).err(), Some(AccessError::LoginRemoved));
    assert_eq!(api.received().len(), asked);
}

#[rstest]
#[case::nothing_blocks_it("alice", "web-1", None)]
#[case::the_target("alice", "without-web", Some(WebTerminalBlocker::Target))]
#[case::a_restricted_key("restricted", "web-1", Some(WebTerminalBlocker::Keys))]
#[tokio::test(start_paused = true)]
async fn a_web_terminal_is_blocked_while_it_is_open_too(
    #[case] user: &str,
    #[case] target: &str,
    #[case] blocker: Option<WebTerminalBlocker>,
) {
    let (directory, _) = directory(Rights { target: Review::Yes, ..NONE }).await;
    let granted = Grant {
        user: directory.find_user(user).unwrap(),
        proof: Proof::KubernetesUser(format!("bastion:{user}").into()),
        restrictions: KeyRestrictions::UNRESTRICTED,
        target: directory.targets().into_iter().find(|it| it.name_any() == target).unwrap(),
        login: "root".to_owned(),
    };
    assert_eq!(directory.check_facts(&granted).err(), blocker.map(AccessError::WebTerminal));
    assert_eq!(Proof::Secrets.blocker(&granted.user, &granted.target), None, "an SSH client");
}

#[tokio::test(start_paused = true)]
async fn the_next_expiry_is_known() {
    let (directory, _) = directory(NONE).await;
    let [before, first, second] =
        ["2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2099-02-01T00:00:00Z"].map(|time| time.parse().unwrap());
    assert_eq!(directory.next_expiry(before), Some(first));
    assert_eq!(directory.next_expiry(first), Some(second));
    assert_eq!(directory.next_expiry(second), None);
    assert_eq!(directory.users_expired_within(before, first), ["contractor"]);
    assert_eq!(directory.users_expired_within(first, second), ["trainee"]);
    assert!(directory.users_expired_within(second, before).is_empty(), "after the clock was set back");
}

#[rstest]
#[case("alice", None)]
#[case("left", Some(AccessError::Disabled))]
#[case("guest", Some(AccessError::Expired))]
#[case("mallory", Some(AccessError::UnknownUser))]
#[tokio::test(start_paused = true)]
async fn a_user_may_sign_in_while_enabled_and_not_expired(#[case] name: &str, #[case] error: Option<AccessError>) {
    let (directory, _) = directory(NONE).await;
    assert_eq!(directory.active_user(name).err(), error);
}
