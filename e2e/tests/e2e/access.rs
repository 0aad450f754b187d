//! Sessions of users who lose their access.

use std::time::Duration;

use bastion_operator::api::{BastionTarget, BastionUser, Phase, Reason};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use bastion_e2e::run::Run;
use bastion_e2e::{Bastion, Open, PROMPT_BOUND};

/// Within this time a right that RBAC no longer gives ends the sessions that rest on it.
const REVOKED: Duration = Duration::from_mins(1);
/// How far in the future a user expires.
const EXPIRY: Duration = Duration::from_secs(4);

async fn patch_user(bastion: &Bastion, name: &str, spec: Value) {
    let users: Api<BastionUser> = bastion.namespace.api();
    let patch = Patch::Merge(json!({"spec": spec}));
    users.patch(name, &PatchParams::default(), &patch).await.expect("a changed user");
}

/// Waits until alice's session has ended as revoked, which she can read, and checks that bob's goes on.
async fn assert_revoked(bastion: &Bastion, alice: Open, mut bob: Open, within: Duration) {
    let Open { mut ssh, session } = alice;
    bastion.watch.ended_within(within, &session, Reason::AccessRevoked).await;
    let outcome = ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("bastion: "), "the user reads why: {outcome:?}");
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}

#[tokio::test]
async fn disabling_a_user_ends_their_sessions() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    patch_user(&bastion, "alice", json!({"disabled": true})).await;
    assert_revoked(&bastion, alice, bob, PROMPT_BOUND).await;
}

#[tokio::test]
async fn the_sessions_of_a_user_end_when_the_user_expires() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    let expires = Timestamp::now() + EXPIRY;
    patch_user(&bastion, "alice", json!({"expires": expires})).await;
    assert_revoked(&bastion, alice, bob, EXPIRY + PROMPT_BOUND).await;
    assert!(Timestamp::now() >= expires, "not before");
}

#[tokio::test]
async fn taking_a_users_key_away_ends_the_sessions_signed_in_with_it() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    patch_user(&bastion, "alice", json!({"publicKeys": [Run::get().await.wrong_key.public]})).await;
    assert_revoked(&bastion, alice, bob, PROMPT_BOUND).await;
}

#[tokio::test]
async fn deleting_a_user_ends_their_sessions() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    bastion.namespace.api::<BastionUser>().delete("alice", &DeleteParams::default()).await.expect("a user");
    assert_revoked(&bastion, alice, bob, PROMPT_BOUND).await;
}

#[tokio::test]
async fn deleting_a_target_ends_the_sessions_on_it() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.user("bob").await;
        namespace.target("web-2", sshd).await;
    })
    .await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open_on(&bastion.gateway, "bob", "web-2"));
    bastion.namespace.api::<BastionTarget>().delete("web-1", &DeleteParams::default()).await.expect("a target");
    assert_revoked(&bastion, alice, bob, PROMPT_BOUND).await;
}

#[tokio::test]
async fn withdrawing_the_right_to_connect_ends_the_sessions_that_rest_on_it() {
    let bastion = Bastion::with(async |namespace, _| {
        namespace.user("bob").await;
        namespace.user_with("alice", json!({"groups": []})).await;
    })
    .await;
    let grant = bastion.namespace.grant("bastion:alice", "bastiontargets", &["web-1"]).await;
    let (alice, bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    bastion.namespace.withdraw(&grant).await;
    assert_revoked(&bastion, alice, bob, REVOKED).await;
}
