//! The web terminal: sessions of pages, and how each of them ends.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, Phase, Protocol, Reason};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::second_factors;
use bastion_e2e::control_plane::PERSON;
use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::{
    Bastion, IsolatedAddress, Namespace, PROMPT_BOUND, Relay, Setting, TerminalPage, eventually, metric_becomes,
};

const WEB_1: &str = "target=web-1&cols=100&rows=30";

/// A bastion with a user who stands for a person with a token.
async fn bastion() -> Bastion {
    with_person(&Setting::default(), json!({"subject": PERSON, "groups": [PEOPLE]})).await
}

async fn with_person(setting: &Setting<'_>, spec: Value) -> Bastion {
    Bastion::in_setting(setting, async |namespace, _| namespace.user_with("person", spec).await).await
}

fn token(namespace: &Namespace) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", namespace.control_plane.person_token()))
}

/// A page whose shell answers.
async fn open(bastion: &Bastion, query: &str) -> (TerminalPage, BastionSession) {
    let mut page = TerminalPage::open(bastion.gateway.web, query, &[token(&bastion.namespace)]).await;
    answers(&mut page).await;
    let session = bastion.watch.started("person").await;
    (page, session)
}

async fn answers(page: &mut TerminalPage) {
    page.types("echo answer $((6 * 7))").await;
    page.shows("answer 42").await;
}

#[tokio::test]
async fn a_page_has_a_session_like_any_other() {
    let bastion = bastion().await;
    let headers = [token(&bastion.namespace), ("user-agent", "Mozilla/5.0 (a browser)".to_owned())];
    let mut page = TerminalPage::open(bastion.gateway.web, WEB_1, &headers).await;
    let told = page.wait_for("session").await;
    let session = bastion.watch.started("person").await;
    let login = session.spec.login.clone();
    assert_eq!(
        told,
        json!({"type": "session", "name": session.name_any(), "id": session.uid().expect("a uid"), "user": "person",
            "target": "web-1", "login": login, "files": true})
    );
    let spec = &session.spec;
    assert_eq!((spec.protocol, spec.user.subject.as_str(), spec.target.as_str()), (Protocol::Web, PERSON, "web-1"));
    let (address, software) = (spec.client.address.as_str(), spec.client.software.as_deref());
    assert_eq!((address, software), ("127.0.0.1", Some(headers[1].1.as_str())));
    page.types("stty size; echo $TERM").await;
    page.shows("30 100").await;
    page.shows("xterm-256color").await;
    page.says(json!({"type": "resize", "cols": 132, "rows": 43})).await;
    page.types("stty size").await;
    page.shows("43 132").await;
    page.says(json!({"type": "ping"})).await;
    page.wait_for("pong").await;

    page.types("exit 3").await;
    let end = page.wait_for("end").await;
    assert_eq!((&end["status"], &end["reason"], &end["exitCode"]), (&json!("closed"), &json!("UserExit"), &json!(3)));
    page.closed().await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3));
    metric_becomes(bastion.gateway.http, "bastion_terminals_open", |open| open == 0.0).await;
}

#[tokio::test]
async fn a_closed_tab_is_told_from_a_broken_connection() {
    let bastion = bastion().await;
    let (page, session) = open(&bastion, WEB_1).await;
    page.close_tab().await;
    bastion.watch.ended_within(PROMPT_BOUND, &session, Reason::TabClosed).await;

    let (page, session) = open(&bastion, WEB_1).await;
    drop(page);
    bastion.watch.ended_within(PROMPT_BOUND, &session, Reason::ClientDisconnected).await;
    assert_eq!(bastion.watch.phase(&session), Phase::Closed);
}

#[tokio::test]
async fn a_page_reads_who_ended_its_session_and_why() {
    let bastion = bastion().await;
    let (mut page, session) = open(&bastion, WEB_1).await;
    let (user, _) = bastion.namespace.service_account("administrator").await;
    bastion.namespace.bind(&user, "bastion-session-terminator").await;
    let client = bastion.namespace.as_user(&user);
    let patch = json!({"spec": {"termination": {"requestedBy": user, "reason": "maintenance"}}});
    bastion.namespace.patch_session(&client, &session.name_any(), patch).await.expect("it may");
    let end = page.wait_for("end").await;
    assert_eq!((&end["status"], &end["reason"]), (&json!("terminated"), &json!("AdminTerminated")));
    let message = end["message"].as_str().expect("a message");
    assert!(message.contains(&format!("terminated by {user}: maintenance")), "{message}");
    page.closed().await;
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
}

#[tokio::test]
async fn what_is_typed_and_shown_arrives_whole_however_much_it_is() {
    let bastion = bastion().await;
    let (mut page, _) = open(&bastion, WEB_1).await;
    // Every byte there is, in a mebibyte of random ones: nothing on the way takes one for its own.
    let bytes: Vec<u8> = (0..1024 * 1024).map(|_| rand::random()).collect();
    let expected = sha256(&bytes);
    page.types("stty raw -echo; echo re''ady; head -c 1048576 | sha256sum; stty sane").await;
    page.shows("ready").await;
    page.sends(&bytes).await;
    page.shows(&expected).await;
    page.output.clear();
    page.types(&format!("head -c 3000000 /dev/zero | tr '\\0' '\\132'; echo; echo {}", "done''")).await;
    page.shows("done\r\n").await;
    assert_eq!(page.text().matches('Z').count(), 3_000_000);
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test]
async fn a_page_that_does_not_show_what_it_gets_is_sent_no_more() {
    let bastion = bastion().await;
    let (mut page, session) = open(&bastion, WEB_1).await;
    page.shows_on = false;
    page.types("yes").await;
    // What a terminal has not shown fits into its window; it is answered all the while.
    while page.output.len() < 100_000 {
        page.says(json!({"type": "ping"})).await;
        page.wait_for("pong").await;
        page.messages.clear();
    }
    let limit = 128 * 1024 + 1024;
    for _ in 0..20 {
        page.says(json!({"type": "ping"})).await;
        page.wait_for("pong").await;
        page.messages.clear();
        assert!(page.output.len() <= limit, "{} bytes were sent", page.output.len());
    }
    page.says_shown().await;
    page.shows_on = true;
    page.sends(b"\x03").await;
    answers(&mut page).await;
    page.close_tab().await;
    bastion.watch.ended(&session, Reason::TabClosed).await;
}

/// A packet of SFTP version 3 (draft-ietf-secsh-filexfer-02): its type, and what is in it.
fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 1).expect("short");
    [&length.to_be_bytes(), &[kind][..], &body].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("short").to_be_bytes(), text].concat()
}

/// Opens the channel for files, and has the target's server greet.
async fn open_files(page: &mut TerminalPage) {
    page.says(json!({"type": "open_files"})).await;
    page.asks_of_files(&packet(1, &[&3_u32.to_be_bytes()])).await;
    let greeting = page.hears_of_files(9).await;
    assert_eq!(greeting[4..9], [2, 0, 0, 0, 3], "version 3");
}

#[tokio::test]
async fn a_page_has_files_beside_its_shell() {
    let bastion = bastion().await;
    let (mut page, session) = open(&bastion, WEB_1).await;
    open_files(&mut page).await;
    let path = bastion.namespace.dir.join("big");
    std::fs::write(&path, vec![b'f'; 4_000_000]).expect("a file");
    let (id, read) = (1_u32.to_be_bytes(), 1_u32.to_be_bytes());
    let open_it = packet(3, &[&id, &string(path.as_os_str().as_encoded_bytes()), &read, &[0; 4]]);
    page.asks_of_files(&open_it).await;
    let opened = page.hears_of_files(13).await;
    assert_eq!(opened[4], 102, "a handle: {opened:?}");
    let handle = opened[9..].to_vec();
    // Everything is asked for at once, and nothing is said to have come: then no more comes than there is room for.
    for number in 0..122_u32 {
        let offset = (u64::from(number) * 32_768).to_be_bytes();
        let ask = packet(5, &[&number.to_be_bytes(), &handle, &offset, &32_768_u32.to_be_bytes()]);
        page.asks_of_files(&ask).await;
    }
    let mut came = page.hears_of_files(1_000_000).await.len();
    answers(&mut page).await;
    came += page.files.len();
    assert!(came <= 1024 * 1024, "{came} bytes are on the way");
    page.says(json!({"type": "ack", "channel": "files", "bytes": 4_100_000})).await;
    page.hears_of_files(900_000).await;
    page.says(json!({"type": "close_files"})).await;
    page.wait_for("files_closed").await;
    page.files.clear();
    // Again, on another channel of the session; who leaves the shell has left, whatever files are open.
    open_files(&mut page).await;
    page.types("exit 3").await;
    let end = page.wait_for("end").await;
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("UserExit"), &json!(3)));
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3));
    let (_, lines) = (page.closed().await, bastion.gateway.process.stderr());
    assert!(lines.contains("sftp_close") && lines.contains(&*path.to_string_lossy()), "it is in the audit log");
}

#[tokio::test]
async fn a_tab_with_files_open_is_a_tab_that_was_closed() {
    let bastion = bastion().await;
    let (mut page, session) = open(&bastion, WEB_1).await;
    open_files(&mut page).await;
    page.close_tab().await;
    bastion.watch.ended_within(PROMPT_BOUND, &session, Reason::TabClosed).await;
}

#[tokio::test]
async fn who_may_have_no_files_reads_why_and_keeps_the_shell() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.person().await;
        namespace.target_with("web-1", sshd, json!({"allow": {"shell": true, "sftp": false}})).await;
    })
    .await;
    let (mut page, _) = open(&bastion, WEB_1).await;
    assert_eq!(page.wait_for("session").await["files"], false);
    page.says(json!({"type": "open_files"})).await;
    let closed = page.wait_for("files_closed").await;
    assert!(closed["message"].as_str().expect("a message").contains("sftp"), "{closed}");
    answers(&mut page).await;
}

#[tokio::test]
async fn what_a_page_of_ours_would_not_do_is_refused() {
    let bastion = bastion().await;
    let (mut page, session) = open(&bastion, WEB_1).await;
    page.says(json!({"type": "shell"})).await;
    let close = page.closed().await.expect("a close frame");
    assert!(close.reason.contains("sends an unknown message"), "{close:?}");
    bastion.watch.ended(&session, Reason::ClientDisconnected).await;
}

#[tokio::test]
async fn who_may_have_no_session_reads_why() {
    let bastion = bastion().await;
    let namespace = &bastion.namespace;
    let (gateway, person) = (bastion.gateway.web, token(namespace));
    let refused = async |query: &str, headers: &[(&'static str, String)], expected: StatusCode, words: &str| {
        let answer = TerminalPage::try_open(gateway, query, headers).await.err();
        let (status, said) = answer.unwrap_or_else(|| panic!("{words}: it is open"));
        assert!(status == expected && said.contains(words), "{status} {said:?} should say {words:?}");
    };
    refused(WEB_1, &[], StatusCode::UNAUTHORIZED, "there is no token").await;
    let made_up = ("authorization", "Bearer made-up".to_owned());
    refused(WEB_1, &[made_up], StatusCode::UNAUTHORIZED, "does not know").await;
    let cookie = ("cookie", "__Host-bastion=AAAA".to_owned());
    refused(WEB_1, std::slice::from_ref(&cookie), StatusCode::FORBIDDEN, "not the console's own").await;
    let here = ("origin", format!("http://{gateway}"));
    refused(WEB_1, &[cookie, here], StatusCode::UNAUTHORIZED, "no longer signed in").await;
    let evil = ("origin", "https://evil.example".to_owned());
    refused(WEB_1, &[person.clone(), evil], StatusCode::FORBIDDEN, "not the console's own").await;
    refused("cols=80", std::slice::from_ref(&person), StatusCode::BAD_REQUEST, "target").await;

    let assert_refused = async |query: &str, headers: &[(&'static str, String)], words: &str| {
        let mut page = TerminalPage::open(gateway, query, headers).await;
        let end = page.wait_for("end").await;
        assert_eq!((&end["status"], page.output.len()), (&json!("refused"), 0), "{end}");
        assert!(end["message"].as_str().expect("a message").contains(words), "{end} should say {words:?}");
        page.closed().await;
    };
    let person = [person];
    assert_refused("target=nowhere", &person, r#"there is no target "nowhere" that you may use"#).await;
    assert_refused("target=web-1&login=mallory", &person, "mallory").await;
    let (_, stranger) = namespace.service_account("stranger").await;
    assert_refused(WEB_1, &[("authorization", format!("Bearer {stranger}"))], "no user of this bastion stands for")
        .await;
    let disable = Patch::Merge(json!({"spec": {"disabled": true}}));
    let users = namespace.api::<bastion_operator::api::BastionUser>();
    users.patch("person", &PatchParams::default(), &disable).await.expect("it may");
    eventually(PROMPT_BOUND, "the user is disabled", async || {
        let mut page = TerminalPage::open(gateway, WEB_1, &person).await;
        let message = page.wait_for("end").await["message"].to_string();
        if message.contains("may not sign in") { Ok(()) } else { Err(message) }
    })
    .await;
    assert!(bastion.session_names().await.is_empty());
    assert!(!bastion.gateway.process.stderr().contains(&namespace.control_plane.person_token()), "no token is logged");
}

#[tokio::test]
async fn a_page_asks_for_the_factors_that_the_cluster_does_not_vouch_for() {
    let factors = ["publickey", "totp"];
    let bastion = Bastion::with(async |namespace, _| {
        second_factors::add_user(namespace, "paula", &factors).await;
        let subject = Patch::Merge(json!({"spec": {"subject": PERSON}}));
        let users = namespace.api::<bastion_operator::api::BastionUser>();
        users.patch("paula", &PatchParams::default(), &subject).await.expect("it may");
        namespace.grant(PERSON, "bastiontargets", &["web-1"]).await;
    })
    .await;
    let mut page = TerminalPage::open(bastion.gateway.web, WEB_1, &[token(&bastion.namespace)]).await;
    page.shows("code").await;
    page.types("000000").await;
    page.shows("wrong answer").await;
    assert!(!page.text().contains("000000"), "an answer is not shown: {}", page.text());
    page.types(&second_factors::code(0)).await;
    page.wait_for("session").await;
    answers(&mut page).await;
}

#[tokio::test]
async fn a_page_whose_network_falls_silent_is_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = bastion().await;
    let relay = Relay::narrow(place.address, bastion.gateway.web).await;
    let mut page = TerminalPage::open(relay.address, WEB_1, &[token(&bastion.namespace)]).await;
    answers(&mut page).await;
    let session = bastion.watch.started("person").await;
    let cut = Instant::now();
    place.cut_off().await;
    let end = bastion.watch.ended_within(Duration::from_secs(40), &session, Reason::NetworkLost).await;
    let after = end.at.duration_since(cut);
    assert!(after <= Duration::from_secs(30), "{after:?}");
}

#[tokio::test]
async fn behind_a_proxy_sessions_show_where_browsers_are_and_silence_is_noticed() {
    let env = vec![("BASTION_WEB_PROXIES", "127.0.0.0/8".into())];
    let setting = Setting { env, ..Setting::default() };
    let bastion = with_person(&setting, json!({"subject": PERSON, "groups": [PEOPLE]})).await;
    let forwarded = ("x-forwarded-for", "203.0.113.9, 198.51.100.4".to_owned());
    let mut page = TerminalPage::open(bastion.gateway.web, WEB_1, &[token(&bastion.namespace), forwarded]).await;
    answers(&mut page).await;
    let session = bastion.watch.started("person").await;
    assert_eq!(session.spec.client.address, "198.51.100.4");
    // The proxy's connection stays open, and the browser behind it no longer answers.
    let cut = Instant::now();
    let end = bastion.watch.ended_within(Duration::from_secs(40), &session, Reason::NetworkLost).await;
    let after = end.at.duration_since(cut);
    assert!(after <= Duration::from_secs(30), "{after:?}");
    drop(page);
}
