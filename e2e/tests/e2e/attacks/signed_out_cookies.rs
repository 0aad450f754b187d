//! A thief has a copy of a cookie whose person signs out.

use axum::http::{StatusCode, header};
use serde_json::json;

use bastion_e2e::control_plane::PERSON;
use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::{Bastion, Console, ConsoleApi, Setting, default_timeout, eventually};

use crate::console_sign_in::browser;

#[tokio::test]
async fn a_copy_of_a_cookie_is_worth_nothing_after_a_sign_out() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    namespace.user_with("person", json!({"subject": PERSON, "groups": [PEOPLE]})).await;
    let one = Console::start(namespace).await;
    let another = Console::start_in(namespace, "console-1", &Setting::default()).await;
    let token = namespace.control_plane.person_token();
    let (first, second) = (browser(&one, &token).await, browser(&another, &token).await);
    let (_, viewer) = namespace.service_account_with_roles("viewer", &["bastion-viewer"]).await;
    let other_person = browser(&one, &viewer).await;
    let stolen = first.sent(&header::COOKIE);
    let thief = ConsoleApi::new(&another, None).await.sending((header::COOKIE, stolen.clone()));
    assert_eq!(thief.get("/api/v1/me").await.status, StatusCode::OK, "the copy is good while its person is signed in");

    assert_eq!(first.post("/auth/out", json!({})).await.status, StatusCode::NO_CONTENT);
    let me = first.get("/api/v1/me").await;
    assert!(me.status == StatusCode::UNAUTHORIZED && me.error().contains("no longer signed in"), "{me:?}");
    eventually(default_timeout(), "the other console knows of it", async || {
        match thief.get("/api/v1/me").await.status {
            StatusCode::UNAUTHORIZED => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await;
    assert_eq!(second.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED, "all browsers of the person are out");
    let headers = [("cookie", stolen.clone()), ("origin", format!("http://{}", bastion.gateway.web))];
    eventually(default_timeout(), "the gateway knows of it", async || {
        match TerminalPage::try_open(bastion.gateway.web, "target=web-1&cols=80&rows=24", &headers).await {
            Err((StatusCode::UNAUTHORIZED, _)) => Ok(()),
            Err(other) => Err(format!("{other:?}")),
            Ok(_) => Err("a terminal".to_owned()),
        }
    })
    .await;
    assert_eq!(other_person.get("/api/v1/me").await.status, StatusCode::OK, "others stay signed in");

    let restarted = Console::start_in(namespace, "console-2", &Setting::default()).await;
    let thief = ConsoleApi::new(&restarted, None).await.sending((header::COOKIE, stolen));
    assert_eq!(
        thief.get("/api/v1/me").await.status,
        StatusCode::UNAUTHORIZED,
        "a console that starts later knows of it"
    );
    let again = browser(&another, &token).await;
    assert_eq!(again.get("/api/v1/me").await.status, StatusCode::OK, "the next sign-in is valid");
    assert_eq!(another.process.stderr().matches("panicked").count(), 0);
}
