//! What is beside a shell in the page, and who looks on.

use std::fs;

use bastion_operator::api::Reason;
use kube::ResourceExt;

use super::{act, with_terminals};
use crate::observe::at_a_terminal;
use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::weight;
use bastion_e2e::{Bastion, Console};

#[tokio::test]
async fn files_go_to_a_target_and_come_from_it_whole_beside_the_shell() {
    let _held = weight::take(1).await;
    let (bastion, console) = with_terminals().await;
    let namespace = &bastion.namespace;
    let folder = namespace.dir.join("files");
    fs::create_dir_all(folder.join("inner")).expect("a folder");
    let content: Vec<u8> = (0..5_000_003).map(|_| rand::random()).collect();
    fs::write(folder.join("big file"), &content).expect("a file");
    let mut scenario =
        BrowserScenario::start("files", namespace, &console, &namespace.control_plane.person_token()).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "folder");
    scenario.answer(&folder.to_string_lossy()).await;
    for _ in 0..2 {
        assert_eq!(act(&mut scenario, &bastion, &mut open).await, "same");
        let same = fs::read(folder.join("inner/copy")).expect("a file") == content;
        scenario.answer(if same { "same" } else { "other" }).await;
    }
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
}

#[tokio::test]
async fn an_observer_watches_a_session_in_the_page_and_its_user_is_told() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let roles = ["bastion-viewer", "bastion-observer"];
    let (observer, token) = bastion.namespace.service_account_with_roles("observer", &roles).await;
    let (mut ssh, session) = at_a_terminal(&bastion).await;
    let mut scenario = BrowserScenario::start("follow", &bastion.namespace, &console, &token).await;
    assert_eq!(scenario.next().await, "terminal");
    scenario.answer(&session.name_any()).await;
    assert_eq!(scenario.next().await, "say meanwhile");
    let told = format!("{observer} is watching this session");
    ssh.finds("that an observer watches", |it| it.stderr().contains(&told).then_some(())).await;
    ssh.say("echo mean''while").await;
    scenario.answer("").await;
    assert_eq!(scenario.next().await, "exit");
    ssh.say("exit").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    scenario.answer("").await;
    scenario.finish().await;
}

#[tokio::test]
async fn who_may_not_follow_is_told_what_they_lack() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let (_, token) = bastion.namespace.service_account_with_roles("viewer", &["bastion-viewer"]).await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let mut scenario = BrowserScenario::start("unobserved", &bastion.namespace, &console, &token).await;
    assert_eq!(scenario.next().await, "terminal");
    scenario.answer(&session.name_any()).await;
    scenario.finish().await;
}
