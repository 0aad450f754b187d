//! Signing in to the console with a browser, and ending sessions from it.

use axum::http::{HeaderMap, StatusCode, header};
use bastion_operator::api::{BastionSession, Phase, Reason};
use kube::ResourceExt;
use rstest::rstest;
use serde_json::{Value, json};

use bastion_e2e::admission::{KEPT, keep};
use bastion_e2e::control_plane::PERSON;
use bastion_e2e::websocket::bearer;
use bastion_e2e::{
    Answer, Bastion, Console, ConsoleApi, FeedPage, Namespace, Setting, default_timeout, eventually, metric,
};

/// What a browser sends by itself for a page of this console's.
fn own_page(console: &Console) -> (header::HeaderName, String) {
    (header::ORIGIN, format!("http://{}", console.address))
}

/// A browser at this console whose person has signed in with a token.
pub async fn browser(console: &Console, token: &str) -> ConsoleApi {
    let browser = ConsoleApi::new(console, None).await.sending(own_page(console));
    let answer = browser.post("/auth/token", json!({"token": token})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    browser.sending((header::COOKIE, cookie(&answer.headers)))
}

/// The cookie that is set, as a browser sends it back.
fn cookie(headers: &HeaderMap) -> String {
    let set = headers[header::SET_COOKIE].to_str().expect("text");
    set.split(';').next().expect("a pair").to_owned()
}

fn refused(answer: &Answer, status: StatusCode, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.error().contains(words), "{answer:?} should say {words:?}");
}

#[tokio::test]
async fn a_browser_gets_a_cookie_for_a_token_and_every_console_knows_it() {
    let namespace = Namespace::new().await;
    let one = Console::start(&namespace).await;
    let (user, token) = namespace.service_account_with_roles("viewer", &["bastion-viewer"]).await;
    let page = ConsoleApi::new(&one, None).await.sending(own_page(&one));
    assert_eq!(page.get("/auth/ways").await.body, json!({"token": true, "oidc": null}));
    refused(&page.get("/api/v1/me").await, StatusCode::UNAUTHORIZED, "there is no token");
    refused(&page.post("/auth/token", json!({"token": "made-up"})).await, StatusCode::UNAUTHORIZED, "does not know");
    refused(&page.post("/auth/token", json!({"token": " "})).await, StatusCode::UNAUTHORIZED, "does not know");
    refused(&page.post("/auth/token", json!({"tokn": "made-up"})).await, StatusCode::BAD_REQUEST, "send {\"token\"");

    let signed_in = browser(&one, &token).await;
    let me = signed_in.get("/api/v1/me").await.body;
    assert_eq!((&me["user"], &me["namespace"]), (&json!(user), &json!(namespace.name)));
    let groups = me["groups"].as_array().expect("groups");
    assert!(groups.contains(&json!("system:serviceaccounts")), "{me}");
    let rights = &me["rights"];
    assert_eq!((&rights["list_sessions"]["allowed"], &rights["list_targets"]["allowed"]), (&json!(true), &json!(true)));
    let reason = rights["terminate_sessions"]["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("{user} may not patch bastionsessions")), "{reason}");
    let expires: jiff::Timestamp = me["expires"].as_str().expect("a time").parse().expect("a time");
    let hours = expires.duration_since(jiff::Timestamp::now()).as_secs_f64() / 3600.0;
    assert!(hours <= 1.01, "kubectl's tokens are good for an hour, and so is the cookie: {hours}");

    let another = Console::start_in(&namespace, "console-1", &Setting::default()).await;
    let there = ConsoleApi::new(&another, None).await.sending((header::COOKIE, signed_in.sent(&header::COOKIE)));
    assert_eq!(there.get("/api/v1/sessions").await.status, StatusCode::OK, "consoles share the key");
    let mut page = FeedPage::open(&another, &[("cookie", signed_in.sent(&header::COOKIE))]).await;
    page.until("heartbeat").await;

    let out = signed_in.post("/auth/out", json!({})).await;
    assert_eq!((out.status, cookie(&out.headers).as_str()), (StatusCode::NO_CONTENT, "__Host-bastion="));
    let forged = page_of(&one, "__Host-bastion=AAAA").await.get("/api/v1/me").await;
    refused(&forged, StatusCode::UNAUTHORIZED, "you are no longer signed in");
    for console in [&one, &another] {
        let log = console.process.stderr();
        assert!(!log.contains(&token) && !log.contains("__Host-bastion="), "no secret is logged");
    }
}

async fn page_of(console: &Console, cookie: &str) -> ConsoleApi {
    ConsoleApi::new(console, None).await.sending((header::COOKIE, cookie.to_owned()))
}

#[tokio::test]
async fn what_another_site_has_a_browser_do_is_refused() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let (_, token) = namespace.service_account("viewer").await;
    let signed_in = browser(&console, &token).await;
    let cookie = signed_in.sent(&header::COOKIE);
    let elsewhere = page_of(&console, &cookie).await.sending((header::ORIGIN, "https://evil.example".to_owned()));
    let nowhere = page_of(&console, &cookie).await;
    for page in [&elsewhere, &nowhere] {
        for (path, body) in [
            ("/api/v1/sessions/x/termination", json!({})),
            ("/auth/token", json!({"token": token})),
            ("/auth/out", json!({})),
        ] {
            refused(&page.post(path, body).await, StatusCode::FORBIDDEN, "not the console's own");
        }
    }
    let headers = [("cookie", cookie), ("origin", "https://evil.example".to_owned())];
    assert_eq!(FeedPage::try_open(console.address, &headers).await.err(), Some(StatusCode::FORBIDDEN));
    let headers = ConsoleApi::new(&console, None).await.get("/auth/ways").await.headers;
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test]
async fn a_console_knows_the_pages_of_its_public_url_whatever_is_before_it_makes_of_the_host() {
    let namespace = Namespace::new().await;
    let env = vec![
        ("BASTION_PUBLIC_URL", "https://bastion.example.com".into()),
        ("BASTION_TERMINAL_ORIGIN", "https://terminal.example.com:8443".into()),
    ];
    let console = Console::start_in(&namespace, "console-0", &Setting { env, ..Setting::default() }).await;
    let (_, token) = namespace.service_account("viewer").await;
    let from = async |origin: &str| {
        let page = ConsoleApi::new(&console, None).await.sending((header::ORIGIN, origin.to_owned()));
        page.post("/auth/token", json!({"token": token})).await
    };
    let answer = from("https://bastion.example.com").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
    let policy = answer.headers["content-security-policy"].to_str().expect("text");
    let reached = "connect-src 'self' https://terminal.example.com:8443 wss://terminal.example.com:8443;";
    assert!(policy.contains(reached), "{policy}");
    for origin in
        ["http://bastion.example.com", "https://bastion.example.com:8443", "https://terminal.example.com:8443"]
    {
        refused(&from(origin).await, StatusCode::FORBIDDEN, "not the console's own");
    }
    let me = ConsoleApi::new(&console, Some(&token)).await.get("/api/v1/me").await.body;
    assert_eq!(me["terminal_origin"], "https://terminal.example.com:8443");
    assert_eq!((&me["bastion_user"], &me["rights"]["connect"]["allowed"]), (&Value::Null, &json!(false)));
    let reason = me["rights"]["connect"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("no BastionUser has spec.subject"), "{reason}");
}

#[tokio::test]
async fn a_console_without_a_key_says_so() {
    let namespace = Namespace::new().await;
    let setting = Setting { env: vec![("BASTION_COOKIE_KEY_FILE", "/does/not/exist".into())], ..Setting::default() };
    let console = Console::start_in(&namespace, "console-0", &setting).await;
    let (_, token) = namespace.service_account("viewer").await;
    let page = ConsoleApi::new(&console, None).await.sending(own_page(&console));
    let answer = page.post("/auth/token", json!({"token": token})).await;
    refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "its log says why");
    assert!(console.process.stderr().contains("--cookie-key-file /does/not/exist cannot be read"));
    let program = ConsoleApi::new(&console, Some(&token)).await;
    assert_eq!(program.get("/api/v1/me").await.status, StatusCode::OK, "programs need none");
}

/// A bastion with a user who stands for a person with a token, and a console.
async fn with_person() -> (Bastion, Console) {
    let bastion = Bastion::with(async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let console = Console::start(&bastion.namespace).await;
    (bastion, console)
}

fn termination_of(session: &BastionSession) -> String {
    format!("/api/v1/sessions/{}/termination", session.name_any())
}

#[tokio::test]
async fn a_user_who_may_end_sessions_ends_them_in_their_own_name() {
    let (bastion, console) = with_person().await;
    let namespace = &bastion.namespace;
    let (user, token) = namespace.service_account("ender").await;
    namespace.bind(&user, "bastion-session-terminator").await;
    let mut open = bastion.open("alice").await;
    let (page, path) = (browser(&console, &token).await, termination_of(&open.session));
    refused(&page.post(&path, json!({"reason": "x".repeat(513)})).await, StatusCode::BAD_REQUEST, "reason: write 512");
    refused(&page.post(&path, json!({"why": "x"})).await, StatusCode::BAD_REQUEST, "unknown field `why`");

    let answer = page.post(&path, json!({"reason": " maintenance "})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["termination"], json!({"requested_by": user, "reason": "maintenance"}));
    bastion.watch.ended(&open.session, Reason::AdminTerminated).await;
    open.ssh.finds("who and why", |it| it.stderr().contains("maintenance").then_some(())).await;
    let session = namespace.api::<BastionSession>().get(&open.session.name_any()).await.expect("the session");
    assert_eq!(session.phase(), Phase::Terminated);
    let termination = serde_json::to_value(session.spec.termination).expect("JSON");
    assert_eq!(termination, json!({"requestedBy": user, "reason": "maintenance", "via": "Console"}));

    eventually(default_timeout(), "its start and its end are on its timeline", async || {
        let answer = page.get(&format!("/api/v1/sessions/{}/events", open.session.name_any())).await;
        let events = answer.body["events"].as_array().cloned().unwrap_or_default();
        let reasons: Vec<_> = events.iter().map(|it| it["reason"].as_str().unwrap_or_default()).collect();
        if reasons == ["Started", "AdminTerminated"] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;

    let again = page.post(&path, json!({})).await;
    refused(&again, StatusCode::CONFLICT, "has ended already: Terminated, AdminTerminated");
    let none = page.post("/api/v1/sessions/none/termination", json!({})).await;
    refused(&none, StatusCode::NOT_FOUND, "there is no session");
}

#[rstest]
#[case::invalid("Invalid")]
#[case::forbidden("Forbidden")]
#[tokio::test]
async fn an_end_that_the_api_server_refuses_is_not_asked_for(#[case] reason: &str) {
    let (bastion, console) = with_person().await;
    let namespace = &bastion.namespace;
    let (user, token) = namespace.service_account("ender").await;
    namespace.bind(&user, "bastion-session-terminator").await;
    let mut open = bastion.open("alice").await;
    let name = open.session.name_any();
    keep(namespace, &name, reason).await;
    let answer = browser(&console, &token).await.post(&termination_of(&open.session), json!({"reason": "noon"})).await;
    refused(&answer, StatusCode::UNPROCESSABLE_ENTITY, &format!("the end of session {name} could not be requested: "));
    assert!(answer.error().contains(KEPT), "{answer:?}");
    let failures = metric(console.http, "bastion_console_failures_total{reason=\"not_asked\"}").await;
    assert_eq!(failures, Some(1.0));
    let session = namespace.api::<BastionSession>().get(&name).await.expect("the session");
    assert!(session.spec.termination.is_none() && session.phase() == Phase::Active, "{session:?}");
    open.still_answers().await;
}

#[tokio::test]
async fn who_may_not_end_sessions_ends_their_own() {
    let (bastion, console) = with_person().await;
    let (others, own) = (bastion.open("alice").await, bastion.open("person").await);
    let token = bastion.namespace.control_plane.person_token();
    let page = browser(&console, &token).await;
    let words = format!("{PERSON} may not patch bastionsessions in namespace {}", bastion.namespace.name);
    for path in [termination_of(&others.session), "/api/v1/sessions/none/termination".to_owned()] {
        refused(&page.post(&path, json!({})).await, StatusCode::FORBIDDEN, &words);
    }
    let timeline = |session: &BastionSession| format!("/api/v1/sessions/{}/events", session.name_any());
    let words = format!("{PERSON} may not get bastionsessions");
    refused(&page.get(&timeline(&others.session)).await, StatusCode::FORBIDDEN, &words);
    assert_eq!(page.get(&timeline(&own.session)).await.status, StatusCode::OK);
    assert_eq!(page.post(&termination_of(&own.session), json!({})).await.status, StatusCode::OK);
    bastion.watch.ended(&own.session, Reason::ApiClosed).await;
    let mut others = others;
    others.still_answers().await;
}

#[tokio::test]
async fn a_page_whose_right_is_withdrawn_shows_its_own_sessions_alone() {
    let (bastion, console) = with_person().await;
    let (user, token) = bastion.namespace.service_account("viewer").await;
    let grant = bastion.namespace.bind(&user, "bastion-viewer").await;
    let _open = bastion.open("alice").await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    assert_eq!(page.names().len(), 1);
    bastion.namespace.withdraw(&grant).await;
    page.snapshot().await;
    assert_eq!(page.names(), Vec::<&str>::new());
}

#[tokio::test]
async fn the_page_is_served_and_whatever_is_no_file_is_a_part_of_it() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let visitor = ConsoleApi::new(&console, None).await;
    for path in ["/", "/history", "/targets?x=y"] {
        let (status, headers, text) = visitor.fetch(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        assert_eq!(headers["content-type"], "text/html", "{path}");
        assert!(text.contains("<div id=\"root\">") && !text.contains("<script>"), "{text}");
        assert_eq!(headers["cache-control"], "no-cache");
    }
    let (_, _, beginning) = visitor.fetch("/").await;
    let script = beginning.split('"').find(|it| it.starts_with("/assets/")).expect("a script");
    let (status, headers, _) = visitor.fetch(script).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/javascript");
    assert!(headers["cache-control"].to_str().expect("text").contains("immutable"));
    assert_eq!(visitor.fetch("/assets/none.js").await.0, StatusCode::NOT_FOUND);
    assert_eq!(visitor.fetch("/api/v1/none").await.0, StatusCode::NOT_FOUND);
    let nothing: Value = visitor.post("/", json!({})).await.body;
    assert!(nothing["error"].as_str().is_some_and(|it| it.contains("another method")), "{nothing}");
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_slowed_down() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let page = ConsoleApi::new(&console, None).await.sending(own_page(&console));
    eventually(default_timeout(), "too many", async || {
        let attempts = (0..20).map(|_| page.post("/auth/token", json!({"token": "guess"})));
        let answers = futures::future::join_all(attempts).await;
        if answers.iter().any(|it| it.status == StatusCode::TOO_MANY_REQUESTS) { Ok(()) } else { Err("none".into()) }
    })
    .await;
}
