//! Networks that part the bastion's own programs from the API server, and controllers that have reason to doubt
//! themselves.

use std::time::{Duration, Instant};

use bastion_operator::api::{ObservedBy, Phase, Reason};
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::refusal::assert_let_through;
use bastion_e2e::{
    Bastion, ControlPlane, Controller, Gateway, IsolatedAddress, LOST_GATEWAY, Open, PROMPT_BOUND, Relay, Setting,
    Sshd, default_timeout, eventually, throughout,
};

/// Within this time a program notices that a connection to the API server stands still.
const STALL_NOTICED: Duration = Duration::from_secs(13);

/// For so long a gateway is left alone with a termination, before a controller ends the session in its stead.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(20);

async fn relay() -> Relay {
    Relay::to(ControlPlane::shared().await.api_address()).await
}

/// Waits until the gateway lets alice in again, as a new instance.
async fn starts_new_instance(bastion: &Bastion, gateway: &Gateway, old: &Open) {
    eventually(default_timeout(), "the gateway begins a new life, in which alice gets in", async || {
        let outcome = gateway.ssh("alice:web-1").await.command("true").run().await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    let again = bastion.watch.started("alice").await;
    assert_ne!(again.spec.gateway.instance, old.session.spec.gateway.instance);
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_from_the_api_is_given_up_and_starts_new_instance_on_its_return() {
    let relay = relay().await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let setting = Setting { api: Some(&relay), ..Setting::default() };
    let cut_off = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open_on(&cut_off, "alice", "web-1"), bastion.open("bob"));
    relay.cut();
    let end = bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
    assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Controller));
    // An outage of the API looks the same to it, and people repair clusters through their bastion.
    alice.still_answers().await;
    relay.restore();
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("this gateway was cut off from the cluster"), "{outcome:?}");
    starts_new_instance(&bastion, &cut_off, &alice).await;
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_from_everything_is_given_up_and_starts_new_instance_on_its_return() {
    let (Some(place), relay) = (IsolatedAddress::new(), relay().await) else { return };
    let far = Sshd::start_at(place.address).await;
    let bastion = Bastion::with(async |namespace, _| {
        namespace.user("bob").await;
        namespace.target("far", &far).await;
    })
    .await;
    let setting = Setting { api: Some(&relay), listen: Some(place.address), ..Setting::default() };
    let cut_off = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let (alice, mut bob) = tokio::join!(bastion.open_on(&cut_off, "alice", "far"), bastion.open("bob"));
    relay.cut();
    place.cut_off().await;
    bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
    relay.restore();
    place.reconnect().await;
    starts_new_instance(&bastion, &cut_off, &alice).await;
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}

/// Three controllers that miss a gateway's signs of life for longer than a gateway may be silent, each in another way.
#[tokio::test]
async fn a_controller_that_was_cut_off_frozen_or_had_its_watches_broken_gives_nobody_up() {
    let bastion = Bastion::up().await;
    let (cut, broken) = (relay().await, relay().await);
    let through = |api| Setting { api: Some(api), ..Setting::default() };
    let _cut_off = Controller::start_in(&bastion.namespace, "controller-0", &through(&cut)).await;
    let frozen = Controller::start(&bastion.namespace, "controller-1").await;
    let _broken = Controller::start_in(&bastion.namespace, "controller-2", &through(&broken)).await;
    let mut alice = bastion.open("alice").await;
    cut.cut();
    frozen.process.freeze().await;
    let start = Instant::now();
    throughout(Duration::from_secs(40), async || {
        broken.break_present();
        if start.elapsed() > Duration::from_secs(25) {
            cut.restore();
        }
        assert_eq!(bastion.watch.phase(&alice.session), Phase::Active, "after {:?}", start.elapsed());
    })
    .await;
    frozen.process.thaw();
    throughout(LOST_GATEWAY, async || {
        assert_eq!(bastion.watch.phase(&alice.session), Phase::Active, "after {:?}", start.elapsed());
    })
    .await;
    alice.still_answers().await;
    let again = bastion.open("alice").await;
    assert_eq!(again.session.spec.gateway.instance, alice.session.spec.gateway.instance, "it was not given up");
}

/// The connections are not closed, so the controller hears nothing, and nothing of that either.
#[tokio::test]
async fn a_controller_whose_watches_stand_still_takes_them_up_again() {
    let relay = relay().await;
    let bastion = Bastion::up().await;
    let setting = Setting { api: Some(&relay), ..Setting::default() };
    let _controller = Controller::start_in(&bastion.namespace, "controller-0", &setting).await;
    let alice = bastion.open("alice").await;
    relay.stall_present();
    bastion.gateway.process.signal(Signal::SIGKILL);
    bastion.watch.ended_within(STALL_NOTICED + LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
}

#[tokio::test]
async fn a_gateway_whose_watches_stand_still_hears_of_a_termination_in_time() {
    let relay = relay().await;
    let bastion = Bastion::up().await;
    let setting = Setting { api: Some(&relay), ..Setting::default() };
    let stalled = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let mut alice = bastion.open_on(&stalled, "alice", "web-1").await;
    relay.stall_present();
    let termination = json!({"spec": {"termination": {"requestedBy": "admin"}}});
    let name = alice.session.name_any();
    let patched = bastion.namespace.patch_session(&bastion.namespace.admin(), &name, termination).await;
    assert_let_through("the termination", patched);
    let end = bastion.watch.ended_within(TERMINATION_TIMEOUT, &alice.session, Reason::AdminTerminated).await;
    assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Gateway));
    assert!(alice.ssh.finish(PROMPT_BOUND).await.stderr.contains("terminated by admin"));
}
