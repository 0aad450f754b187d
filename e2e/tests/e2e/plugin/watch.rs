//! `kubectl bastion watch`.

use bastion_operator::api::Reason;
use kube::ResourceExt;
use kube::config::Kubeconfig;
use serde_json::Value;

use super::Person;
use bastion_e2e::{Bastion, Relay, default_timeout};

#[tokio::test]
async fn starts_and_ends_are_lines_and_an_interruption_loses_none() {
    let bastion = Bastion::with_users(&["bob", "carol"]).await;
    let relay = Relay::to(bastion.namespace.control_plane.api_address()).await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-viewer"]).await;
    let mut kubeconfig = Kubeconfig::read_from(&ops.kubeconfig).expect("a kubeconfig");
    kubeconfig.clusters[0].cluster.as_mut().expect("a cluster").server = Some(format!("https://{}", relay.address));
    std::fs::write(&ops.kubeconfig, serde_saphyr::to_string(&kubeconfig).expect("YAML")).expect("a kubeconfig");

    let mut alice = bastion.open("alice").await;
    let mut lines = ops.start(&["watch"]).await;
    let name = |open: &bastion_e2e::Open| open.session.name_any();
    lines.shows(&name(&alice)).await;
    let mut bob = bastion.open("bob").await;
    lines.shows(&name(&bob)).await;
    relay.cut();
    alice.ssh.say("exit 4").await;
    alice.ssh.finish(default_timeout()).await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    let carol = bastion.open("carol").await;
    relay.break_present();
    relay.restore();
    lines.shows(&name(&carol)).await;
    bob.ssh.say("exit").await;
    lines.finds("the end of bob's", |it| it.stdout().contains("Ended     bob ").then_some(())).await;

    let text = lines.stdout();
    let told: Vec<[&str; 3]> = text
        .lines()
        .skip(1)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [words[1], words[2], words[6]]
        })
        .collect();
    assert!(text.starts_with("TIME  ") && !text.contains('\u{1b}'), "{text:?}");
    for line in
        [["Online", "alice", "-"], ["Started", "bob", "-"], ["Ended", "alice", "UserExit"], ["Started", "carol", "-"]]
    {
        assert_eq!(told.iter().filter(|it| **it == line).count(), 1, "{line:?} once in {text}");
    }
    assert!(text.contains("the command ended with exit status 4"), "{text}");
}

#[tokio::test]
async fn programs_read_objects() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let alice = bastion.open("alice").await;
    bastion.open("bob").await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-viewer"]).await;
    let mut lines = ops.start(&["watch", "-o", "json", "--user", "alice"]).await;
    lines.shows("\n").await;
    let event: Value = serde_json::from_str(lines.stdout().lines().next().expect("a line")).expect("JSON");
    assert_eq!(event["type"], "Online");
    assert_eq!(event["object"]["metadata"]["name"], alice.session.name_any());
}

#[tokio::test]
async fn a_missing_right_ends_it() {
    let bastion = Bastion::up().await;
    let nobody = Person::new(&bastion.namespace, "nobody", &[]).await;
    let words = format!("you may not list bastionsessions in namespace {}", bastion.namespace.name);
    nobody.is_told(&["watch"], &words).await;
}
