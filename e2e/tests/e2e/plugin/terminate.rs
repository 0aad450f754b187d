//! `kubectl bastion terminate`.

use bastion_operator::api::Reason;
use kube::ResourceExt;
use serde_json::Value;
use tokio::process::Command;

use super::Person;
use bastion_e2e::process::command;
use bastion_e2e::run::unique;
use bastion_e2e::{Bastion, Process, default_timeout};

#[tokio::test]
async fn sessions_end_by_name_and_each_outcome_is_told() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-session-terminator"]).await;
    let (mut alice, bob) = (bastion.open("alice").await, bastion.open("bob").await);
    let (of_alice, of_bob) = (alice.session.name_any(), bob.session.name_any());
    let named = format!("bastionsession.bastion.dev/{of_alice}");
    let text = ops.prints(&["terminate", &named, "--reason", "maintenance"]).await;
    assert!(text.starts_with(&format!("{of_alice}: Terminated/AdminTerminated after ")), "{text}");
    assert!(text.ends_with(": terminated by ops: maintenance\n"), "{text}");
    bastion.watch.ended(&alice.session, Reason::AdminTerminated).await;
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("session terminated by ops: maintenance"), "{outcome:?}");

    let outcome = ops.bastion(&["terminate", &of_alice, "no-such-session", &of_bob]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains(&format!("{of_alice}: had already ended: Terminated/")), "{outcome:?}");
    assert!(outcome.stdout.contains(&format!("{of_bob}: Terminated/AdminTerminated")), "{outcome:?}");
    assert!(outcome.stderr.contains("bastion: no-such-session: there is no such session"), "{outcome:?}");
    assert!(outcome.stderr.contains("bastion: 1 of 3 sessions could not be terminated"), "{outcome:?}");
    bastion.watch.ended(&bob.session, Reason::AdminTerminated).await;
}

#[tokio::test]
async fn what_a_filter_chooses_is_named_and_asked_about() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-session-terminator"]).await;
    let (one, two) = (bastion.open("alice").await, bastion.open("alice").await);
    let mut bob = bastion.open("bob").await;
    let outcome = ops.bastion(&["terminate", "--user", "alice"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    for session in [&one.session, &two.session] {
        assert!(outcome.stderr.contains(&session.name_any()), "{outcome:?}");
    }
    assert!(outcome.stderr.contains("confirm with --yes"), "{outcome:?}");
    assert!(!outcome.stderr.contains(&bob.session.name_any()), "{outcome:?}");

    let mut asked = on_terminal(&ops, &["terminate", "--user", "alice"]).await;
    asked.shows("Terminate these 2 sessions? [y/N] ").await;
    asked.say("n").await;
    let outcome = asked.finish(default_timeout()).await;
    assert!(outcome.code == Some(1) && outcome.stdout.contains("nothing is terminated"), "{outcome:?}");
    let mut asked = on_terminal(&ops, &["terminate", "--user", "alice"]).await;
    asked.shows("Terminate these 2 sessions? [y/N] ").await;
    asked.say("y").await;
    assert_eq!(asked.finish(default_timeout()).await.code, Some(0));
    bastion.watch.ended(&one.session, Reason::AdminTerminated).await;
    bastion.watch.ended(&two.session, Reason::AdminTerminated).await;
    bob.still_answers().await;

    let json = ops.prints(&["terminate", "--target", "web-1", "--yes", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["items"][0]["status"]["reason"], "AdminTerminated", "{json}");
    let outcome = ops.bastion(&["terminate", "--user", "alice", "--yes"]).await;
    assert!(outcome.code == Some(0) && outcome.stderr.contains("no Active session matches"), "{outcome:?}");
}

#[tokio::test]
async fn an_end_that_does_not_come_is_told() {
    let bastion = Bastion::up().await;
    let alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-session-terminator"]).await;
    bastion.gateway.process.freeze().await;
    assert_eq!(ops.prints(&["terminate", &name, "--no-wait"]).await, format!("{name}: ops requested its end\n"));
    ops.is_told(&["terminate", &name, "--timeout", "1"], &format!("{name}: has not ended within 1s")).await;
    let other = Person::new(&bastion.namespace, "other", &["bastion-session-terminator"]).await;
    let text = other.prints(&["terminate", &name, "--no-wait"]).await;
    assert_eq!(text, format!("{name}: ops requested its end\n"), "the first who asks is who asks");
    bastion.gateway.process.thaw();
}

/// Runs it on a terminal.
async fn on_terminal(person: &Person<'_>, arguments: &[&str]) -> Process {
    let inner = person.command(arguments).await;
    let words = std::iter::once(inner.as_std().get_program()).chain(inner.as_std().get_args());
    let line = words.map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ");
    let mut outer: Command = command("script");
    outer.args(["-qec", &line, "/dev/null"]);
    for (name, value) in inner.as_std().get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    Process::start(person.namespace.dir.join(format!("script-{}", unique())), outer).await
}
