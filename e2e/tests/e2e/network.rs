//! Networks that fall silent on either side of a gateway, and connections that only look as if theirs had.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bastion_operator::api::{Phase, Reason};

use bastion_e2e::network::skipped;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{
    Bastion, Gateway, IsolatedAddress, Open, Process, Relay, Sshd, default_timeout, eventually, throughout,
};

/// Within this time the loss of a network is shown.
const NETWORK_LOST: Duration = Duration::from_secs(30);

/// What is found out sooner was found out by an error, and not by silence.
const BY_AN_ERROR: Duration = Duration::from_secs(10);

/// Bytes that pass through one end of a pipe, while the other is in the hands of an `ssh`.
#[derive(Clone, Default)]
pub struct Passed(Arc<AtomicU64>);

impl Passed {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub async fn exceed(&self, bytes: u64) {
        eventually(default_timeout(), &format!("more than {bytes} bytes"), async || {
            let passed = self.bytes();
            if passed > bytes { Ok(()) } else { Err(passed.to_string()) }
        })
        .await;
    }
}

/// Starts an `ssh` whose output is read in pieces of this size, with this time between two of them.
pub async fn download(ssh: Ssh, piece: usize, pace: Duration) -> (Process, Passed) {
    let (mut output, to_it) = std::io::pipe().expect("a pipe");
    let passed = Passed::default();
    let counter = passed.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; piece];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            counter.add(length);
            std::thread::sleep(pace);
        }
    });
    let nothing = File::open("/dev/null").expect("/dev/null");
    (ssh.start_with(nothing, OwnedFd::from(to_it).into()).await, passed)
}

/// Starts an `ssh` to which zeros are written without end.
pub async fn upload(ssh: Ssh) -> (Process, Passed) {
    let (from_it, mut input) = std::io::pipe().expect("a pipe");
    let passed = Passed::default();
    let counter = passed.clone();
    std::thread::spawn(move || {
        let zeros = vec![0; BULK];
        while input.write_all(&zeros).is_ok() {
            counter.add(BULK);
            std::thread::sleep(BULK_PACE);
        }
    });
    let nothing = File::create("/dev/null").expect("/dev/null");
    (ssh.start_with(OwnedFd::from(from_it).into(), nothing).await, passed)
}

/// Some 13 MB/s: busy, without taking the whole machine.
const BULK: usize = 64 * 1024;
const BULK_PACE: Duration = Duration::from_millis(5);

/// Three sessions: at rest, in the midst of a download, and in the midst of an upload.
pub async fn open_three(bastion: &Bastion, target: &str, dress: impl Fn(Ssh) -> Ssh) -> [Open; 3] {
    let ssh = async |user: &str| dress(bastion.ssh(&format!("{user}:{target}")).await).no_terminal();
    let rests = bastion.opened(ssh("rests").await.start().await, "rests").await;
    let (downloads, down) = download(ssh("downloads").await.command("cat /dev/zero"), BULK, BULK_PACE).await;
    let (uploads, up) = upload(ssh("uploads").await.command("cat > /dev/null")).await;
    down.exceed(16 * BULK as u64).await;
    up.exceed(64 * BULK as u64).await;
    let (down, up) = (bastion.watch.started("downloads").await, bastion.watch.started("uploads").await);
    [rests, Open { ssh: downloads, session: down }, Open { ssh: uploads, session: up }]
}

/// Starts a target at this place, and a bastion that names it `far` and has the users of [`THREE`].
pub async fn with_far_target(place: &IsolatedAddress) -> (Sshd, Bastion) {
    let far = Sshd::start_at(place.address).await;
    let bastion = Bastion::with(async |namespace, _| {
        for user in THREE {
            namespace.user(user).await;
        }
        namespace.target("far", &far).await;
    })
    .await;
    (far, bastion)
}

pub const THREE: [&str; 3] = ["rests", "downloads", "uploads"];

/// Waits for the session's end by a silent network, with these words in its message.
pub async fn lost(bastion: &Bastion, cut: Instant, open: &Open, words: &str) {
    lost_within(NETWORK_LOST, bastion, cut, open, words).await;
}

/// The same, within this time.
pub async fn lost_within(bound: Duration, bastion: &Bastion, cut: Instant, open: &Open, words: &str) {
    let left = bound.saturating_sub(cut.elapsed());
    let end = bastion.watch.ended_within(left, &open.session, Reason::NetworkLost).await;
    let message = end.session.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains(words), "of {}: {message}", open.session.spec.user.name);
    let took = end.at.duration_since(cut);
    let user = &open.session.spec.user.name;
    eprintln!("{user} was shown as lost after {took:?}");
    assert!(took >= BY_AN_ERROR, "{user} was told after {took:?}: that is no silent network");
}

#[tokio::test]
async fn users_whose_network_falls_silent_are_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = Bastion::with_users(&THREE).await;
    let from_there = |ssh: Ssh| ssh.option("-b").option(&place.address.to_string());
    let (mut alice, mut three) = tokio::join!(bastion.open("alice"), open_three(&bastion, "web-1", from_there));
    assert_eq!(three[0].session.spec.client.address, place.address.to_string());
    let cut = Instant::now();
    place.cut_off().await;
    for open in &mut three {
        lost(&bastion, cut, open, "the network to the user").await;
        assert!(open.ssh.is_there(), "the client of {} was told too", open.session.spec.user.name);
    }
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
}

#[tokio::test]
async fn sessions_to_a_target_whose_network_falls_silent_are_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    let (_far, bastion) = with_far_target(&place).await;
    let (mut alice, mut three) = tokio::join!(bastion.open("alice"), open_three(&bastion, "far", |ssh| ssh));
    let cut = Instant::now();
    place.cut_off().await;
    for open in &mut three {
        lost(&bastion, cut, open, "the network to the target").await;
        let outcome = open.ssh.finish(default_timeout()).await;
        assert!(outcome.stderr.contains("bastion: session ended: the network to the target"), "{outcome:?}");
    }
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
}

/// Long enough for a kernel to ask a side without room at intervals of a minute, where it may choose.
const LONG_PAUSE: Duration = Duration::from_secs(56);

#[tokio::test]
async fn a_user_who_stopped_reading_long_ago_and_then_vanishes_is_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    if !Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists() {
        return skipped("before Linux 6.15 no program can have the kernel ask more often");
    }
    let bastion = Bastion::up().await;
    let relay = Relay::narrow(place.address, bastion.gateway.address).await;
    let ssh = bastion.ssh("alice:web-1").await.by_way_of(relay.address);
    // At full speed the client grants more than the relay has room for.
    let (ssh, passed) = download(ssh.command("cat /dev/zero"), BULK, Duration::ZERO).await;
    let session = bastion.watch.started("alice").await;
    passed.exceed(16 * BULK as u64).await;
    relay.cut();
    throughout(LONG_PAUSE, async || assert_eq!(bastion.watch.phase(&session), Phase::Active)).await;
    let cut = Instant::now();
    place.cut_off().await;
    lost(&bastion, cut, &Open { ssh, session }, "the network to the user").await;
}

/// Longer than any silence that ends a session.
const AWHILE: Duration = Duration::from_secs(45);

/// How much the paused reader gets.
const PENDING: u64 = 100_000_000;

#[tokio::test]
async fn the_slow_the_paused_and_the_silent_are_not_lost() {
    let bastion = Bastion::with_users(&["slow", "paused"]).await;
    let Gateway { http, .. } = bastion.gateway;
    let mut silent = bastion.open("alice").await;
    let ssh = bastion.ssh("slow:web-1").await.command("cat /dev/zero");
    let (_slow, trickle) = download(ssh, 1024, Duration::from_secs(1)).await;
    let ssh = bastion.ssh("paused:web-1").await.command(&format!("head -c {PENDING} /dev/zero"));
    let (mut paused, flood) = download(ssh, BULK, Duration::ZERO).await;
    let sessions = [&silent.session, &bastion.watch.started("slow").await, &bastion.watch.started("paused").await];
    flood.exceed(1_000_000).await;
    paused.freeze().await;
    let before = flood.bytes();
    throughout(AWHILE, async || {
        for session in sessions {
            let user = &session.spec.user.name;
            assert_eq!(bastion.watch.phase(session), Phase::Active, "{user} was ended; the gateway at {http} says why");
        }
    })
    .await;
    assert!(before < PENDING, "all had come before the pause");
    paused.thaw();
    assert_eq!(paused.finish(default_timeout()).await.code, Some(0));
    flood.exceed(PENDING - 1).await;
    assert_eq!(flood.bytes(), PENDING);
    bastion.watch.ended(sessions[2], Reason::UserExit).await;
    let so_far = trickle.bytes();
    trickle.exceed(so_far).await;
    throughout(Duration::from_mins(1).saturating_sub(AWHILE), async || {
        assert_eq!(bastion.watch.phase(sessions[0]), Phase::Active);
        assert_eq!(bastion.watch.phase(sessions[1]), Phase::Active);
    })
    .await;
    silent.still_answers().await;
}
