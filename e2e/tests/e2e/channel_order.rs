//! Channel events in every order: clients that open, ask, send, end and close as no client does, each against a real
//! target, with a live session beside them.

use std::time::Duration;

use bastion_operator::api::Phase;
use futures::{StreamExt, stream};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use russh::{Disconnect, Sig};
use tokio::time::timeout;

use bastion_e2e::russh_client;
use bastion_e2e::{Bastion, default_timeout, weight};

/// What a client does on a channel, or with another one.
#[derive(Clone, Debug)]
enum Event {
    Pty,
    Env,
    Exec(&'static str),
    Shell,
    Sftp,
    Data(usize),
    Resize,
    Signal,
    AgentForward,
    Unknown,
    Break,
    Unread,
    Eof,
    Close,
    Other,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Pty),
        Just(Event::Env),
        Just(Event::Exec("cat")),
        Just(Event::Exec("yes")),
        Just(Event::Exec("exec <&- >&- 2>&-; sleep 0.1; exit 3")),
        Just(Event::Exec("exit 4")),
        Just(Event::Shell),
        Just(Event::Sftp),
        (1_usize..100_000).prop_map(Event::Data),
        Just(Event::Resize),
        Just(Event::Signal),
        Just(Event::AgentForward),
        Just(Event::Unknown),
        Just(Event::Break),
        Just(Event::Unread),
        Just(Event::Eof),
        Just(Event::Close),
        Just(Event::Other),
    ]
}

/// Does it all, and leaves. Whatever the gateway answers is read; that it breaks the connection off is its right.
async fn play(bastion: &Bastion, events: Vec<Event>) -> Result<(), russh::Error> {
    let client = russh_client::sign_in(bastion, "bob:web-1").await;
    let (mut reading, mut channel) = client.channel_open_session().await?.split();
    let read = async move { while reading.wait().await.is_some() {} };
    let mut readers = vec![tokio::spawn(read)];
    for event in events {
        match event {
            Event::Pty => channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await?,
            Event::Env => channel.set_env(false, "LANG", "C").await?,
            Event::Exec(line) => channel.exec(true, line).await?,
            Event::Shell => channel.request_shell(true).await?,
            Event::Sftp => channel.request_subsystem(true, "sftp").await?,
            // A channel that is not read takes no more than its window.
            Event::Data(size) => {
                let _ = timeout(Duration::from_millis(50), channel.data_bytes(vec![b'x'; size])).await;
            }
            Event::Resize => channel.window_change(100, 30, 0, 0).await?,
            Event::Signal => channel.signal(Sig::HUP).await?,
            Event::AgentForward => channel.agent_forward(true).await?,
            Event::Unknown => channel.custom_request("nobody@example.com", true, vec![1, 2, 3]).await?,
            Event::Break => channel.custom_request("break", true, vec![0, 0, 0, 1]).await?,
            Event::Unread => channel.custom_request("eow@openssh.com", false, vec![]).await?,
            Event::Eof => channel.eof().await?,
            Event::Close => channel.close().await?,
            Event::Other => {
                let (mut reading, writing) = client.channel_open_session().await?.split();
                channel = writing;
                readers.push(tokio::spawn(async move { while reading.wait().await.is_some() {} }));
            }
        }
    }
    client.disconnect(Disconnect::ByApplication, "done", "en").await
}

#[tokio::test]
async fn channel_events_in_any_order_harm_nobody() {
    let _held = weight::take(1).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let mut open = bastion.open("alice").await;
    // With PROPTEST_RNG_SEED it is a certain sequence.
    let mut runner = TestRunner::new(Config::default());
    let plays = (0..60).map(|_| {
        let events = proptest::collection::vec(event(), 1..30).new_tree(&mut runner).expect("events").current();
        let told = format!("{events:?}");
        let bastion = &bastion;
        async move {
            let played = timeout(default_timeout(), play(bastion, events)).await;
            assert!(played.is_ok(), "the client hangs after {told}");
        }
    });
    stream::iter(plays.collect::<Vec<_>>()).buffer_unordered(4).collect::<()>().await;
    open.still_answers().await;
    assert_eq!(bastion.watch.phase(&open.session), Phase::Active);
    let outcome = bastion.ssh("bob:web-1").await.command("exit 9").run().await;
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    let sessions = bastion.namespace.api::<bastion_operator::api::BastionSession>();
    bastion_e2e::eventually(default_timeout(), "every session of bob's has ended", async || {
        let all = sessions.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let active = |it: &&bastion_operator::api::BastionSession| {
            it.spec.user.name == "bob" && it.status.as_ref().is_none_or(|status| status.phase == Phase::Active)
        };
        let left = all.items.iter().filter(active).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} are Active")) }
    })
    .await;
}
