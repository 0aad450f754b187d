//! A web terminal for somebody whose keys are restricted.

use std::time::Duration;

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, BastionUser, Reason};
use kube::api::{Api, ListParams, Patch, PatchParams};
use rstest::rstest;
use serde_json::{Value, json};

use bastion_e2e::control_plane::PERSON;
use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::run::Run;
use bastion_e2e::{Bastion, Console, ConsoleApi, TerminalPage};

/// What a gateway knows itself ends sessions within this time. It is a promise, so it does not grow.
const KNOWN_FACTS: Duration = Duration::from_secs(5);

/// What is changed while a terminal is open.
#[derive(Clone, Copy)]
enum Change {
    OfTheTarget,
    OfTheKeys,
}

fn token(namespace: &Namespace) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", namespace.control_plane.person_token()))
}

/// A bastion with a person whose keys have this before them, and a target that allows this.
async fn bastion(options: &str, allow: Value) -> Bastion {
    let key = format!("{options}{}", Run::get().await.user_key.public);
    Bastion::with(async |namespace, sshd| {
        namespace.user_with("person", json!({"subject": PERSON, "groups": [PEOPLE], "publicKeys": [key]})).await;
        namespace.target_with("web-2", sshd, json!({"allow": allow})).await;
    })
    .await
}

#[rstest]
#[case::command(r#"cert-authority,command="id" "#, json!({}), "your keys have restrictions that a web terminal cannot enforce")]
#[case::no_pty("cert-authority,no-pty ", json!({}), "your keys have restrictions that a web terminal cannot enforce")]
#[case::verify_required("cert-authority,verify-required ", json!({}), "your keys have restrictions that a web terminal cannot enforce")]
#[case::of_the_target("", json!({"web": false}), "this target allows no web terminals (spec.allow.web)")]
#[tokio::test]
async fn restrictions_of_keys_hold_without_a_key(#[case] options: &str, #[case] allow: Value, #[case] words: &str) {
    let bastion = bastion(options, allow).await;
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-2", &[token(&bastion.namespace)]).await;
    let end = page.wait_for("end").await;
    assert!(end.to_string().contains(words), "{end}");
    let sessions = bastion.namespace.api::<BastionSession>().list(&ListParams::default()).await.expect("sessions");
    assert!(sessions.items.is_empty(), "{:?}", sessions.items);
    let refused = "bastion_sign_ins_refused_total{reason=\"no_web_terminal\"}";
    assert_eq!(bastion.gateway.metric(refused).await, 1);

    // The console's page says why, in place of a button.
    let console = Console::start(&bastion.namespace).await;
    let token = bastion.namespace.control_plane.person_token();
    let person = ConsoleApi::new(&console, Some(&token)).await;
    let answer = person.get("/api/v1/targets").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let targets = answer.body["targets"].as_array().expect("targets").clone();
    let target = targets.iter().find(|it| it["name"] == "web-2").expect("the target");
    assert!(target["web_terminal_blocker"].as_str().is_some_and(|text| text.contains(words)), "{target}");
    assert_eq!(target["may_connect"], true, "with an SSH client");
}

#[rstest]
#[case::unrestricted("", json!({}))]
#[case::permitted_by_the_target(r#"cert-authority,command="id" "#, json!({"web": true}))]
#[tokio::test]
async fn others_have_their_terminal(#[case] options: &str, #[case] allow: Value) {
    let bastion = bastion(options, allow).await;
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-2", &[token(&bastion.namespace)]).await;
    page.wait_for("session").await;
}

/// What is changed while a terminal is open counts as if it were opened now.
#[rstest]
#[case::by_the_target(Change::OfTheTarget, "this target allows no web terminals (spec.allow.web)")]
#[case::by_a_restricted_key(Change::OfTheKeys, "your keys have restrictions that a web terminal cannot enforce")]
#[tokio::test]
async fn a_terminal_ends_when_the_user_may_no_longer_have_one(#[case] change: Change, #[case] words: &str) {
    let bastion = bastion("", json!({})).await;
    let (namespace, admin) = (&bastion.namespace, bastion.namespace.admin());
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-2", &[token(namespace)]).await;
    page.wait_for("session").await;
    let session = bastion.watch.started("person").await;
    let mut over_ssh = bastion.open_on(&bastion.gateway, "person", "web-2").await;
    let key = Run::get().await.user_key.public.clone();
    match change {
        Change::OfTheTarget => {
            let patch = json!({"spec": {"allow": {"web": false}}});
            drop(namespace.patch_target(&admin, "web-2", patch).await.expect("a changed target"));
        }
        Change::OfTheKeys => {
            let patch = Patch::Merge(json!({"spec": {"publicKeys": [key, format!("cert-authority,no-pty {key}")]}}));
            let users: Api<BastionUser> = namespace.api();
            users.patch("person", &PatchParams::default(), &patch).await.expect("a changed user");
        }
    }
    let ended = bastion.watch.ended_within(KNOWN_FACTS, &session, Reason::AccessRevoked).await;
    let message = ended.session.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains(words), "{message}");
    let end = page.wait_for("end").await;
    assert!(end.to_string().contains(words), "{end}");
    // The session of an SSH client goes on.
    over_ssh.still_answers().await;
}
