//! One user who fills the gateway's memory: many connections with many channels whose data nobody takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rstest::rstest;
use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use serde_json::json;
use tokio::task::JoinSet;

use bastion_e2e::hostile_target::HostileTarget;
use bastion_e2e::russh_client::{Trusting, sign_in_granting_nothing};
use bastion_e2e::{
    Bastion, Echo, LoadClient, Setting, TerminalPage, default_timeout, eventually, proc, russh_client, weight,
};

const MEBIBYTE: usize = 1 << 20;
/// The memory budget of the gateway.
const BUDGET: usize = 64 * MEBIBYTE;
/// The bytes that the hostile target takes on each channel.
const TAKEN_BY_TARGET: u32 = 4 << 20;
/// The first window of a channel. A fast transfer gets a larger one.
const FIRST_WINDOW: u32 = 32 * 1024;
/// The memory of a session with its first channel.
const FIRST_CHANNEL: usize = 304 * 1024;
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

/// Connections whose channels send without end.
struct Flood {
    _clients: Vec<Handle<Trusting>>,
    _tasks: JoinSet<()>,
    /// The bytes that were taken of them.
    sent: usize,
}

/// Opens connections of a user whose channels send without end. Returns them when the gateway takes no more.
async fn flood(bastion: &Bastion, name: &str, (connections, channels): (usize, usize), data: Data) -> Flood {
    let clients = join_all((0..connections).map(|_| sign_in_granting_nothing(bastion, name))).await;
    let (sent, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for client in &clients {
        for _ in 0..channels {
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
    Flood { _clients: clients, _tasks: tasks, sent: last.0 }
}

async fn assert_bounded(data: Data, connections: usize) {
    let (target, echo) = (HostileTarget::start(TAKEN_BY_TARGET).await, Echo::start().await);
    let bastion = bastion(&target, &echo).await;
    let bob = LoadClient::open(bastion.gateway.address, "bob:echo").await.unwrap_or_else(|why| panic!("{why}"));
    bob.answers().await.unwrap_or_else(|why| panic!("{why}"));
    let before = resident(&bastion);
    let _held = flood(&bastion, "alice:evil", (connections, CHANNELS), data).await;
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
    // Besides a quarter of the budget, one user holds the sessions and their first channels. Bob has one too.
    assert!(taken <= BUDGET / 4 + (connections + 1) * FIRST_CHANNEL, "{} KiB taken", taken / 1024);
    let transfer = flood(&bastion, "bob:evil", (1, 1), Data::Long).await;
    let window = transfer.sent.saturating_sub(TAKEN_BY_TARGET as usize);
    eprintln!("a window of {} KiB for another user", window / 1024);
    assert!(window >= 4 * FIRST_WINDOW as usize, "the window of another user does not grow: {window} bytes");
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
    let _held = flood(&bastion, "alice:evil", (2, CHANNELS), Data::Pieces(20_000)).await;
    let grown = resident(&bastion).saturating_sub(before);
    eprintln!("{} KiB more", grown / 1024);
    // Each connection and channel costs 200 KiB at most; 320,000 bytes were sent.
    assert!(grown < 2 * CHANNELS * 400 * 1024, "{} KiB more", grown / 1024);
}

/// A page's window takes 960 KiB, its session and channel 304 KiB.
#[rstest]
#[case::for_no_terminal("3Mi", false)]
#[case::for_a_terminal_and_no_files("6Mi", true)]
#[tokio::test]
async fn a_web_terminal_needs_memory(#[case] budget: &str, #[case] has_terminal: bool) {
    let setting = Setting { env: vec![("BASTION_MEMORY_BUDGET", budget.into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let token = ("authorization", format!("Bearer {}", bastion.namespace.control_plane.person_token()));
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-1", &[token]).await;
    if has_terminal {
        page.wait_for("session").await;
        page.says(json!({"type": "open_files"})).await;
        let closed = page.wait_for("files_closed").await;
        assert!(
            closed["message"].as_str().is_some_and(|text| text.contains("no memory for another channel")),
            "{closed}"
        );
        assert_eq!(bastion.gateway.metric("bastion_channels_without_memory_total").await, 1);
        page.types("echo shell $((40 + 2))").await;
        page.shows("shell 42").await;
    } else {
        let end = page.wait_for("end").await;
        assert!(end.to_string().contains("no memory for another web terminal"), "{end}");
        assert_eq!(bastion.gateway.metric(r#"bastion_sign_ins_refused_total{reason="no_memory"}"#).await, 1);
        assert_eq!(bastion.ssh("person:web-1").await.command("true").run().await.code, Some(0), "over SSH");
    }
}

/// A request of 100 KiB is no flood, whatever others hold.
#[tokio::test]
async fn a_long_request_without_memory_is_refused_and_the_connection_goes_on() {
    let setting = Setting { env: vec![("BASTION_MEMORY_BUDGET", "256Ki".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |_, _| ()).await;
    let long = || "x".repeat(100 * 1024);
    for (variable, command, expected) in [("short".to_owned(), long(), 255), (long(), "true".to_owned(), 0)] {
        let client = russh_client::sign_in(&bastion, "alice:web-1").await;
        let mut channel = client.channel_open_session().await.expect("a channel");
        channel.set_env(true, "LC_TEST", variable).await.expect("a connection");
        channel.exec(true, command).await.expect("a connection");
        let (mut code, mut words) = (None, Vec::new());
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                ChannelMsg::ExtendedData { data, .. } => words.extend_from_slice(&data),
                _ => {}
            }
        }
        let words = String::from_utf8_lossy(&words);
        assert_eq!(code, Some(expected), "{words}");
        assert_eq!(words.contains("no memory for so long a command"), expected == 255, "{words}");
    }
    assert_eq!(bastion.gateway.metric("bastion_requests_without_memory_total").await, 2);
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
