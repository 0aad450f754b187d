//! Admission webhooks of other people that take long.

use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use nix::sys::signal::Signal;

use bastion_e2e::slow_webhook::SlowWebhook;
use bastion_e2e::{Bastion, Controller, LOST_GATEWAY, throughout, weight};

#[tokio::test]
async fn a_webhook_that_delays_every_lease_by_5_seconds_loses_no_gateway() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let controller = Controller::start(&bastion.namespace, "controller-0").await;
    controller.is_ready().await;
    let mut alice = bastion.open("alice").await;
    let webhook = SlowWebhook::on_leases(&bastion.namespace, Duration::from_secs(5)).await;
    throughout(LOST_GATEWAY + LOST_GATEWAY, async || {
        alice.still_answers().await;
        assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    })
    .await;
    webhook.remove(&bastion.namespace).await;
    let again = bastion.open("alice").await;
    assert_eq!(again.session.spec.gateway.instance, alice.session.spec.gateway.instance, "it was not given up");
    bastion.gateway.process.signal(Signal::SIGKILL);
    bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
}
