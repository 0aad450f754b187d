//! Targets that attack the gateway through the connections of their users. What they open is in `unrequested_channels`, and
//! what they say to terminals and logs in `untrusted_text`.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Reason};
use futures::future::join_all;
use kube::ResourceExt;
use russh::ChannelMsg;
use serde_json::json;
use tokio::time::timeout;

use bastion_e2e::hostile_target::{Babbler, HostileTarget};
use bastion_e2e::proc::resident;
use bastion_e2e::{Bastion, Outcome, default_timeout, russh_client, stretched, weight};

const MEBIBYTE: usize = 1 << 20;
/// The most that the gateway's resident memory may grow by.
const MAX_GROWTH: usize = 32 * MEBIBYTE;
/// How long the gateway waits for a target's sign-in, and a little for the rest.
const SIGN_IN: Duration = Duration::from_secs(25);
/// A client that cannot send for so long is held up.
const STANDSTILL: Duration = Duration::from_secs(2);

async fn with_target(window: u32) -> Bastion {
    let target = HostileTarget::start(window).await;
    Bastion::with(async |namespace, _| {
        namespace.user("bob").await;
        target.add_to(namespace, "evil", json!({})).await;
    })
    .await
}

fn grown(bastion: &Bastion, before: usize) -> usize {
    resident(bastion.gateway.process.pid()).saturating_sub(before)
}

/// The target grants the largest window there is, and then reads nothing from its socket.
#[tokio::test]
async fn a_huge_window_does_not_make_the_gateway_hold_what_the_target_does_not_read() {
    let _held = weight::take(2).await;
    let bastion = with_target(u32::MAX).await;
    let mut bob = bastion.open("bob").await;
    let before = resident(bastion.gateway.process.pid());
    let client = russh_client::sign_in(&bastion, "alice:evil").await;
    let channel = client.channel_open_session().await.expect("a channel");
    channel.exec(false, "stops").await.expect("a connection");
    let mut sent = 0;
    while matches!(timeout(STANDSTILL, channel.data_bytes(vec![b'x'; 32 * 1024])).await, Ok(Ok(()))) {
        sent += 32 * 1024;
        assert!(sent < 512 * MEBIBYTE, "the client is never held up");
    }
    assert!(sent >= MEBIBYTE, "the connection ended after {sent} bytes");
    let grown = grown(&bastion, before);
    eprintln!("{} MiB sent, {} MiB more", sent / MEBIBYTE, grown / MEBIBYTE);
    assert!(grown < MAX_GROWTH, "{} MiB more after {} MiB", grown / MEBIBYTE, sent / MEBIBYTE);
    bob.still_answers().await;
}

#[tokio::test]
async fn a_target_that_grants_window_without_end_is_like_any_other() {
    let bastion = with_target(1 << 20).await;
    let before = resident(bastion.gateway.process.pid());
    let outcome = bastion.ssh("alice:evil").await.command("grants").run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "granted\n"), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    assert!(grown(&bastion, before) < MAX_GROWTH);
}

/// The user's client takes a first window of output and no more.
#[tokio::test]
async fn output_without_end_that_the_user_does_not_read_takes_little_memory() {
    let _held = weight::take(2).await;
    let bastion = with_target(1 << 20).await;
    let mut bob = bastion.open("bob").await;
    let before = resident(bastion.gateway.process.pid());
    let client = russh_client::sign_in_granting_nothing(&bastion, "alice:evil").await;
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.exec(true, "flood").await.expect("a connection");
    let mut received = 0;
    while let Ok(Some(message)) = timeout(STANDSTILL, channel.wait()).await {
        if let ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } = message {
            received += data.len();
        }
    }
    assert!(received >= 32 * 1024, "only {received} bytes of output");
    let grown = grown(&bastion, before);
    eprintln!("{received} bytes of output, {} KiB more", grown / 1024);
    assert!(grown < MAX_GROWTH, "{} MiB more", grown / MEBIBYTE);
    bob.still_answers().await;
}

/// A packet in the clear with a message to ignore (RFC 4253, sections 6 and 11.2).
const IGNORE: [u8; 16] = [0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7];

#[tokio::test]
async fn targets_that_speak_without_end_before_the_sign_in_are_given_up() {
    let version = b"SSH-2.0-evil\r\n".as_slice();
    let babblers = [
        ("lines", Babbler::start(b"", b"an endless banner \x1b[2J\r\n").await),
        ("a-line", Babbler::start(b"", b"x").await),
        ("a-version", Babbler::start(b"SSH-2.0-", b"x").await),
        ("a-packet", Babbler::start(&[version, &[0xff; 4]].concat(), b"x").await),
        ("ignored", Babbler::start(version, &IGNORE).await),
    ];
    let bastion = Bastion::with(async |namespace, _| {
        for (name, babbler) in &babblers {
            babbler.add_to(namespace, name).await;
        }
    })
    .await;
    let before = resident(bastion.gateway.process.pid());
    let began = Instant::now();
    let runs = babblers.iter().map(async |(name, _)| {
        let outcome = bastion.ssh(&format!("alice:{name}")).await.command("true").run().await;
        (*name, outcome)
    });
    for (name, outcome) in join_all(runs).await {
        assert_given_up(name, &outcome);
    }
    assert!(began.elapsed() < stretched(SIGN_IN), "{:?}", began.elapsed());
    let grown = grown(&bastion, before);
    assert!(grown < MAX_GROWTH, "{} MiB more", grown / MEBIBYTE);
    for name in bastion.session_names().await {
        let session = bastion.namespace.api::<BastionSession>().get(&name).await.expect("a session");
        let ended = timeout(default_timeout(), bastion.watch.ended(&session, Reason::TargetUnreachable)).await;
        let message = ended.expect("it has ended").session.status.and_then(|it| it.message).unwrap_or_default();
        assert!(!message.contains('\u{1b}'), "{}: {message:?}", session.name_any());
    }
    assert!(!bastion.gateway.process.stderr().contains('\u{1b}'), "the log");
}

fn assert_given_up(name: &str, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(255), "{name}: {outcome:?}");
    assert!(outcome.stderr.contains(&format!("target \"{name}\"")), "{name}: {outcome:?}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{name}: {outcome:?}");
}
