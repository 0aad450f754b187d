//! One user who fills the gateway's memory: many connections with many channels whose data nobody takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use serde_json::json;
use tokio::task::JoinSet;

use bastion_e2e::hostile_target::HostileTarget;
use bastion_e2e::russh_client::{Trusting, sign_in_granting_nothing};
use bastion_e2e::{Bastion, Echo, LoadClient, Setting, default_timeout, eventually, proc, weight};

const MEBIBYTE: usize = 1 << 20;
/// The memory budget of the gateway.
const BUDGET: usize = 64 * MEBIBYTE;
/// What the gateway may take beyond its budget.
const SLACK: usize = 64 * MEBIBYTE;
const CONNECTIONS: usize = 20;
const CHANNELS: usize = 8;
/// How long a keystroke of another user may take.
const KEYSTROKE: Duration = Duration::from_millis(50);

/// What the hostile user sends on each channel.
#[derive(Clone, Copy)]
enum Data {
    /// As much as the window takes, in long messages.
    Long,
    /// This many messages of one byte, on two streams in turn, so that they cannot be merged.
    Pieces(usize),
}

fn resident(bastion: &Bastion) -> usize {
    proc::resident(bastion.gateway.process.pid())
}

async fn bastion(target: &HostileTarget, echo: &Echo) -> Bastion {
    let env = vec![("BASTION_MEMORY_BUDGET", "64Mi".into()), ("BASTION_MAX_STARTUPS_PER_ADDRESS", "512".into())];
    Bastion::in_setting(&Setting { env, ..Setting::default() }, async |namespace, _| {
        namespace.user("bob").await;
        target.add_to(namespace, "evil", json!({})).await;
        echo.add_to(namespace, "echo", json!({})).await;
    })
    .await
}

/// Sends on a channel, and counts the bytes that were taken.
async fn send(channel: ChannelWriteHalf<client::Msg>, data: Data, sent: &AtomicUsize) -> Result<(), russh::Error> {
    match data {
        Data::Long => loop {
            channel.data_bytes(vec![b'x'; 32 * 1024]).await?;
            sent.fetch_add(32 * 1024, Ordering::Relaxed);
        },
        Data::Pieces(number) => {
            for _ in 0..number / 2 {
                channel.data_bytes("x").await?;
                channel.extended_data_bytes(1, "y").await?;
                sent.fetch_add(2, Ordering::Relaxed);
            }
            std::future::pending().await
        }
    }
}

/// Reads what the gateway says on a channel.
async fn drain(mut channel: ChannelReadHalf) {
    while let Some(message) = channel.wait().await {
        if matches!(message, ChannelMsg::Close) {
            return;
        }
    }
}

/// Opens connections whose channels send without end. Returns them when the gateway takes no more.
async fn attack(bastion: &Bastion, connections: usize, data: Data) -> (Vec<Handle<Trusting>>, JoinSet<()>) {
    let clients = join_all((0..connections).map(|_| sign_in_granting_nothing(bastion, "alice:evil"))).await;
    let (sent, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for client in &clients {
        for _ in 0..CHANNELS {
            // The gateway may refuse a channel.
            let Ok(channel) = client.channel_open_session().await else { continue };
            channel.exec(true, "deaf").await.expect("a connection");
            let ((read, write), sent) = (channel.split(), sent.clone());
            tasks.spawn(async move {
                tokio::select! {
                    _ = send(write, data, &sent) => {}
                    () = drain(read) => {}
                }
            });
        }
    }
    let mut last = (0, Instant::now());
    eventually(default_timeout(), "the gateway takes no more", async || {
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let stands = now > 0 && last.1.elapsed() > Duration::from_secs(2);
        if stands { Ok(()) } else { Err(format!("{now} bytes")) }
    })
    .await;
    (clients, tasks)
}

async fn assert_bounded(data: Data, connections: usize) {
    let (target, echo) = (HostileTarget::start(4 << 20).await, Echo::start().await);
    let bastion = bastion(&target, &echo).await;
    let bob = LoadClient::open(bastion.gateway.address, "bob:echo").await.unwrap_or_else(|why| panic!("{why}"));
    bob.answers().await.unwrap_or_else(|why| panic!("{why}"));
    let before = resident(&bastion);
    let _held = attack(&bastion, connections, data).await;
    let grown = resident(&bastion).saturating_sub(before);
    let taken = bastion.gateway.metric("bastion_memory_budget_taken_bytes").await;
    eprintln!("{} MiB more, {} MiB of the budget taken", grown / MEBIBYTE, taken / MEBIBYTE);
    assert!(grown <= BUDGET + SLACK, "{} MiB more", grown / MEBIBYTE);
    let mut keystrokes = Vec::new();
    for _ in 0..21 {
        let typed = Instant::now();
        bob.answers().await.unwrap_or_else(|why| panic!("{why}"));
        keystrokes.push(typed.elapsed());
    }
    keystrokes.sort_unstable();
    assert!(keystrokes[10] < KEYSTROKE, "{keystrokes:?}");
}

/// The windows grow while the target takes the first data, and are full when it takes no more.
#[tokio::test]
async fn channels_that_nobody_reads_stay_within_the_budget() {
    let _held = weight::take(2).await;
    assert_bounded(Data::Long, CONNECTIONS).await;
}

#[tokio::test]
async fn small_pieces_do_not_cost_a_hundred_times_their_size() {
    let _held = weight::take(2).await;
    let (target, echo) = (HostileTarget::start(0).await, Echo::start().await);
    let bastion = bastion(&target, &echo).await;
    let before = resident(&bastion);
    let _held = attack(&bastion, 2, Data::Pieces(20_000)).await;
    let grown = resident(&bastion).saturating_sub(before);
    eprintln!("{} KiB more", grown / 1024);
    // Each connection and channel costs 200 KiB at most; 320,000 bytes were sent.
    assert!(grown < 2 * CHANNELS * 400 * 1024, "{} KiB more", grown / 1024);
}

#[tokio::test]
async fn a_user_without_a_limit_of_sessions_has_the_default_one() {
    let setting = Setting { env: vec![("BASTION_MAX_SESSIONS_PER_USER", "2".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| namespace.user("bob").await).await;
    let _open = (bastion.open("alice").await, bastion.open("alice").await);
    let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
    assert!(outcome.stderr.contains("you have reached your limit of sessions, 2"), "{outcome:?}");
    assert_eq!(bastion.ssh("bob:web-1").await.command("true").run().await.code, Some(0));
}
