//! Networks that are broken in part: one direction only, or large packets only.

use std::time::{Duration, Instant};

use bastion_operator::api::Phase;

use crate::network::{THREE, lost, open_three, with_far_target};
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{Bastion, IsolatedAddress, default_timeout, throughout};

/// One direction of a network, seen from the isolated address.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Inbound,
    Outbound,
}

async fn cut(place: &IsolatedAddress, direction: Direction) {
    match direction {
        Direction::Inbound => place.cut_off_inbound().await,
        Direction::Outbound => place.cut_off_outbound().await,
    }
}

async fn users_are_lost(direction: Direction) {
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = Bastion::with_users(&THREE).await;
    let from_there = |ssh: Ssh| ssh.option("-b").option(&place.address.to_string());
    let three = open_three(&bastion, "web-1", from_there).await;
    let start = Instant::now();
    cut(&place, direction).await;
    for open in &three {
        lost(&bastion, start, open, "the network to the user").await;
    }
}

#[tokio::test]
async fn users_who_are_reached_but_not_heard_are_lost() {
    users_are_lost(Direction::Outbound).await;
}

#[tokio::test]
async fn users_who_are_heard_but_not_reached_are_lost() {
    users_are_lost(Direction::Inbound).await;
}

async fn targets_are_lost(direction: Direction) {
    let Some(place) = IsolatedAddress::new() else { return };
    let (_far, bastion) = with_far_target(&place).await;
    let mut three = open_three(&bastion, "far", |ssh| ssh).await;
    let start = Instant::now();
    cut(&place, direction).await;
    for open in &mut three {
        lost(&bastion, start, open, "the network to the target").await;
        open.ssh.finish(default_timeout()).await;
    }
}

#[tokio::test]
async fn targets_that_are_reached_but_not_heard_are_lost() {
    targets_are_lost(Direction::Outbound).await;
}

#[tokio::test]
async fn targets_that_are_heard_but_not_reached_are_lost() {
    targets_are_lost(Direction::Inbound).await;
}

/// Longer than any silence that ends a session.
const AWHILE: Duration = Duration::from_secs(45);

/// The longest packet that passes: room for keystrokes, keepalives and what a shell answers to them.
const LONGEST: u16 = 500;

/// A path whose MTU is smaller than both ends believe, and which tells neither of them.
#[tokio::test]
async fn where_large_packets_vanish_a_download_is_lost_and_a_shell_lives_on() {
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = Bastion::with_users(&THREE).await;
    let from_there = |ssh: Ssh| ssh.option("-b").option(&place.address.to_string());
    let [mut rests, downloads, _uploads] = open_three(&bastion, "web-1", from_there).await;
    let start = Instant::now();
    place.drop_large_packets(LONGEST).await;
    lost(&bastion, start, &downloads, "the network to the user").await;
    throughout(AWHILE.saturating_sub(start.elapsed()), async || {
        assert_eq!(bastion.watch.phase(&rests.session), Phase::Active);
    })
    .await;
    rests.still_answers().await;
}

#[tokio::test]
async fn where_large_packets_to_a_target_vanish_transfers_are_lost_and_a_shell_lives_on() {
    let Some(place) = IsolatedAddress::new() else { return };
    let (_far, bastion) = with_far_target(&place).await;
    let [mut rests, downloads, uploads] = open_three(&bastion, "far", |ssh| ssh).await;
    let start = Instant::now();
    place.drop_large_packets(LONGEST).await;
    lost(&bastion, start, &downloads, "the network to the target").await;
    lost(&bastion, start, &uploads, "the network to the target").await;
    throughout(AWHILE.saturating_sub(start.elapsed()), async || {
        assert_eq!(bastion.watch.phase(&rests.session), Phase::Active);
    })
    .await;
    rests.still_answers().await;
}
