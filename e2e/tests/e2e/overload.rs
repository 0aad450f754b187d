//! An API server that answers 503 for a while, as an overloaded one does: a gateway's loss meanwhile is shown soon after.

use std::time::Duration;

use axum::http::StatusCode;
use bastion_operator::api::{ObservedBy, Phase, Reason};
use nix::sys::signal::Signal;

use bastion_e2e::{ApiProxy, Bastion, ControlPlane, Controller, Fault, Gateway, Setting, throughout};

/// How soon after the API server's recovery the sessions of a dead gateway must be shown as ended.
const SHOWN_AFTER_RECOVERY: Duration = Duration::from_secs(30);

/// One gateway is killed as the overload begins, another lives on.
async fn a_dead_gateway_is_told_from_a_live_one_after(overload: Duration, retry_after: Option<u32>) {
    let proxy = ApiProxy::to(&*ControlPlane::shared().await).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let (namespace, behind) = (&bastion.namespace, Setting { api: Some(&proxy), ..Setting::default() });
    let dead = Gateway::start_in(namespace, "gateway-1", &[], &behind).await;
    let live = Gateway::start_in(namespace, "gateway-2", &[], &behind).await;
    let _first = Controller::start_in(namespace, "controller-0", "10m", &behind).await;
    let _second = Controller::start_in(namespace, "controller-1", "10m", &behind).await;
    let alice = bastion.open_on(&dead, "alice", "web-1").await;
    let mut bob = bastion.open_on(&live, "bob", "web-1").await;

    proxy.answer(Fault::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after });
    dead.process.signal(Signal::SIGKILL);
    let both_active = async || {
        let phases = [&alice, &bob].map(|open| bastion.watch.phase(&open.session));
        assert_eq!(phases, [Phase::Active; 2], "while no client can write");
    };
    throughout(overload, both_active).await;
    proxy.forward();
    let end = bastion.watch.ended_within(SHOWN_AFTER_RECOVERY, &alice.session, Reason::GatewayLost).await;
    assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Controller));
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    let again = bastion.open_on(&live, "bob", "web-1").await;
    let instances = [&again, &bob].map(|open| open.session.spec.gateway.instance.clone());
    assert_eq!(instances[0], instances[1], "the live gateway was not given up");
}

/// The longest pause between the client library's own retries is 82 s, which it reaches after a minute of overload.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_a_minute_of_503() {
    a_dead_gateway_is_told_from_a_live_one_after(Duration::from_mins(1), None).await;
}

/// A client that obeys `Retry-After` would send its next request 20 s after the overload.
#[tokio::test]
async fn a_dead_gateway_is_shown_soon_after_503_with_a_long_retry_after() {
    a_dead_gateway_is_told_from_a_live_one_after(Duration::from_secs(10), Some(30)).await;
}
