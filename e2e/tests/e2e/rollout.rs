//! A rollout of the controllers, as a Deployment does it: an old one stops when a new one is ready.

use std::time::{Duration, Instant};

use bastion_operator::api::Reason;
use bastion_operator::lifecycle::LOST_AFTER;
use nix::sys::signal::Signal;

use bastion_e2e::http::get;
use bastion_e2e::{Bastion, ControlPlane, Controller, LOST_GATEWAY, Relay, Setting, stretched, throughout};

/// How long the new controller does not reach the API server.
const SLOW_START: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_gateway_that_dies_as_a_rollout_begins_is_shown_in_time() {
    let bastion = Bastion::up().await;
    let mut old = Controller::start(&bastion.namespace, "controller-0").await;
    old.is_ready().await;
    let open = bastion.open("alice").await;
    let api = Relay::to(ControlPlane::shared().await.api_address()).await;
    api.cut();
    let setting = Setting { api: Some(&api), ..Setting::default() };
    let new = Controller::start_in(&bastion.namespace, "controller-1", &setting).await;
    let killed = Instant::now();
    bastion.gateway.process.signal(Signal::SIGKILL);
    let retire = async {
        new.is_ready().await;
        old.process.signal(Signal::SIGTERM);
        assert_eq!(old.process.finish(stretched(LOST_GATEWAY)).await.code, Some(0));
    };
    let network = async {
        throughout(SLOW_START, async || assert_ne!(get(new.http, "/readyz").await.0, 200, "it sees nothing yet")).await;
        api.restore();
        let seeing = Instant::now();
        new.is_ready().await;
        assert!(seeing.elapsed() >= LOST_AFTER, "it was ready before it could declare a gateway lost");
    };
    let shown =
        bastion.watch.ended_within(LOST_GATEWAY.saturating_sub(killed.elapsed()), &open.session, Reason::GatewayLost);
    tokio::join!(shown, retire, network);
}

/// The new controller alone sees the loss: the gateway dies when the old one is about to stop.
#[tokio::test]
async fn a_gateway_that_dies_as_a_rollout_ends_is_shown_in_time() {
    let bastion = Bastion::up().await;
    let old = Controller::start(&bastion.namespace, "controller-0").await;
    let new = Controller::start(&bastion.namespace, "controller-1").await;
    let open = bastion.open("alice").await;
    new.is_ready().await;
    old.process.signal(Signal::SIGTERM);
    bastion.gateway.process.signal(Signal::SIGKILL);
    bastion.watch.ended_within(LOST_GATEWAY, &open.session, Reason::GatewayLost).await;
}
