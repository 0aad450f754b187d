//! A page of another site, in a browser that is signed in.

use std::net::SocketAddr;

use axum::http::{StatusCode, header};
use kube::ResourceExt;
use serde_json::json;

use bastion_e2e::control_plane::PERSON;
use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::websocket::{Header, connect};
use bastion_e2e::{Bastion, Console, ConsoleApi, FeedPage};

use crate::console_sign_in::browser;
use crate::observe::at_a_terminal;

/// Returns origins that are not that of a page at this address. Sandboxed frames, files and redirects across sites say `null`.
fn foreign(own: SocketAddr) -> Vec<String> {
    let (ip, port) = (own.ip(), own.port());
    vec![
        "null".to_owned(),
        String::new(),
        "https://evil.example".to_owned(),
        format!("http://{own}.evil.example"),
        format!("http://evil.example:{port}"),
        format!("http://evil.example/{own}"),
        format!("http://{ip}"),
        format!("http://{ip}:{}", port ^ 1),
        format!("http://person@{own}"),
        format!("http://{own} http://evil.example"),
        own.to_string(),
        format!("file://{own}/x"),
    ]
}

#[tokio::test]
async fn no_page_of_another_site_opens_a_websocket_with_the_cookie_of_a_person() {
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    namespace.person().await;
    for role in ["bastion-viewer", "bastion-observer", "bastion-session-terminator"] {
        namespace.bind(PERSON, role).await;
    }
    let console = Console::start(namespace).await;
    let (_ssh, session) = at_a_terminal(&bastion).await;
    let follow = format!("ws://{}/api/v1/sessions/{}/follow", console.address, session.name_any());
    let cookie = browser(&console, &namespace.control_plane.person_token()).await.sent(&header::COOKIE);
    let (here, web) = (console.address, bastion.gateway.web);
    let with = |origin: String| -> [Header; 2] { [("cookie", cookie.clone()), ("origin", origin)] };
    let observe = async |origin: String| {
        let protocol = ("sec-websocket-protocol", "follow.bastion.dev".to_owned());
        connect(&follow, &[&[protocol], &with(origin)[..]].concat()).await
    };
    let terminal = "target=web-1&cols=80&rows=24";

    for origin in foreign(here) {
        let feed = FeedPage::try_open(here, &with(origin.clone())).await;
        assert_eq!(feed.err(), Some(StatusCode::FORBIDDEN), "the feed, from {origin:?}");
        let observed = observe(origin.clone()).await.err().map(|(status, _)| status);
        assert_eq!(observed, Some(StatusCode::FORBIDDEN), "a live terminal, from {origin:?}");
        let page = ConsoleApi::new(&console, None).await.sending((header::COOKIE, cookie.clone()));
        let page = page.sending((header::ORIGIN, origin.clone()));
        for path in [format!("/api/v1/sessions/{}/termination", session.name_any()), "/auth/out".to_owned()] {
            let answer = page.post(&path, json!({})).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}, from {origin:?}");
            assert!(answer.error().contains("not the console's own"), "{path}, from {origin:?}: {answer:?}");
        }
    }
    for origin in foreign(web) {
        let opened = TerminalPage::try_open(web, terminal, &with(origin.clone())).await;
        assert_eq!(opened.err().map(|(status, _)| status), Some(StatusCode::FORBIDDEN), "a terminal, from {origin:?}");
    }
    // The console's own page is not refused.
    assert!(FeedPage::try_open(here, &with(format!("http://{here}"))).await.is_ok());
    assert!(observe(format!("http://{here}")).await.is_ok());
    assert!(TerminalPage::try_open(web, terminal, &with(format!("http://{web}"))).await.is_ok());
}
