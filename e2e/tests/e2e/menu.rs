//! The menu of users who name no target, through a real `ssh` in a real terminal.

use std::num::NonZeroU16;

use bastion_operator::api::Reason;
use serde_json::json;
use tokio::process::Command;

use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{Bastion, Namespace, PROMPT_BOUND, Process, Sshd, default_timeout, eventually};

const ROWS: u16 = 12;
const COLUMNS: u16 = 70;

/// What a terminal shows after all that `ssh` has written to it.
fn terminal(ssh: &Process, rows: u16, columns: u16) -> vt100::Parser {
    let cells = |count| NonZeroU16::new(count).expect("some");
    let mut terminal = vt100::Parser::new(cells(rows), cells(columns), 0);
    terminal.process(ssh.stdout().as_bytes());
    terminal
}

fn rows(ssh: &Process) -> Vec<String> {
    terminal(ssh, ROWS, COLUMNS).screen().rows(0, COLUMNS).map(|row| row.trim_end().to_owned()).collect()
}

/// The targets that the menu shows, when it shows them.
fn targets(ssh: &Process) -> Option<Vec<String>> {
    let rows = rows(ssh);
    let shown = rows.get(3..ROWS as usize - 1)?.iter().filter(|row| !row.is_empty());
    let names: Vec<String> = shown.filter_map(|row| Some(row.get(2..)?.split("  ").next()?.to_owned())).collect();
    (rows[1].starts_with("Search: ") && rows[1].ends_with(|c: char| c.is_ascii_digit())).then_some(names)
}

/// Starts `ssh` in a terminal, and waits for the menu and the targets in it.
async fn menu_of(ssh: Ssh) -> (Process, Vec<String>) {
    let mut ssh = ssh.start_in_terminal(ROWS, COLUMNS).await;
    let targets = ssh.finds("the menu", targets).await;
    (ssh, targets)
}

/// A bastion with two targets more, one of which is no more than a forwarder.
async fn with_targets() -> Bastion {
    Bastion::with(async |namespace: &Namespace, sshd: &Sshd| {
        let spec = json!({"description": "订单数据库", "groups": ["db"], "logins": [sshd.login, "nobody"]});
        namespace.target_with("db-1", sshd, spec).await;
        namespace.target_with("jump-1", sshd, json!({"allow": {"shell": false, "localForward": true}})).await;
    })
    .await
}

#[tokio::test]
async fn a_target_is_chosen_and_the_session_is_as_if_it_had_been_named() {
    let bastion = with_targets().await;
    let ssh = bastion.ssh("alice").await.set("SetEnv=LANG=en_GB.UTF-8");
    let (mut ssh, targets) = menu_of(ssh).await;
    assert_eq!(targets, ["db-1", "web-1"], "what has no shell is not there to choose");
    assert!(rows(&ssh)[3].contains("订单数据库 [db]"), "{:?}", rows(&ssh));
    assert_eq!(bastion.session_names().await, Vec::<String>::new(), "nobody is online who is choosing");

    let terminal_name = ssh.stdout().lines().next().unwrap_or_default().trim().to_owned();
    let stty = Command::new("stty").args(["-F", &terminal_name, "rows", "9", "cols", "50"]).status().await;
    assert!(stty.expect("stty runs").success(), "stty changes the size of {terminal_name}");
    ssh.finds("the menu in another size", |it| it.stdout().contains("\u{1b}[9;1H\u{1b}[K").then_some(())).await;

    ssh.type_in("web\r").await;
    let session = bastion.watch.started("alice").await;
    assert_eq!((session.spec.target.as_str(), &session.spec.login), ("web-1", &bastion.sshd.login));
    ssh.shows("bastion: connecting to web-1 as ").await;
    ssh.say("stty size; echo lang=$LANG").await;
    ssh.shows("9 50").await;
    ssh.shows("lang=en_GB.UTF-8").await;
    assert!(!terminal(&ssh, 9, 50).screen().alternate_screen(), "the target has the screen as it was");
    ssh.say("exit 3").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3));
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(3));
}

#[tokio::test]
async fn a_login_is_chosen_where_there_are_several() {
    let bastion = with_targets().await;
    let (mut ssh, _) = menu_of(bastion.ssh("alice").await).await;
    ssh.type_in("订单\r").await;
    ssh.finds("the logins", |it| rows(it)[0].contains("choose a login on db-1").then_some(())).await;
    let login = bastion.sshd.login.clone();
    assert_eq!(rows(&ssh)[3..5], [format!("> {login}"), "  nobody".to_owned()]);
    // What is typed behind the choice is for the target.
    ssh.type_in("\recho answer $((40 + 2))\n").await;
    ssh.shows("answer 42").await;
    let session = bastion.watch.started("alice").await;
    assert_eq!((session.spec.target.as_str(), session.spec.login), ("db-1", login));
}

#[tokio::test]
async fn leaving_opens_no_session() {
    let bastion = Bastion::up().await;
    for keys in ["\u{1b}", "\u{3}", "\u{4}"] {
        let (mut ssh, _) = menu_of(bastion.ssh("alice").await).await;
        ssh.type_in(keys).await;
        let outcome = ssh.finish(PROMPT_BOUND).await;
        assert_eq!(outcome.code, Some(130), "after {keys:?}: {outcome:?}");
        assert!(!outcome.stdout.contains("bastion: "), "{outcome:?}");
    }
    assert_eq!(bastion.session_names().await, Vec::<String>::new());
}

#[tokio::test]
async fn only_what_was_granted_is_shown() {
    let login = Sshd::shared().await.login.clone();
    let bastion = Bastion::with(async |namespace: &Namespace, sshd: &Sshd| {
        let logins = json!(["nobody", sshd.login, "deploy"]);
        for n in 10..50 {
            namespace.target_with(&format!("app-{n}"), sshd, json!({"groups": ["apps"], "logins": logins})).await;
        }
        namespace.target_with("db-1", sshd, json!({"groups": ["db"], "logins": logins})).await;
        for user in ["by-name", "by-group", "by-login"] {
            namespace.user_with(user, json!({})).await;
        }
        namespace.grant("bastion:by-name", "bastiontargets", &["app-17", "web-1"]).await;
        namespace.grant("bastion:by-group", "bastiontargetgroups", &["db"]).await;
        namespace.grant("bastion:by-login", &format!("bastiontargets/{}", sshd.login), &["app-20", "db-1"]).await;
    })
    .await;
    let menu = async |user: &str| menu_of(bastion.ssh(user).await).await;
    let (all, by_name, by_group, by_login) =
        tokio::join!(menu("alice"), menu("by-name"), menu("by-group"), menu("by-login"));
    assert!(rows(&all.0)[1].ends_with("42/42"), "{:?}", rows(&all.0));
    assert_eq!(by_name.1, ["app-17", "web-1"]);
    assert_eq!(by_group.1, ["db-1"]);
    let (mut ssh, targets) = by_login;
    assert_eq!(targets, ["app-20", "db-1"]);
    assert!(rows(&ssh)[3].contains(&format!("app-20  {login}  [apps]")), "one login of three: {:?}", rows(&ssh));
    ssh.type_in("\r").await;
    let session = bastion.watch.started("by-login").await;
    assert_eq!((session.spec.target.as_str(), session.spec.login), ("app-20", login));
}

#[tokio::test]
async fn a_right_that_was_withdrawn_meanwhile_is_refused_in_the_menu() {
    let bastion = Bastion::with(async |namespace, _| namespace.user_with("dave", json!({})).await).await;
    let grant = bastion.namespace.grant("bastion:dave", "bastiontargets", &["web-1"]).await;
    let (mut ssh, targets) = menu_of(bastion.ssh("dave").await).await;
    assert_eq!(targets, ["web-1"]);
    bastion.namespace.withdraw(&grant).await;
    let words = "bastion: there is no target \"web-1\" that you may use";
    ssh.type_in("\r").await;
    ssh.finds("the refusal", |it| rows(it)[ROWS as usize - 1].starts_with(words).then_some(())).await;
    ssh.type_in("\u{3}").await;
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(130));
    assert_eq!(bastion.session_names().await, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_to_choose_from_is_said_at_once() {
    let bastion = Bastion::with(async |namespace, _| namespace.user_with("stranger", json!({})).await).await;
    let outcome = bastion.ssh("stranger").await.start_in_terminal(ROWS, COLUMNS).await.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    assert!(outcome.stdout.contains("bastion: there is no target that you may use"), "{outcome:?}");
}

#[tokio::test]
async fn without_a_terminal_there_is_no_menu() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let ssh = async |user: &str| bastion.ssh(user).await;
    let outcomes = [
        ssh("alice").await.command("true").run().await,
        ssh("alice").await.no_terminal().run().await,
        ssh("bob").await.terminal().command("true").run().await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.code, Some(255), "{outcome:?}");
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("bastion: name a target: "), "{outcome:?}");
    }
    assert_eq!(bastion.session_names().await, Vec::<String>::new());
}

#[tokio::test]
async fn it_speaks_chinese_to_those_who_ask_for_it() {
    let bastion = with_targets().await;
    let mut ssh = bastion.ssh("alice").await.set("SetEnv=LANG=zh_CN.UTF-8").start_in_terminal(ROWS, COLUMNS).await;
    let shown = ssh.finds("the menu in Chinese", |it| rows(it)[1].ends_with("2/2").then(|| rows(it))).await;
    assert_eq!((shown[0].as_str(), &shown[1][..9]), ("堡垒机：alice，请选择目标", "搜索："));
    assert!(shown[3].contains("订单数据库 [db]"), "{shown:?}");
}

#[tokio::test]
async fn a_dumb_terminal_gets_a_numbered_list() {
    let bastion = with_targets().await;
    let mut ssh = bastion.ssh("alice").await.set("SetEnv=TERM=dumb").start_in_terminal(ROWS, COLUMNS).await;
    ssh.shows("  2) web-1  ").await;
    assert!(!ssh.stdout().contains('\u{1b}'), "no control sequences: {}", ssh.stdout());
    ssh.type_in("2\r").await;
    let session = bastion.watch.started("alice").await;
    assert_eq!(session.spec.target, "web-1");
}

#[tokio::test]
async fn a_user_who_is_disabled_while_choosing_gets_no_session() {
    let bastion = Bastion::up().await;
    let (mut ssh, _) = menu_of(bastion.ssh("alice").await).await;
    bastion.namespace.user_with("alice", json!({"groups": [PEOPLE], "disabled": true})).await;
    eventually(PROMPT_BOUND, "the gateway knows it", async || {
        let outcome = bastion.ssh("alice").await.run().await;
        if outcome.stderr.contains("Permission denied") { Ok(()) } else { Err(outcome.stderr) }
    })
    .await;
    ssh.type_in("\r").await;
    ssh.finds("the refusal", |it| rows(it)[ROWS as usize - 1].contains("you may no longer sign in").then_some(()))
        .await;
}
