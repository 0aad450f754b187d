//! Channel types and requests that the gateway does not know.

use std::collections::BTreeMap;

use bastion_operator::api::Reason;
use russh::ChannelMsg;
use russh::keys::ssh_key::PublicKey;
use serde_json::json;

use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::network::skipped;
use bastion_e2e::raw_client::{RawClient, body, message, take, take_number, text};
use bastion_e2e::russh_client;
use bastion_e2e::security_key::SecurityKey;
use bastion_e2e::{Bastion, Setting, Sshd, default_timeout, eventually};

/// Reasons of a CHANNEL_OPEN_FAILURE (RFC 4254, section 5.1).
const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
const UNKNOWN_CHANNEL_TYPE: u32 = 3;

const CHANNEL_CLOSE: u8 = 97;

/// `ssh -w` asks for `tun@openssh.com`, and would end the connection at a second answer.
#[tokio::test]
async fn a_channel_of_an_unknown_type_is_refused_once() {
    let key = SecurityKey::new().await;
    let bastion = Bastion::with(async |namespace: &Namespace, _: &Sshd| {
        namespace.user_with("carol", json!({"groups": [PEOPLE], "publicKeys": [key.public]})).await;
    })
    .await;
    let mut client = RawClient::connect(bastion.gateway.address).await;
    let blob = PublicKey::from_openssh(&key.public).expect("a key").to_bytes().expect("a key");
    let label = "sk-ssh-ed25519@openssh.com";
    let answer = client.sign_in("carol:web-1", label, &blob, |data| key.sign(label, data)).await;
    body(&answer.expect("an answer"), message::USERAUTH_SUCCESS);

    client.open_channel("tun@openssh.com", 1).await;
    client.open_channel("unknown@example.com", 2).await;
    client.open_channel("auth-agent@openssh.com", 3).await;
    client.open_channel("session", 4).await;
    let mut refused: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut output = Vec::new();
    loop {
        let payload = client.receive().await.expect("the connection goes on");
        let (number, mut rest) = payload.split_first().expect("a message");
        let channel = take_number(&mut rest);
        match *number {
            message::CHANNEL_OPEN_FAILURE => refused.entry(channel).or_default().push(take_number(&mut rest)),
            message::CHANNEL_OPEN_CONFIRMATION => {
                let command = [text(b"exec"), vec![1], text(b"echo through")].concat();
                let on = rest.first_chunk::<4>().expect("the gateway's number");
                client.send(&[&[message::CHANNEL_REQUEST], &on[..], &command].concat()).await;
            }
            message::CHANNEL_DATA => output.extend(take(&mut rest)),
            CHANNEL_CLOSE => break,
            _ => {}
        }
    }
    assert_eq!(String::from_utf8_lossy(&output), "through\n");
    let once = |reason: u32| vec![reason];
    let expected =
        [(1, once(UNKNOWN_CHANNEL_TYPE)), (2, once(UNKNOWN_CHANNEL_TYPE)), (3, once(ADMINISTRATIVELY_PROHIBITED))];
    assert_eq!(refused, BTreeMap::from(expected), "reasons by channel");
    drop(client);
    let session = bastion.watch.started("carol").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// Skipped unless the client may create a tunnel device, for which it must be root in its network namespace.
#[tokio::test]
async fn a_tunnel_that_is_refused_leaves_the_session_alone() {
    let bastion = Bastion::up().await;
    let client = bastion.ssh("alice:web-1").await.option("-v").option("-w").option("any");
    let outcome = client.command("echo through").run().await;
    if outcome.stderr.contains("Could not request tunnel forwarding") {
        return skipped("ssh -w: this client may open no tunnel device");
    }
    assert!(outcome.stderr.contains("open failed: unknown channel type"), "{outcome:?}");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "{outcome:?}");
}

/// The client chooses the name of a channel request, which must neither forge a line of the log nor fill one.
#[tokio::test]
async fn the_name_of_an_unknown_request_is_quoted_and_cut_in_the_log() {
    let setting = Setting { env: vec![("BASTION_LOG_FORMAT", "text".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |_, _| ()).await;
    let forged = "2026-01-01T00:00:00.000000Z  INFO audit: command user=\"root\"";
    let name = format!("begin\u{1b}[2J\n{forged} {}", "x".repeat(200_000));
    let client = russh_client::sign_in(&bastion, "alice:web-1").await;
    let (mut answers, channel) = client.channel_open_session().await.expect("a channel").split();
    channel.custom_request(name, true, vec![]).await.expect("a connection");
    while !matches!(answers.wait().await.expect("an answer"), ChannelMsg::Failure) {}
    let line = eventually(default_timeout(), "the log says so", async || {
        let log = bastion.gateway.process.stderr();
        log.lines().find(|line| line.contains("unknown channel request")).map(str::to_owned).ok_or(log)
    })
    .await;
    assert!(line.contains(r#""begin\u{1b}[2J\n2026-01-01T00:00:00"#) && line.len() < 300, "{line}");
    let log = bastion.gateway.process.stderr();
    assert!(!log.lines().any(|line| line.starts_with(forged)), "{log}");
    assert!(!log.contains(&"x".repeat(100)), "the name is cut");
}
