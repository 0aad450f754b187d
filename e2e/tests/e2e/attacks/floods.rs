//! A user whose client floods the gateway with messages that have no window, and reads or answers nothing.
//!
//! Channels, requests, pings and data of a client that does read are in `disconnects`.

use std::time::Duration;

use russh::ChannelMsg;
use russh::keys::ssh_key::PublicKey;
use serde_json::json;
use tokio::time::timeout;

use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::proc::resident;
use bastion_e2e::raw_client::{RawClient, body, message, take, take_number, text};
use bastion_e2e::russh_client;
use bastion_e2e::security_key::SecurityKey;
use bastion_e2e::terminal_page::TerminalPage;
use bastion_e2e::websocket::bearer;
use bastion_e2e::{Bastion, Setting, Sshd, default_timeout, eventually, weight};

const MEBIBYTE: usize = 1 << 20;
/// The messages of a flood, and how many of them are written at once.
const MESSAGES: usize = 200_000;
const BATCH: usize = 1000;
/// The most that the gateway's resident memory may grow by in all floods of a test.
const MAX_GROWTH: usize = 32 * MEBIBYTE;
/// A gateway that has not taken a batch for so long reads no more.
const STANDSTILL: Duration = Duration::from_secs(2);
/// A number of a channel that there is not.
const NO_CHANNEL: u32 = 4711;

/// How a flood ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The gateway took all messages.
    Taken,
    /// The gateway reads no more until its answers are read.
    Stopped,
    /// The gateway ended the connection.
    Ended,
}

async fn bastion(key: &SecurityKey, setting: &Setting<'_>) -> Bastion {
    Bastion::in_setting(setting, async |namespace: &Namespace, _: &Sshd| {
        namespace.user_with("mallory", json!({"groups": [PEOPLE], "publicKeys": [key.public]})).await;
    })
    .await
}

async fn sign_in(bastion: &Bastion, key: &SecurityKey) -> RawClient {
    let mut client = RawClient::connect(bastion.gateway.address).await;
    let blob = PublicKey::from_openssh(&key.public).expect("a key").to_bytes().expect("a key");
    let label = "sk-ssh-ed25519@openssh.com";
    let answer = client.sign_in("mallory:web-1", label, &blob, |data| key.sign(label, data)).await;
    body(&answer.expect("an answer"), message::USERAUTH_SUCCESS);
    client
}

/// Opens a session's channel. Returns the gateway's number of it.
async fn open_session(client: &mut RawClient) -> u32 {
    client.open_channel("session", 1).await;
    let confirmation = client.receive().await.expect("the connection goes on");
    let mut rest = body(&confirmation, message::CHANNEL_OPEN_CONFIRMATION);
    take_number(&mut rest);
    take_number(&mut rest)
}

/// Sends a message again and again, without reading.
async fn flood(client: &mut RawClient, payload: &[u8]) -> Outcome {
    for _ in 0..MESSAGES / BATCH {
        match timeout(STANDSTILL, client.send_many(payload, BATCH)).await {
            Ok(true) => {}
            Ok(false) => return Outcome::Ended,
            Err(_) => return Outcome::Stopped,
        }
    }
    Outcome::Taken
}

fn global_request(name: &str) -> Vec<u8> {
    [&[message::GLOBAL_REQUEST], text(name.as_bytes()).as_slice(), &[1]].concat()
}

fn on_channel(number: u8, channel: u32, rest: &[u8]) -> Vec<u8> {
    [&[number], &channel.to_be_bytes()[..], rest].concat()
}

fn open_of_unknown_type() -> Vec<u8> {
    let numbers = [7, u32::MAX, u32::MAX].map(u32::to_be_bytes).concat();
    [&[message::CHANNEL_OPEN], text(b"unknown@example.com").as_slice(), &numbers].concat()
}

/// Returns the messages of each flood, by what they are. Most of them have an answer.
fn messages(channel: u32) -> Vec<(&'static str, Vec<u8>)> {
    let request = [text(b"unknown@example.com"), vec![1]].concat();
    let env = [text(b"env"), vec![0], text(b"LC_X"), text(&[b'x'; 100])].concat();
    let most = u32::MAX.to_be_bytes();
    vec![
        ("pings", global_request("keepalive@openssh.com")),
        ("opens of an unknown type", open_of_unknown_type()),
        ("requests", on_channel(message::CHANNEL_REQUEST, channel, &request)),
        ("variables", on_channel(message::CHANNEL_REQUEST, channel, &env)),
        ("requests on no channel", on_channel(message::CHANNEL_REQUEST, NO_CHANNEL, &request)),
        ("window adjusts", on_channel(message::CHANNEL_WINDOW_ADJUST, channel, &most)),
        ("window adjusts of no channel", on_channel(message::CHANNEL_WINDOW_ADJUST, NO_CHANNEL, &most)),
        ("data on no channel", on_channel(message::CHANNEL_DATA, NO_CHANNEL, &text(b"data"))),
        ("closes of no channel", on_channel(message::CHANNEL_CLOSE, NO_CHANNEL, &[])),
        ("messages to ignore", [&[message::IGNORE], text(&[b'x'; 100]).as_slice()].concat()),
        ("unknown messages", vec![192]),
        ("answers to nothing", [&[message::UNIMPLEMENTED][..], &[0; 4]].concat()),
    ]
}

#[tokio::test]
async fn messages_without_a_window_take_little_memory_and_harm_no_other_session() {
    let _held = weight::take(2).await;
    let key = SecurityKey::new().await;
    let bastion = bastion(&key, &Setting::default()).await;
    let mut alice = bastion.open("alice").await;
    let before = resident(bastion.gateway.process.pid());
    for at in 0..messages(0).len() {
        let mut client = sign_in(&bastion, &key).await;
        let channel = open_session(&mut client).await;
        let (what, payload) = messages(channel).swap_remove(at);
        let flooding = flood(&mut client, &payload);
        let outcome = tokio::select! {
            outcome = flooding => outcome,
            () = async { loop { alice.still_answers().await } } => unreachable!(),
        };
        alice.still_answers().await;
        let grown = resident(bastion.gateway.process.pid()).saturating_sub(before);
        eprintln!("{what}: {outcome:?}, {} KiB more than at the start", grown / 1024);
        assert!(grown < MAX_GROWTH, "{what}: {} MiB more", grown / MEBIBYTE);
    }
}

/// While the gateway waits for a client's part of a key exchange, answers wait too.
#[tokio::test]
async fn answers_do_not_pile_up_while_a_client_answers_no_key_exchange() {
    let _held = weight::take(2).await;
    let key = SecurityKey::new().await;
    let setting = Setting { env: vec![("BASTION_REKEY_TIME", "1s".into())], ..Setting::default() };
    let bastion = bastion(&key, &setting).await;
    let mut alice = bastion.open("alice").await;
    for (what, payload) in [
        ("pings", global_request("keepalive@openssh.com")),
        ("opens of an unknown type", open_of_unknown_type()),
        ("window adjusts of no channel", on_channel(message::CHANNEL_WINDOW_ADJUST, NO_CHANNEL, &[0; 4])),
    ] {
        let mut client = sign_in(&bastion, &key).await;
        while client.receive().await.expect("the connection goes on").first() != Some(&message::KEXINIT) {}
        let outcome = flood(&mut client, &payload).await;
        let ended = async { while client.receive().await.is_some() {} };
        let ended = timeout(default_timeout(), ended).await;
        assert!(ended.is_ok(), "{what}: {outcome:?}, and the connection goes on");
        alice.still_answers().await;
    }
}

#[tokio::test]
async fn endless_key_exchanges_of_a_client_harm_no_other_session() {
    let _held = weight::take(2).await;
    let bastion = Bastion::with_users(&["mallory"]).await;
    let mut alice = bastion.open("alice").await;
    let before = resident(bastion.gateway.process.pid());
    let mallory = russh_client::sign_in(&bastion, "mallory:web-1").await;
    let mut exchanges = 0;
    let rekeying = async {
        loop {
            // The answer to the ping follows the new keys.
            if mallory.rekey_soon().await.is_err() || mallory.send_ping().await.is_err() {
                return;
            }
            exchanges += 1;
        }
    };
    tokio::select! {
        _ = timeout(Duration::from_secs(5), rekeying) => {}
        () = async { loop { alice.still_answers().await } } => {}
    }
    alice.still_answers().await;
    let grown = resident(bastion.gateway.process.pid()).saturating_sub(before);
    eprintln!("{exchanges} key exchanges, {} KiB more", grown / 1024);
    assert!(exchanges > 10, "{exchanges} key exchanges");
    assert!(grown < MAX_GROWTH, "{} MiB more", grown / MEBIBYTE);
}

#[tokio::test]
async fn a_client_that_exceeds_its_window_loses_its_connection_alone() {
    let key = SecurityKey::new().await;
    let bastion = bastion(&key, &Setting::default()).await;
    let mut alice = bastion.open("alice").await;
    let mut client = sign_in(&bastion, &key).await;
    let channel = open_session(&mut client).await;
    let data = on_channel(message::CHANNEL_DATA, channel, &text(&vec![b'x'; 32 * 1024]));
    // The largest window is 2 MiB.
    client.send_many(&data, 80).await;
    let ended = async { while client.receive().await.is_some() {} };
    timeout(default_timeout(), ended).await.expect("the gateway ends the connection");
    alice.still_answers().await;
}

/// A page closes its channel for files again and again, while the session has taken the close and reads no more of the channel.
#[tokio::test]
async fn a_page_that_closes_its_files_again_and_again_takes_no_memory() {
    let _held = weight::take(1).await;
    let bastion = Bastion::with(async |namespace: &Namespace, _: &Sshd| {
        namespace.person().await;
    })
    .await;
    let token = bearer(&bastion.namespace.control_plane.person_token());
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-1&cols=80&rows=24", &[token]).await;
    page.wait_for("session").await;
    page.says(json!({"type": "open_files"})).await;
    page.says(json!({"type": "close_files"})).await;
    page.wait_for("files_closed").await;
    let before = resident(bastion.gateway.process.pid());
    for _ in 0..MESSAGES {
        page.says(json!({"type": "close_files"})).await;
    }
    page.messages.clear();
    page.says(json!({"type": "ping"})).await;
    page.wait_for("pong").await;
    let grown = resident(bastion.gateway.process.pid()).saturating_sub(before);
    eprintln!("{} KiB more", grown / 1024);
    assert!(grown < 8 * MEBIBYTE, "{} KiB more", grown / 1024);
}

/// A parser of terminals' input keeps a control sequence until its end.
#[tokio::test]
async fn a_control_sequence_without_end_in_the_menu_takes_no_memory() {
    let _held = weight::take(1).await;
    let bastion = Bastion::with(async |namespace: &Namespace, sshd: &Sshd| namespace.target("web-2", sshd).await).await;
    let client = russh_client::sign_in(&bastion, "alice").await;
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a connection");
    channel.request_shell(true).await.expect("a connection");
    let mut shown = String::new();
    let menu = async {
        while !shown.contains("web-2") {
            if let Some(ChannelMsg::Data { data }) = channel.wait().await {
                shown.push_str(&String::from_utf8_lossy(&data));
            }
        }
    };
    timeout(default_timeout(), menu).await.expect("the menu");
    let before = resident(bastion.gateway.process.pid());
    let (mut read, write) = channel.split();
    let sending = async {
        write.data_bytes("\x1b]52;c;").await.expect("a connection");
        let mut sent = 0;
        while sent < 64 * MEBIBYTE {
            match timeout(STANDSTILL, write.data_bytes(vec![b'x'; 32 * 1024])).await {
                Ok(Ok(())) => sent += 32 * 1024,
                _ => break,
            }
        }
        sent
    };
    let sent = tokio::select! {
        sent = sending => sent,
        // What the menu draws meanwhile.
        () = async { while read.wait().await.is_some() {} } => panic!("the menu has closed"),
    };
    let grown = resident(bastion.gateway.process.pid()).saturating_sub(before);
    eprintln!("{} MiB sent, {} KiB more", sent / MEBIBYTE, grown / 1024);
    assert!(sent > 32 * MEBIBYTE, "the menu has stopped to read after {sent} bytes");
    assert!(grown < 16 * MEBIBYTE, "{} MiB more", grown / MEBIBYTE);
}

/// Grants of window add up to more than a window can be (RFC 4254, section 5.2).
#[tokio::test]
async fn a_client_that_grants_too_much_window_gets_its_output() {
    let key = SecurityKey::new().await;
    let bastion = bastion(&key, &Setting::default()).await;
    let mut client = sign_in(&bastion, &key).await;
    let channel = open_session(&mut client).await;
    client.send_many(&on_channel(message::CHANNEL_WINDOW_ADJUST, channel, &u32::MAX.to_be_bytes()), 3).await;
    let command = [text(b"exec"), vec![1], text(b"head -c 100000 /dev/zero")].concat();
    client.send(&on_channel(message::CHANNEL_REQUEST, channel, &command)).await;
    let mut received = 0;
    let output = async {
        loop {
            let payload = client.receive().await.expect("the connection goes on");
            let (number, mut rest) = payload.split_first().expect("a message");
            match *number {
                message::CHANNEL_DATA => {
                    take_number(&mut rest);
                    received += take(&mut rest).len();
                }
                message::CHANNEL_CLOSE => return,
                _ => {}
            }
        }
    };
    timeout(default_timeout(), output).await.expect("the end of the output");
    assert_eq!(received, 100_000);
    drop(client);
    eventually(default_timeout(), "the session ends", async || match bastion.gateway.sessions_active().await {
        0 => Ok(()),
        open => Err(format!("{open} open")),
    })
    .await;
}
