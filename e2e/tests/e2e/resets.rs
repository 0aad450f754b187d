//! Targets whose connection is reset: by their kernel, by a device on the way, or because their process was killed.

use bastion_operator::api::Reason;
use futures::future::join_all;
use serde_json::json;

use crate::network::{THREE, open_three, with_far_target};
use bastion_e2e::{Bastion, IsolatedAddress, Open, PROMPT_BOUND, Relay, Setting, Sshd, default_timeout, eventually};

/// How many sessions are open when connections at rest are reset: a lost end showed in most of them, not in all.
const AT_REST: usize = 20;

/// Starts a bastion with the users of [`THREE`] and a target `behind` a relay.
async fn through_a_relay() -> (Bastion, Relay) {
    let relay = Relay::to({
        let sshd = Sshd::shared().await;
        (sshd.address, sshd.port).into()
    })
    .await;
    let setting = Setting {
        env: vec![("BASTION_LOG", "info,bastion_operator::gateway::session=debug".into())],
        ..Setting::default()
    };
    let bastion = Bastion::in_setting(&setting, async |namespace, sshd| {
        for user in THREE {
            namespace.user(user).await;
        }
        let behind = json!({"address": relay.address.ip(), "port": relay.address.port()});
        namespace.target_with("behind", sshd, behind).await;
    })
    .await;
    (bastion, relay)
}

/// Waits until each session is shown as ended because of its target, and its user has been told.
async fn all_closed(bastion: &Bastion, open: &mut [Open]) {
    for Open { ssh, session } in open {
        bastion.watch.ended_within(PROMPT_BOUND, session, Reason::TargetClosed).await;
        let outcome = ssh.finish(default_timeout()).await;
        assert!(outcome.stderr.contains("bastion: "), "the user reads that the target is gone: {outcome:?}");
    }
}

#[tokio::test]
async fn connections_reset_at_rest_end_their_sessions() {
    let (bastion, relay) = through_a_relay().await;
    let mut open = Vec::new();
    for _ in 0..AT_REST {
        open.push(bastion.open_on(&bastion.gateway, "alice", "behind").await);
    }
    relay.reset_present();
    all_closed(&bastion, &mut open).await;
}

#[tokio::test]
async fn connections_reset_in_the_middle_of_transfers_end_their_sessions() {
    for _ in 0..3 {
        let (bastion, relay) = through_a_relay().await;
        let mut three = open_three(&bastion, "behind", |ssh| ssh).await;
        relay.reset_present();
        all_closed(&bastion, &mut three).await;
    }
}

#[tokio::test]
async fn a_network_that_rejects_every_packet_ends_the_sessions() {
    let Some(place) = IsolatedAddress::new() else { return };
    let (_far, bastion) = with_far_target(&place).await;
    let mut three = open_three(&bastion, "far", |ssh| ssh).await;
    place.reset_all().await;
    all_closed(&bastion, &mut three).await;
}

/// The kernel resets the connection of a killed process that has unread data.
#[tokio::test]
async fn a_target_killed_with_a_keepalive_unread_ends_its_sessions() {
    let sshd = Sshd::start().await;
    let bastion = Bastion::with(async |namespace, _| namespace.target("doomed", &sshd).await).await;
    let mut open = join_all((0..10).map(|_| bastion.open_on(&bastion.gateway, "alice", "doomed"))).await;
    sshd.kill_with_unread_data(open.len()).await;
    all_closed(&bastion, &mut open).await;
}

#[tokio::test]
async fn a_session_without_a_channel_ends_with_its_target() {
    let (bastion, relay) = through_a_relay().await;
    let mut ssh = bastion.ssh("alice:behind").await.option("-N").start().await;
    let session = bastion.watch.started("alice").await;
    eventually(default_timeout(), "the gateway is signed in to the target", async || {
        let said = bastion.gateway.process.stderr();
        if said.contains("signed in to the target") { Ok(()) } else { Err(bastion.gateway.process.last_words()) }
    })
    .await;
    relay.reset_present();
    bastion.watch.ended_within(PROMPT_BOUND, &session, Reason::TargetClosed).await;
    ssh.finish(default_timeout()).await;
}
