//! Channels that begin on the target: `ssh -R`, and programs there that ask the user's agent (`ssh -A`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use futures::future::ready;
use futures::{StreamExt, stream};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bastion_e2e::process::{Process, command};
use bastion_e2e::run::Run;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::sshd::free_port;
use bastion_e2e::tcp::{Destination, MEBIBYTE, ends, exchange, random};
use bastion_e2e::{Bastion, PROMPT_BOUND, Setting, eventually, metric_becomes, weight};

/// With a target that allows what begins on it.
async fn reversing() -> Bastion {
    reversing_in(&Setting::default()).await
}

/// The same with a gateway in a setting of its own.
async fn reversing_in(setting: &Setting<'_>) -> Bastion {
    Bastion::in_setting(setting, async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"allow": {"remoteForward": true, "agentForward": true}})).await;
    })
    .await
}

/// A client without a shell that has the target listen at a port of its choice, and that port.
async fn listening(bastion: &Bastion, to: SocketAddr) -> (Process, SocketAddr) {
    let options = |ssh: Ssh| ssh.option("-N").option("-R").option(&format!("127.0.0.1:0:{to}"));
    let mut ssh = options(bastion.ssh("alice:web-1").await).start().await;
    let port = ssh.finds("the port that the target chose", |it| port_in(&it.stderr())).await;
    (ssh, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn port_in(said: &str) -> Option<u16> {
    said.split_once("Allocated port ")?.1.split_whitespace().next()?.parse().ok()
}

async fn connect(there: SocketAddr) -> TcpStream {
    TcpStream::connect(there).await.expect("the target listens")
}

async fn listens_no_more(there: SocketAddr) {
    eventually(PROMPT_BOUND, "the target listens no more", async || match TcpStream::connect(there).await {
        Ok(_) => Err("it still does".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_port_of_the_target_leads_to_the_user() {
    let bastion = reversing().await;
    let destination = Destination::echo().await;
    let (ssh, there) = listening(&bastion, destination.address).await;
    let bytes = random(20);
    let received = exchange(connect(there).await, &bytes).await;
    assert!(received == bytes, "{} of {} bytes came back, or came back changed", received.len(), bytes.len());
    assert_eq!(exchange(connect(there).await, b"once more").await, b"once more");
    let session = bastion.watch.started("alice").await;
    assert_eq!(bastion.watch.phase(&session), Phase::Active);
    ssh.signal(Signal::SIGTERM);
    bastion.watch.ended(&session, Reason::UserExit).await;
    listens_no_more(there).await;
}

#[tokio::test]
async fn a_port_that_the_user_names_is_taken_and_given_back() {
    let bastion = reversing().await;
    let destination = Destination::echo().await;
    let there = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let ssh = bastion.ssh("alice:web-1").await.no_terminal().set("ControlMaster=yes").set(&control).start().await;
    let mut open = bastion.opened(ssh, "alice").await;
    let words = format!("{there}:{}", destination.address);
    let tell = async |order: &str| {
        let ssh = bastion.ssh("alice:web-1").await.set(&control).option("-O").option(order).option("-R").option(&words);
        ssh.run().await
    };
    assert_eq!(tell("forward").await.code, Some(0));
    assert_eq!(exchange(connect(there).await, b"through").await, b"through");
    let second = tell("forward").await;
    assert_eq!(second.code, Some(0), "the same forward once more is none: {second:?}");
    assert_eq!(tell("cancel").await.code, Some(0));
    listens_no_more(there).await;
    assert_eq!(tell("forward").await.code, Some(0));
    assert_eq!(exchange(connect(there).await, b"again").await, b"again");
    open.still_answers().await;
}

#[tokio::test]
async fn a_port_that_the_target_has_not_to_give_is_refused_and_the_session_goes_on() {
    let bastion = reversing().await;
    let taken = Destination::echo().await;
    let words = format!("{}:{}", taken.address, taken.address);
    let ssh = bastion.ssh("alice:web-1").await.no_terminal().option("-R").option(&words).start().await;
    let mut open = bastion.opened(ssh, "alice").await;
    for words in ["remote port forwarding failed for listen port", "bastion: the target does not listen for -R"] {
        open.ssh.finds("the words", |it| it.stderr().contains(words).then_some(())).await;
    }
    open.still_answers().await;
}

#[tokio::test]
async fn a_connection_that_nobody_reads_holds_up_no_other() {
    let bastion = reversing().await;
    let unread = Destination::serving(async |stream| {
        // Held open, and never read.
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let echo = Destination::echo().await;
    let ssh = bastion.ssh("alice:web-1").await.option("-N");
    let ssh = ssh.option("-R").option(&format!("127.0.0.1:0:{}", unread.address));
    let mut ssh = ssh.option("-R").option(&format!("127.0.0.1:0:{}", echo.address)).start().await;
    let ports = |said: &str| said.lines().filter_map(port_in).collect::<Vec<_>>();
    let ports = ssh.finds("two ports", |it| Some(ports(&it.stderr())).filter(|ports| ports.len() == 2)).await;
    let there = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let sent = Arc::new(AtomicUsize::new(0));
    let (progress, stalled) = (sent.clone(), connect(there(ports[0])).await);
    let stalled = tokio::spawn(async move {
        let piece = vec![7; MEBIBYTE];
        while stalled.writable().await.is_ok() {
            let taken = stalled.try_write(&piece).unwrap_or_default();
            progress.fetch_add(taken, Ordering::Relaxed);
        }
    });
    let mut last = usize::MAX;
    eventually(PROMPT_BOUND, "it is taken no further", async || {
        tokio::task::yield_now().await;
        let now = sent.load(Ordering::Relaxed);
        let still = now > MEBIBYTE && now == last;
        last = now;
        if still { Ok(()) } else { Err(format!("{now} bytes")) }
    })
    .await;
    let bytes = random(10);
    assert!(exchange(connect(there(ports[1])).await, &bytes).await == bytes, "the other carries on");
    stalled.abort();
}

/// More connections arrive at once than a session may have channels.
#[tokio::test]
async fn every_one_of_many_connections_at_once_arrives() {
    const CONNECTIONS: usize = 600;
    const CONCURRENT_CONNECTIONS: usize = 200;
    let _held = weight::take(1).await;
    let bastion = reversing().await;
    let destination = Destination::echo().await;
    let (_ssh, there) = listening(&bastion, destination.address).await;
    let answers = stream::iter(0..CONNECTIONS).map(async |number| {
        let sent = number.to_string().into_bytes();
        exchange(connect(there).await, &sent).await == sent
    });
    let answered = answers.buffer_unordered(CONCURRENT_CONNECTIONS).filter(|right| ready(*right)).count().await;
    assert_eq!(answered, CONNECTIONS);
}

#[tokio::test]
async fn a_connection_for_which_there_is_no_room_waits_and_is_refused_with_a_reason_after_a_while() {
    const FULL: usize = 20;
    const REFUSED_WITHIN: Duration = Duration::from_mins(1);
    let setting = Setting { env: vec![("BASTION_MAX_FORWARDS", FULL.to_string().into())], ..Setting::default() };
    let bastion = reversing_in(&setting).await;
    let destination = Destination::echo().await;
    let (_ssh, there) = listening(&bastion, destination.address).await;
    let mut held: Vec<TcpStream> = stream::iter(0..FULL).then(async |_| connect(there).await).collect().await;
    for stream in &mut held {
        assert_eq!(answer(stream).await, *b"x");
    }
    let (mut next, mut last) = (connect(there).await, connect(there).await);
    drop(held.pop());
    assert_eq!(answer(&mut next).await, *b"x", "it takes the place that became free");
    let ended = tokio::time::timeout(REFUSED_WITHIN, last.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "the other is closed: {ended:?}");
    let reason =
        "bastion: this session has 20 forwarded connections open, as many as it may (--max-forwards of the gateway)";
    assert!(bastion.gateway.process.stderr().contains(reason), "the log says why");
    let refused = r#"bastion_remote_opens_refused_total{reason="waited"}"#;
    metric_becomes(bastion.gateway.http, refused, |count| count >= 1.0).await;
    assert!(bastion.sshd.log().contains(reason), "the target is told why");
}

/// Sends one byte, and reads the echo.
async fn answer(stream: &mut TcpStream) -> [u8; 1] {
    let mut echo = [0];
    stream.write_all(b"x").await.expect("the connection takes a byte");
    stream.read_exact(&mut echo).await.expect("the echo comes");
    echo
}

#[tokio::test]
async fn what_begins_on_the_target_is_refused_by_default_with_the_setting_named() {
    let bastion = Bastion::up().await;
    let ssh = bastion.ssh("alice:web-1").await.no_terminal().option("-R").option("127.0.0.1:0:127.0.0.1:9");
    let agent = Agent::start(&bastion).await;
    let ssh = ssh.forwarding_agent(&agent.socket).command("echo agent ${SSH_AUTH_SOCK:-none}");
    let outcome = ssh.run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "agent none\n"), "{outcome:?}");
    for setting in ["no remote forwards (spec.allow.remoteForward)", "no agent forwarding (spec.allow.agentForward)"] {
        let line = format!("bastion: this target allows {setting}");
        assert_eq!(outcome.stderr.matches(&line).count(), 1, "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn termination_closes_what_began_on_the_target() {
    let bastion = reversing().await;
    let destination = Destination::echo().await;
    let (mut ssh, there) = listening(&bastion, destination.address).await;
    let session = bastion.watch.started("alice").await;
    let stream = connect(there).await;
    let name = session.metadata.name.clone().expect("a name");
    let termination = json!({"spec": {"termination": {"requestedBy": "admin"}}});
    bastion.namespace.patch_session(&bastion.namespace.admin(), &name, termination).await.expect("a termination");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    ends(stream).await;
    ssh.finish(PROMPT_BOUND).await;
}

/// A real ssh-agent with the key of the users in it.
struct Agent {
    socket: PathBuf,
    _process: Process,
}

impl Agent {
    async fn start(bastion: &Bastion) -> Self {
        let socket = bastion.namespace.dir.join("agent");
        let mut agent = command("ssh-agent");
        agent.args(["-D", "-a"]).arg(&socket);
        let mut process = Process::start(bastion.namespace.dir.join("ssh-agent"), agent).await;
        process.finds("the agent's socket", |_| socket.exists().then_some(())).await;
        let mut add = command("ssh-add");
        add.env("SSH_AUTH_SOCK", &socket).arg(&Run::get().await.user_key.path);
        let added = Process::start(bastion.namespace.dir.join("ssh-add"), add).await.finish(PROMPT_BOUND).await;
        assert_eq!(added.code, Some(0), "{added:?}");
        Self { socket, _process: process }
    }
}

#[tokio::test]
async fn programs_on_the_target_can_ask_the_users_agent() {
    let bastion = reversing().await;
    let agent = Agent::start(&bastion).await;
    let ssh = bastion.ssh("alice:web-1").await.forwarding_agent(&agent.socket);
    let outcome = ssh.command("ssh-add -L; ssh-add -L | tail -1 >&2; exit 3").run().await;
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let key = Run::get().await.user_key.public.split_whitespace().nth(1).expect("a key").to_owned();
    assert!(outcome.stdout.contains(&key) && outcome.stderr.contains(&key), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3), "the command's");
}

/// More at once than wait in any queue.
#[tokio::test]
async fn many_connections_to_a_port_of_the_target_all_arrive() {
    let bastion = reversing().await;
    let destination = Destination::echo().await;
    let (_ssh, there) = listening(&bastion, destination.address).await;
    let all = (0..12_usize).map(async |number| {
        let stream = connect(there).await;
        let line = format!("connection {number}");
        stream.set_nodelay(true).expect("a socket");
        assert_eq!(exchange(stream, line.as_bytes()).await, line.as_bytes());
    });
    futures::future::join_all(all).await;
}
