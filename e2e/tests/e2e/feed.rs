//! The console's live feed, over real WebSockets: what a page shows is what the cluster has, for as long as its person may
//! see it.

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, Phase, Reason};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::control_plane::ControlPlane;
use bastion_e2e::objects::{bastion_session, ended_status};
use bastion_e2e::redis::RedisServer;
use bastion_e2e::websocket::bearer;
use bastion_e2e::{
    Bastion, Console, FeedPage, Gateway, Namespace, Relay, Setting, default_timeout, eventually, metric,
    metric_becomes, weight,
};

const PAGES: &str = "bastion_console_pages";

/// Returns a bastion, its console, and the token of a user who may see all sessions.
async fn with_viewer() -> (Bastion, Console, String) {
    let bastion = Bastion::with(async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let console = Console::start(&bastion.namespace).await;
    let token = bastion.namespace.viewer().await;
    (bastion, console, token)
}

#[tokio::test]
async fn a_page_is_told_what_the_sessions_on_its_screen_do() {
    let redis = RedisServer::start().await;
    let (bastion, _, token) = with_viewer().await;
    let setting = Setting { env: redis.environment(), ..Setting::default() };
    let console = Console::start_in(&bastion.namespace, "console-1", &setting).await;
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let mut alice = bastion.open_on(&gateway, "alice", "web-1").await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    let name = alice.session.name_any();
    page.say(&json!({"type": "watch", "names": [name, "of-nobody"]}).to_string()).await;
    let said = page.until("activity").await["data"][&name].clone();
    assert!(said["idle_seconds"].as_i64().is_some_and(|idle| idle < 30), "{said}");
    alice.still_answers().await;
    loop {
        let data = page.until("activity").await["data"].clone();
        assert!(data["of-nobody"].is_null(), "{data}");
        if data[&name]["bytes_in"].as_i64() > said["bytes_in"].as_i64() {
            break;
        }
    }
}

/// As Kubernetes' own WebSockets take it, and a browser can send it.
fn subprotocol(token: &str) -> (&'static str, String) {
    use base64::Engine;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    ("sec-websocket-protocol", format!("feed.bastion.dev, base64url.bearer.authorization.k8s.io.{token}"))
}

/// What `kubectl get bastionsessions` shows as Active.
async fn active(namespace: &Namespace) -> Vec<String> {
    let sessions = namespace.api::<BastionSession>().list(&ListParams::default()).await.expect("a list");
    let active = sessions.items.iter().filter(|it| it.status.as_ref().is_none_or(|it| it.phase == Phase::Active));
    active.map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn a_session_comes_and_goes_on_every_page_that_may_show_it() {
    let (bastion, console, token) = with_viewer().await;
    let mut pages =
        [FeedPage::open(&console, &[bearer(&token)]).await, FeedPage::open(&console, &[subprotocol(&token)]).await];
    let own = bearer(&bastion.namespace.control_plane.person_token());
    let mut persons = FeedPage::open(&console, &[own]).await;
    assert!(pages.iter().all(|page| page.live && page.shown.is_empty()));

    let mut open = bastion.open("alice").await;
    for page in &mut pages {
        let start = page.until("session_start").await;
        assert_eq!((&start["data"]["user"], &start["data"]["status"]), (&json!("alice"), &json!("active")));
        assert_eq!(page.names(), [open.session.name_any()]);
    }
    let late = FeedPage::open(&console, &[bearer(&token)]).await;
    assert_eq!(late.names(), [open.session.name_any()], "a later page shows the same");
    late.leave().await;

    open.ssh.say("exit").await;
    let ended = bastion.watch.ended(&open.session, Reason::UserExit).await.session;
    for page in &mut pages {
        let end = page.until("session_end").await;
        assert_eq!(end["session_id"], json!(ended.metadata.uid));
        let data = &end["data"];
        assert_eq!((&data["status"], &data["reason"]), (&json!("closed"), &json!("UserExit")));
        assert!(data["end_time"].is_string() && end["timestamp"].is_string(), "{end}");
        assert!(page.shown.is_empty());
    }

    let theirs = bastion.open("person").await;
    let start = persons.until("session_start").await;
    assert_eq!((&start["sequence"], persons.names()), (&json!(1), vec![theirs.session.name_any().as_str()]));
    for page in &mut pages {
        page.until("session_start").await;
        assert_eq!(page.names(), active(&bastion.namespace).await);
    }
    assert_eq!(metric(console.http, PAGES).await, Some(3.0));
    drop(pages);
    persons.leave().await;
    metric_becomes(console.http, PAGES, |pages| pages == 0.0).await;
}

#[tokio::test]
async fn a_page_says_who_asked_for_an_end() {
    let (bastion, console, token) = with_viewer().await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    let open = bastion.open("alice").await;
    page.until("session_start").await;
    let patch = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    let name = open.session.name_any();
    bastion.namespace.patch_session(&bastion.namespace.admin(), &name, patch).await.expect("it may");
    let end = page.until("session_end").await;
    assert_eq!((&end["data"]["status"], &end["data"]["terminated_by"]), (&json!("terminated"), &json!("admin")));
    assert_eq!(end["data"]["termination"], json!({"requested_by": "admin", "reason": "maintenance"}));
}

#[tokio::test]
async fn a_page_is_opened_by_those_whom_the_cluster_knows_and_from_this_site_alone() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let (_, token) = namespace.service_account("nobody").await;
    let here = format!("http://{}", console.address);
    for (headers, expected) in [
        (vec![], StatusCode::UNAUTHORIZED),
        (vec![bearer("made-up")], StatusCode::UNAUTHORIZED),
        (vec![subprotocol("made-up")], StatusCode::UNAUTHORIZED),
        (vec![bearer(&token), ("origin", "https://evil.example".to_owned())], StatusCode::FORBIDDEN),
    ] {
        let refused = FeedPage::try_open(console.address, &headers).await.err();
        assert_eq!(refused, Some(expected), "{headers:?}");
    }
    let page = FeedPage::open(&console, &[bearer(&token), ("origin", here)]).await;
    assert!(page.live && page.shown.is_empty(), "they have no sessions");
}

#[tokio::test]
async fn a_right_that_is_withdrawn_or_a_token_that_is_revoked_takes_the_page_along() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let console = Console::start(namespace).await;
    let (user, token) = namespace.service_account("viewer").await;
    let rule = json!({"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["list"]});
    let grant = namespace.allow(&user, json!([rule])).await;
    let open = bastion.open("alice").await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    assert_eq!(page.names(), [open.session.name_any()]);
    namespace.withdraw(&grant).await;
    page.snapshot().await;
    assert!(page.shown.is_empty(), "they see their own from now on, and have none");
    namespace.api::<ServiceAccount>().delete("viewer", &DeleteParams::default()).await.expect("it was there");
    let close = page.closed().await.expect("a reason");
    assert_eq!(u16::from(close.code), 1008);
    assert!(close.reason.contains("the cluster does not know this token"), "{close:?}");
}

#[tokio::test]
async fn a_page_knows_when_the_console_is_cut_off_and_begins_anew_afterwards() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let relay = Relay::to(ControlPlane::shared().await.api_address()).await;
    let console = Console::start_in(namespace, "console-0", &Setting { api: Some(&relay), ..Setting::default() }).await;
    let token = namespace.viewer().await;
    let mut open = bastion.open("alice").await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    assert_eq!(page.names(), [open.session.name_any()]);
    relay.cut();
    page.until("stale").await;
    assert!(!page.live);
    open.ssh.say("exit").await;
    bastion.watch.ended(&open.session, Reason::UserExit).await;
    let next = bastion.open("alice").await;
    relay.restore();
    page.snapshot().await;
    assert_eq!((page.live, page.names()), (true, vec![next.session.name_any().as_str()]));
}

#[tokio::test]
async fn a_page_is_told_to_go_elsewhere_when_its_console_ends() {
    let (bastion, mut console, token) = with_viewer().await;
    let other = Console::start_in(&bastion.namespace, "console-1", &Setting::default()).await;
    let _open = bastion.open("alice").await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    let shown = page.shown.clone();
    console.process.signal(Signal::SIGTERM);
    let close = page.closed().await.expect("a reason");
    assert_eq!(u16::from(close.code), 1001, "{close:?}");
    assert_eq!(console.process.finish(default_timeout()).await.code, Some(0));
    assert_eq!(FeedPage::open(&other, &[bearer(&token)]).await.shown, shown, "another shows the same");
}

#[tokio::test]
async fn a_page_that_answers_nothing_is_closed() {
    let (_bastion, console, token) = with_viewer().await;
    let _page = FeedPage::open(&console, &[bearer(&token)]).await;
    metric_becomes(console.http, PAGES, |pages| pages > 0.0).await;
    // Who does not read does not answer a ping either.
    eventually(default_timeout() * 2, "the page is given up", async || match metric(console.http, PAGES).await {
        Some(0.0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn two_hundred_pages_agree_while_many_sessions_churn() {
    let _held = weight::take(2).await;
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let token = namespace.viewer().await;
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    let mut pages = Vec::new();
    for _ in 0..200 {
        pages.push(FeedPage::open(&console, &[bearer(&token)]).await);
    }
    let mut expected = Vec::new();
    for number in 0..60 {
        let name = format!("alice-web-1-{number:02}");
        let session = bastion_session(&name, "gateway-0");
        namespace.create_as(&gateway, session).await.expect("a session");
        if number % 3 == 0 {
            expected.push(name);
            continue;
        }
        let status = json!({"status": ended_status()});
        namespace.patch_status(&gateway, &name, status).await.expect("an end");
    }
    namespace.create_as(&gateway, bastion_session("last", "gateway-0")).await.expect("a session");
    expected.push("last".to_owned());
    for page in &mut pages {
        page.shows(&expected).await;
    }
}
