//! `kubectl bastion sessions`.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::Person;
use bastion_e2e::objects::{bastion_session, ended_status, merge};
use bastion_e2e::refusal::assert_let_through;
use bastion_e2e::{Bastion, ControlPlane, Namespace};

#[tokio::test]
async fn sessions_are_listed_and_chosen() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-viewer"]).await;
    let outcome = ops.bastion(&["sessions"]).await;
    let words = format!("bastion: there are no Active sessions in namespace {}\n", bastion.namespace.name);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr), (Some(0), "", words));

    let alice = bastion.open("alice").await;
    let mut bob = bastion.open("bob").await;
    let (of_alice, of_bob) = (alice.session.name_any(), bob.session.name_any());
    let text = ops.prints(&["sessions"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines.len() == 3, "{text}");
    assert!(lines[1].starts_with(&of_alice) && lines[1].contains(" Active   -        "), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour in a file: {text:?}");
    assert_eq!(ops.prints(&["sessions", "--user", "bob", "--no-headers"]).await.lines().count(), 1);
    let names = |name: &str| format!("bastionsession.bastion.dev/{name}\n");
    assert_eq!(ops.prints(&["sessions", "--user", "bob", "-o", "name"]).await, names(&of_bob));
    assert_eq!(ops.prints(&["sessions", "--target", "web-2", "-o", "name"]).await, "");
    let both = names(&of_alice) + &names(&of_bob);
    assert_eq!(ops.prints(&["sessions", "--gateway", "gateway-0", "-o", "name"]).await, both);
    assert_eq!(ops.prints(&["sessions", "--gateway", "gateway-1", "-o", "name"]).await, "");

    bob.ssh.say("exit 3").await;
    bob.ssh.finish(bastion_e2e::default_timeout()).await;
    bastion.watch.ended(&bob.session, bastion_operator::api::Reason::UserExit).await;
    assert_eq!(ops.prints(&["sessions", "-o", "name"]).await, names(&of_alice));
    assert_eq!(ops.prints(&["sessions", "--phase", "closed", "-o", "name"]).await, names(&of_bob));
    let json: Value = serde_json::from_str(&ops.prints(&["sessions", "--all", "-o", "json"]).await).expect("JSON");
    assert_eq!(json["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["items"][1]["status"]["exitCode"], 3);
    let wide = ops.prints(&["sessions", "--all", "-o", "wide"]).await;
    assert!(wide.contains("the command ended with exit status 3"), "{wide}");
}

#[tokio::test]
async fn all_namespaces_take_a_right_in_all_of_them() {
    let bastion = Bastion::up().await;
    let alice = bastion.open("alice").await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-viewer"]).await;
    ops.is_told(&["sessions", "-A"], "you may not list bastionsessions in all namespaces").await;
    let admin = Person { namespace: &bastion.namespace, kubeconfig: bastion.namespace.control_plane.kubeconfig() };
    let text = admin.prints(&["sessions", "-A"]).await;
    let line = text.lines().find(|line| line.contains(&alice.session.name_any())).expect("a line about it");
    assert!(text.starts_with("NAMESPACE ") && line.starts_with(&bastion.namespace.name), "{text}");
}

/// On schemas without rules, which stand for an older or a newer version.
#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_what_was_written_steers_no_terminal() {
    let namespace = Namespace::on(ControlPlane::lax().await).await;
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    let mut bad = bastion_session("bad", "gateway-0");
    bad["spec"]["startTime"] = json!("2026-01-01T10:00:00.000000+99:00");
    assert_let_through("a session", namespace.create_as(&gateway, bad).await);
    assert_let_through("a session", namespace.create_as(&gateway, bastion_session("good", "gateway-0")).await);
    let mut status = ended_status();
    merge(&mut status, json!({"message": "bye \u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}2J\nforged"}));
    assert_let_through("an end", namespace.patch_status(&gateway, "good", json!({"status": status})).await);

    let ops = Person::new(&namespace, "ops", &["bastion-viewer"]).await;
    let outcome = ops.bastion(&["sessions", "--all", "-o", "wide"]).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(outcome.code == Some(0) && lines.len() == 2, "{outcome:?}");
    assert!(lines[1].starts_with("good ") && lines[1].ends_with("bye ]52;c;eA==[2J2J forged"), "{outcome:?}");
    assert!(!outcome.stdout.chars().any(|c| c.is_control() && c != '\n'), "{outcome:?}");
    for format in ["json", "yaml"] {
        let text = ops.prints(&["sessions", "--all", "-o", format]).await;
        assert!(!text.chars().any(|c| c.is_control() && c != '\n') && text.to_lowercase().contains("9b2j"), "{text:?}");
    }
    let words = format!(
        "bastion: BastionSession bad in namespace {} cannot be read and is left out: spec.startTime: ",
        namespace.name
    );
    assert!(outcome.stderr.starts_with(&words), "{outcome:?}");
}
