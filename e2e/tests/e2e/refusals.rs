//! Who does not get in, or not to where they want, and what they read.

use bastion_operator::api::{BastionSession, Reason};
use kube::ResourceExt;
use nix::unistd::Uid;
use serde_json::json;

use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::run::{Key, Run, unique};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, Outcome, Sshd};

const NOT_SIGNED_IN: &str = "Permission denied (publickey).";

/// Checks that `ssh` failed with these words, and that no session came of it.
async fn assert_turned_away(bastion: &Bastion, outcome: &Outcome, words: &str) {
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    assert!(outcome.stderr.contains(words), "the user should read {words:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "nothing of the target is shown");
    assert_eq!(bastion.session_names().await, Vec::<String>::new(), "no session came of it");
}

fn no_such_target(name: &str) -> String {
    format!("bastion: there is no target \"{name}\" that you may use")
}

async fn run(bastion: &Bastion, sign_in_name: &str) -> Outcome {
    bastion.ssh(sign_in_name).await.command("echo through").run().await
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let bastion = Bastion::up().await;
    let wrong = &Run::get().await.wrong_key.path;
    let outcome = bastion.ssh("alice:web-1").await.key(wrong).command("true").run().await;
    assert_turned_away(&bastion, &outcome, NOT_SIGNED_IN).await;
}

#[tokio::test]
async fn users_who_are_unknown_disabled_or_expired_are_refused_alike() {
    let bastion = Bastion::with(async |namespace, _| {
        namespace.user_with("disabled", json!({"groups": [PEOPLE], "disabled": true})).await;
        namespace.user_with("expired", json!({"groups": [PEOPLE], "expires": "2026-01-01T00:00:00Z"})).await;
        namespace.user_with("keyless", json!({"groups": [PEOPLE], "publicKeys": []})).await;
    })
    .await;
    for user in ["unknown", "disabled", "expired", "keyless"] {
        let outcome = run(&bastion, &format!("{user}:web-1")).await;
        assert_turned_away(&bastion, &outcome, NOT_SIGNED_IN).await;
    }
}

#[tokio::test]
async fn an_unknown_target_and_one_without_the_right_are_refused_in_the_same_words() {
    let bastion = Bastion::with(async |namespace, _| namespace.user_with("stranger", json!({})).await).await;
    let unknown = run(&bastion, "alice:web-9").await;
    assert_turned_away(&bastion, &unknown, &no_such_target("web-9")).await;
    let forbidden = run(&bastion, "stranger:web-1").await;
    assert_turned_away(&bastion, &forbidden, &no_such_target("web-1")).await;
    let told = |outcome: &Outcome| outcome.stderr.replace("web-9", "web-1");
    assert_eq!(told(&unknown), told(&forbidden), "a refusal does not show which targets exist");
}

/// A bastion with two targets and a user without groups, to whom `resource` is granted.
async fn with_grant(resource: &str, names: &[&str]) -> Bastion {
    Bastion::with(async |namespace: &Namespace, sshd: &Sshd| {
        namespace.target_with("web-1", sshd, json!({"groups": ["web"], "logins": [sshd.login, "nobody"]})).await;
        namespace.target_with("db-1", sshd, json!({"groups": ["db"]})).await;
        namespace.user_with("dave", json!({})).await;
        namespace.grant("bastion:dave", resource, names).await;
    })
    .await
}

async fn assert_gets_in(bastion: &Bastion, sign_in_name: &str) {
    let outcome = run(bastion, sign_in_name).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "as {sign_in_name}: {outcome:?}");
}

async fn assert_kept_out(bastion: &Bastion, sign_in_name: &str, words: &str) {
    let outcome = run(bastion, sign_in_name).await;
    assert_eq!(outcome.code, Some(255), "as {sign_in_name}: {outcome:?}");
    assert!(outcome.stderr.contains(words), "as {sign_in_name}: {outcome:?}");
}

#[tokio::test]
async fn connect_can_be_granted_on_one_target() {
    let bastion = with_grant("bastiontargets", &["web-1"]).await;
    assert_gets_in(&bastion, "dave:web-1").await;
    assert_kept_out(&bastion, "dave:db-1", &no_such_target("db-1")).await;
}

#[tokio::test]
async fn connect_can_be_granted_on_one_login() {
    let login = Sshd::shared().await.login.clone();
    let bastion = with_grant(&format!("bastiontargets/{login}"), &[]).await;
    assert_gets_in(&bastion, &format!("dave:{login}@web-1")).await;
    assert_gets_in(&bastion, &format!("dave:{login}@db-1")).await;
    assert_kept_out(&bastion, "dave:nobody@web-1", "bastion: ").await;
}

#[tokio::test]
async fn connect_can_be_granted_on_a_group_of_targets() {
    let bastion = with_grant("bastiontargetgroups", &["web"]).await;
    assert_gets_in(&bastion, "dave:web-1").await;
    assert_kept_out(&bastion, "dave:db-1", &no_such_target("db-1")).await;
}

#[tokio::test]
async fn a_login_that_the_target_does_not_have_is_refused() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"logins": [sshd.login, "deploy"]})).await;
    })
    .await;
    let outcome = run(&bastion, "alice:postgres@web-1").await;
    let login = &bastion.sshd.login;
    let words = format!(r#"bastion: login "postgres" is not among the logins of target "web-1": {login}, deploy"#);
    assert_turned_away(&bastion, &outcome, &words).await;
}

#[tokio::test]
async fn a_malformed_sign_in_name_is_explained() {
    let bastion = Bastion::up().await;
    for name in ["alice", "alice:", "alice:@web-1", "alice:root@", "alice:root@web-1@more", "alice:a:b@web-1"] {
        let outcome = run(&bastion, name).await;
        assert_turned_away(&bastion, &outcome, "bastion: ").await;
    }
}

/// The end of the only session, of which the user read these words.
async fn assert_unreachable(bastion: &Bastion, outcome: &Outcome, words: &str) {
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    assert!(outcome.stderr.contains(words), "the user should read {words:?}: {outcome:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::TargetUnreachable).await;
    let name = session.name_any();
    let ended = bastion.namespace.api::<BastionSession>().get(&name).await.expect("the session");
    let message = ended.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains("web-1"), "the message of {name} names the target: {message:?}");
}

#[tokio::test]
async fn a_target_that_is_down_ends_the_session_as_unreachable() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"port": free_port().await})).await;
    })
    .await;
    let outcome = run(&bastion, "alice:web-1").await;
    assert_unreachable(&bastion, &outcome, r#"bastion: target "web-1" cannot be reached"#).await;
}

#[tokio::test]
async fn a_target_with_another_host_key_is_not_signed_in_to() {
    let another = Key::make(Run::get().await.dir.join(format!("another-{}", unique())));
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"hostKeys": [another.public]})).await;
    })
    .await;
    let outcome = run(&bastion, "alice:web-1").await;
    let words = r#"bastion: the host key of target "web-1" is not one of its spec.hostKeys; "#;
    assert_unreachable(&bastion, &outcome, words).await;
}

#[tokio::test]
async fn a_target_that_does_not_take_the_credentials_ends_the_session_as_unreachable() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"credentials": {"privateKey": {"name": "missing"}}})).await;
    })
    .await;
    let outcome = run(&bastion, "alice:web-1").await;
    assert_unreachable(&bastion, &outcome, r#"bastion: the credentials of target "web-1" cannot be used"#).await;
    assert!(!outcome.stderr.contains("missing"), "users do not learn the names of Secrets: {outcome:?}");
}

#[tokio::test]
async fn what_a_target_does_not_allow_is_refused() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"allow": {"shell": true, "exec": false, "sftp": false}})).await;
        namespace.target_with("web-2", sshd, json!({"allow": {"shell": false, "exec": true, "sftp": true}})).await;
    })
    .await;
    let command = run(&bastion, "alice:web-1").await;
    assert!(command.code != Some(0) && command.stdout.is_empty(), "a command on web-1: {command:?}");
    let sftp = bastion.ssh("alice:web-1").await.run_other("sftp", &["127.0.0.1"]).await;
    assert_ne!(sftp.code, Some(0), "sftp on web-1: {sftp:?}");
    let mut shell = bastion.ssh("alice:web-2").await.start().await;
    shell.close_input();
    let shell = shell.finish(bastion_e2e::default_timeout()).await;
    assert_ne!(shell.code, Some(0), "a shell on web-2: {shell:?}");
}

#[tokio::test]
async fn a_forward_is_refused() {
    let bastion = Bastion::up().await;
    let port = bastion.sshd.port;
    let forwarded = bastion.ssh("alice:web-1").await.option("-W").option(&format!("127.0.0.1:{port}")).run().await;
    assert!(forwarded.code != Some(0) && forwarded.stdout.is_empty(), "a direct-tcpip channel: {forwarded:?}");
    let remote = bastion.ssh("alice:web-1").await.set("ExitOnForwardFailure=yes").option("-R").option("0:127.0.0.1:1");
    let remote = remote.command("echo through").run().await;
    assert!(remote.code != Some(0) && remote.stdout.is_empty(), "a remote forward: {remote:?}");
}

#[tokio::test]
async fn the_tests_sign_in_as_the_user_who_runs_them() {
    let bastion = Bastion::up().await;
    let outcome = bastion.ssh("alice:web-1").await.command("id -u").run().await;
    assert_eq!(outcome.stdout.trim(), Uid::effective().to_string(), "{outcome:?}");
}
