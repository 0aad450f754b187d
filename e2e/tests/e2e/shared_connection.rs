//! The channels of a session share one connection to the target.

use std::net::SocketAddr;

use bastion_operator::api::{Phase, Reason};
use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use bastion_e2e::process::Process;
use bastion_e2e::sshd::free_port;
use bastion_e2e::tcp::{Destination, exchange};
use bastion_e2e::{Bastion, PROMPT_BOUND, Setting, Sshd, default_timeout, eventually, metric_becomes};

/// A bastion whose target `alone` is this sshd, and allows local forwards.
async fn with_target(sshd: &Sshd) -> Bastion {
    Bastion::with(async |namespace, _| {
        namespace.target_with("alone", sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await
}

/// A client that others can share, with a shell that answers and a forward to an echo. Returns the option by which others find
/// it, and the forward's port.
async fn control_master(bastion: &Bastion, destination: &Destination) -> (Process, String, SocketAddr) {
    let here = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let ssh = bastion.ssh("alice:alone").await.no_terminal().set("ControlMaster=yes").set(&control);
    let mut master = ssh.option("-L").option(&format!("{here}:{}", destination.address)).start().await;
    master.say("echo mas$((1))ter").await;
    master.shows("mas1ter").await;
    (master, control, here)
}

/// Runs this many commands at once over a shared client, each with another exit code, and checks that each returns its own.
async fn run_commands(bastion: &Bastion, control: &str, count: i32) {
    let commands = (1..=count).map(async |code| {
        let command = format!("echo running; read line; exit {code}");
        let mut ssh = bastion.ssh("alice:alone").await.set(control).command(&command).start().await;
        ssh.shows("running").await;
        (ssh, code)
    });
    // All run at the same time before the first may go on.
    for (mut ssh, code) in join_all(commands).await {
        ssh.say("go on").await;
        let outcome = ssh.finish(default_timeout()).await;
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
    }
}

#[tokio::test]
async fn forwards_and_shells_take_one_sign_in_at_the_target() {
    let sshd = Sshd::start().await;
    let bastion = with_target(&sshd).await;
    let destination = Destination::echo().await;
    let (mut master, control, here) = control_master(&bastion, &destination).await;
    let exchanges = (0..40).map(async |number: u32| {
        let stream = TcpStream::connect(here).await.expect("ssh listens");
        let bytes = number.to_be_bytes();
        assert_eq!(exchange(stream, &bytes).await, bytes);
    });
    join_all(exchanges).await;
    run_commands(&bastion, &control, 3).await;
    assert_eq!(sshd.sign_ins(), 1, "{}", sshd.last_words());
    let session = bastion.watch.started("alice").await;
    master.say("exit 6").await;
    assert_eq!(master.finish(PROMPT_BOUND).await.code, Some(6));
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// sshd refuses further shells on a connection beyond its MaxSessions.
#[tokio::test]
async fn shells_beyond_the_targets_own_limit_get_a_further_connection() {
    let sshd = Sshd::start_with("MaxSessions 2").await;
    let bastion = with_target(&sshd).await;
    let destination = Destination::echo().await;
    let (_master, control, here) = control_master(&bastion, &destination).await;
    run_commands(&bastion, &control, 5).await;
    assert_eq!(sshd.sign_ins(), 3, "two shells on each connection: {}", sshd.last_words());
    let stream = TcpStream::connect(here).await.expect("ssh listens");
    assert_eq!(exchange(stream, b"through").await, b"through");
    run_commands(&bastion, &control, 1).await;
}

/// Another connection would not help.
#[tokio::test]
async fn a_target_that_opens_no_shell_at_all_is_not_connected_to_again() {
    let sshd = Sshd::start_with("MaxSessions 0").await;
    let bastion = with_target(&sshd).await;
    let outcome = bastion.ssh("alice:alone").await.command("true").run().await;
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    assert!(outcome.stderr.contains("bastion: the target opened no channel"), "{outcome:?}");
    assert_eq!(sshd.sign_ins(), 1, "{}", sshd.last_words());
}

/// A client with a control connection may stay without a channel.
#[tokio::test]
async fn a_target_that_closes_the_connection_after_a_command_does_not_end_the_session() {
    let sshd = Sshd::start().await;
    let mut bastion = with_target(&sshd).await;
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let ssh = bastion.ssh("alice:alone").await.set("ControlMaster=yes").set("ControlPersist=yes").set(&control);
    assert_eq!(ssh.command("exit 3").run().await.code, Some(3));
    let session = bastion.watch.started("alice").await;
    sshd.close_connections();
    let seen = "the connection to the target has ended; no channel used it";
    bastion.gateway.process.finds(seen, |it| it.stderr().contains(seen).then_some(())).await;
    assert_eq!(bastion.watch.phase(&session), Phase::Active);
    let again = bastion.ssh("alice:alone").await.set(&control).command("exit 4").run().await;
    assert_eq!(again.code, Some(4), "{again:?}");
    assert_eq!(sshd.sign_ins(), 2, "{}", sshd.last_words());
    let leave = bastion.ssh("alice:alone").await.set(&control).option("-O").option("exit").run().await;
    assert_eq!(leave.code, Some(0), "{leave:?}");
    bastion.watch.ended(&session, Reason::UserExit).await;
}

#[tokio::test]
async fn a_forward_beyond_the_limit_is_refused_and_the_limit_named() {
    let setting = Setting { env: vec![("BASTION_MAX_FORWARDS", "2".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, sshd| {
        namespace.target_with("alone", sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await;
    let destination = Destination::echo().await;
    let (mut master, control, here) = control_master(&bastion, &destination).await;
    let connect = async || TcpStream::connect(here).await.expect("ssh listens");
    let mut held = [connect().await, connect().await];
    for stream in &mut held {
        stream.write_all(b"x").await.expect("it is open");
        stream.read_exact(&mut [0]).await.expect("the echo");
    }
    let refused = connect().await.read(&mut [0]).await;
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    let limit = "this session has 2 forwarded connections open, as many as it may (--max-forwards of the gateway)";
    master.finds("the limit on standard error", |it| it.stderr().contains(limit).then_some(())).await;
    metric_becomes(bastion.gateway.http, "bastion_channels_beyond_limit_total", |count| count >= 1.0).await;
    drop(held);
    // Shells are counted apart.
    run_commands(&bastion, &control, 3).await;
    eventually(default_timeout(), "a place becomes free", async || {
        let mut stream = connect().await;
        stream.write_all(b"x").await.map_err(|error| error.to_string())?;
        stream.read_exact(&mut [0]).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// A port that closes the first connections at once, as sshd closes those beyond its MaxStartups, and leads the others to `to`.
async fn closing_the_first(count: usize, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        for _ in 0..count {
            drop(listener.accept().await);
        }
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.expect("the target listens");
                // Both sides close in order.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_target_that_closes_some_connections_at_once_is_tried_again() {
    let bastion = Bastion::with(async |namespace, sshd| {
        for (name, closed) in [("busy", 2), ("too-busy", 4)] {
            let to = closing_the_first(closed, SocketAddr::from((sshd.address, sshd.port))).await;
            namespace.target_with(name, sshd, json!({"address": to.ip(), "port": to.port()})).await;
        }
    })
    .await;
    let outcome = bastion.ssh("alice:busy").await.command("exit 7").run().await;
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    let outcome = bastion.ssh("alice:too-busy").await.command("exit 7").run().await;
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    let why = "the SSH connection to target \"too-busy\" failed: ";
    assert!(outcome.stderr.contains(why), "{outcome:?}");
}
