//! A thief has a copy of a cookie whose person signs out.

use axum::http::{StatusCode, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::{
    ApiProxy, Bastion, Console, ConsoleApi, Fault, Namespace, Setting, default_timeout, eventually, metric,
};

use crate::console_sign_in::browser;

#[tokio::test]
async fn a_copy_of_a_cookie_is_worth_nothing_after_a_sign_out() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    namespace.person().await;
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

#[tokio::test]
async fn a_sign_out_that_fails_leaves_the_browser_without_its_cookie_and_says_so() {
    let namespace = Namespace::new().await;
    let proxy = ApiProxy::to(&namespace.control_plane).await;
    let behind = Setting { api: Some(&proxy), ..Setting::default() };
    let console = Console::start_in(&namespace, "console-0", &behind).await;
    let browser = browser(&console, &namespace.control_plane.person_token()).await;
    assert_eq!(browser.get("/api/v1/me").await.status, StatusCode::OK);

    proxy.answer(Fault::Answer { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None });
    let out = browser.post("/auth/out", json!({})).await;
    assert_eq!(out.status, StatusCode::SERVICE_UNAVAILABLE, "{out:?}");
    for words in ["of this browser only", "copies of its cookie stay valid until they expire"] {
        assert!(out.error().contains(words), "{out:?}");
    }
    let set = out.headers.get(header::SET_COOKIE).map(|set| set.to_str().expect("text").to_owned());
    assert!(
        set.as_ref().is_some_and(|set| set.starts_with("__Host-bastion=; ") && set.contains("Max-Age=0")),
        "the browser keeps its cookie: {set:?}"
    );
    let counted = metric(console.http, r#"bastion_console_failures_total{reason="sign_out"}"#).await;
    assert_eq!(counted, Some(1.0));

    proxy.forward();
    let copy = ConsoleApi::new(&console, None).await.sending((header::COOKIE, browser.sent(&header::COOKIE)));
    eventually(default_timeout(), "what the answer said of copies is true", async || {
        match copy.get("/api/v1/me").await.status {
            StatusCode::OK => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await;
    assert_eq!(browser.post("/auth/out", json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(copy.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED);
}

/// Somebody who may write the ConfigMap puts the highest number there, which no sign-out can exceed.
#[tokio::test]
async fn no_entry_of_the_config_map_disables_sign_outs() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let token = namespace.control_plane.person_token();
    for entry in [i64::MAX.to_string(), "never".to_owned()] {
        let before = browser(&console, &token).await;
        assert_eq!(before.get("/api/v1/me").await.status, StatusCode::OK);
        let patch = Patch::Merge(json!({"data": {"everybody": &entry}}));
        let config_maps = namespace.api::<ConfigMap>();
        config_maps.patch("bastion-sign-outs", &PatchParams::default(), &patch).await.expect("a changed ConfigMap");
        eventually(default_timeout(), "it counts as a sign-out", async || {
            match before.get("/api/v1/me").await.status {
                StatusCode::UNAUTHORIZED => Ok(()),
                status => Err(format!("{status}")),
            }
        })
        .await;
        let again = browser(&console, &token).await;
        assert_eq!(again.get("/api/v1/me").await.status, StatusCode::OK, "{entry}: the next sign-in is valid");
        assert_eq!(again.post("/auth/out", json!({})).await.status, StatusCode::NO_CONTENT);
        assert_eq!(again.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED, "{entry}: the sign-out counts");
    }
    assert!(console.process.stderr().contains("entries that are no time"), "the log says so");
    assert!(metric(console.http, "bastion_sign_outs_invalid_total").await >= Some(2.0));
}
