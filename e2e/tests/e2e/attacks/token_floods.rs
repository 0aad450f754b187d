//! A stranger sends made-up tokens, each of which would cost the API server a review.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use futures::future::join_all;

use bastion_e2e::api_requests::ApiRequests;
use bastion_e2e::control_plane::ControlPlane;
use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::websocket::bearer;
use bastion_e2e::{Console, ConsoleApi, Gateway, Namespace};

/// The tokens that a stranger sends.
const FLOOD: usize = 200;

/// Returns the most reviews that an address may have caused since `start`: 20 at once, and 20 a second.
fn most(start: Instant) -> u64 {
    20 + 20 * (start.elapsed().as_secs() + 1)
}

#[tokio::test]
async fn made_up_tokens_cost_the_api_server_twenty_reviews_a_second() {
    // Other tests on the shared control plane cause reviews, too.
    let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
    let (console, gateway) = (Console::start(&namespace).await, Gateway::start(&namespace, "gateway-0").await);
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK);

    let (before, start) = (ApiRequests::count(&namespace.control_plane).await, Instant::now());
    let client = reqwest::Client::new();
    let (url, client) = (format!("http://{}/api/v1/me", console.address), &client);
    let asks = |number: usize| {
        let request = client.get(&url).bearer_auth(format!("made-up-{number}"));
        async { request.send().await.expect("an answer").status() }
    };
    let answers = join_all((0..FLOOD).map(asks)).await;
    let limited = answers.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!(
        answers.iter().all(|it| [StatusCode::TOO_MANY_REQUESTS, StatusCode::UNAUTHORIZED].contains(it)),
        "{answers:?}"
    );
    let reviews = ApiRequests::count(&namespace.control_plane).await.since(&before).writes("tokenreviews");
    assert!(reviews <= most(start) && limited > 0, "{reviews} reviews, {limited} of {FLOOD} limited");
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK, "a token that is known is no new review");

    let (before, start) = (ApiRequests::count(&namespace.control_plane).await, Instant::now());
    let opens = join_all((0..FLOOD).map(async |number| {
        TerminalPage::try_open(gateway.web, "target=web-1&cols=80&rows=24", &[bearer(&format!("made-up-{number}"))])
            .await
            .err()
    }));
    let limited =
        opens.await.into_iter().flatten().filter(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS).count();
    let reviews = ApiRequests::count(&namespace.control_plane).await.since(&before).writes("tokenreviews");
    assert!(reviews <= most(start) && limited > 0, "{reviews} reviews, {limited} of {FLOOD} limited");
}
