//! Local forwards: `ssh -L`, `-D` and `-W`, whose connections the target makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bastion_e2e::proc::descendants;
use bastion_e2e::process::Process;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::sshd::free_port;
use bastion_e2e::tcp::{Destination, MEBIBYTE, ends, exchange, random};
use bastion_e2e::{Bastion, PROMPT_BOUND, Sshd, default_timeout, eventually};

/// With a target that allows local forwards.
async fn forwarding() -> Bastion {
    Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await
}

/// The words after `-L`, from a free port here to `to`, and that port.
async fn forward_to(to: SocketAddr) -> (String, SocketAddr) {
    let port = free_port().await;
    (format!("127.0.0.1:{port}:{to}"), SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A client that runs nothing, but forwards a port here to `to`.
async fn forwarder(bastion: &Bastion, to: SocketAddr) -> (Process, SocketAddr) {
    let (words, here) = forward_to(to).await;
    let ssh = bastion.ssh("alice:web-1").await.option("-N").option("-v").option("-L").option(&words).start().await;
    (ssh, here)
}

/// Connects as soon as the client listens.
async fn connect(here: SocketAddr) -> TcpStream {
    eventually(default_timeout(), "ssh listens", async || {
        TcpStream::connect(here).await.map_err(|error| error.to_string())
    })
    .await
}

/// Waits until the client has said this on standard error.
async fn says(ssh: &mut Process, text: &str) {
    ssh.finds(&format!("{text:?} on standard error"), |it| it.stderr().contains(text).then_some(())).await;
}

#[tokio::test]
async fn a_forwarded_port_carries_both_ways_and_is_on_record() {
    let bastion = forwarding().await;
    let destination = Destination::echo().await;
    let (mut ssh, here) = forwarder(&bastion, destination.address).await;
    let bytes = random(20);
    let received = exchange(connect(here).await, &bytes).await;
    assert!(received == bytes, "{} of {} bytes came back, or came back changed", received.len(), bytes.len());
    let session = bastion.watch.started("alice").await;
    says(&mut ssh, "free: direct-tcpip").await;
    assert_eq!(bastion.watch.phase(&session), Phase::Active, "the end of a forward is not the session's");
    ssh.signal(Signal::SIGTERM);
    let status = bastion.watch.ended(&session, Reason::UserExit).await.session.status.expect("a status");
    let size = i64::try_from(bytes.len()).expect("a size");
    assert_eq!((status.bytes_in, status.bytes_out, status.exit_code), (Some(size), Some(size), None), "{status:?}");
    let name = session.metadata.name.expect("a name");
    let logged = bastion.gateway.process.stderr();
    let line =
        logged.lines().find(|it| it.contains("local_forward") && it.contains("opened")).expect("a line of the log");
    let fields = serde_json::from_str::<serde_json::Value>(line).expect("JSON")["fields"].clone();
    assert_eq!((&fields["session"], &fields["address"]), (&json!(name), &json!(destination.address.to_string())),);
}

/// The gateway does not wait for a target that may still pass on what the user sent, if it has closed the forward.
#[tokio::test]
async fn forwards_that_have_ended_leave_no_process_on_the_target() {
    const LESS_THAN_THE_LINGER: Duration = Duration::from_secs(4);
    let sshd = Sshd::start().await;
    let bastion = Bastion::with(async |namespace, _| {
        namespace.target_with("alone", &sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await;
    let destination = Destination::echo().await;
    let (words, here) = forward_to(destination.address).await;
    let ssh = bastion.ssh("alice:alone").await.option("-N").option("-L").option(&words).start().await;
    assert_eq!(exchange(connect(here).await, b"through").await, b"through");
    let of_one = descendants(sshd.pid().as_raw());
    for _ in 0..3 {
        assert_eq!(exchange(connect(here).await, b"through").await, b"through");
    }
    assert_eq!(descendants(sshd.pid().as_raw()), of_one, "all go over one connection");
    ssh.signal(Signal::SIGTERM);
    eventually(LESS_THAN_THE_LINGER, "the connection's sshd has ended", async || {
        match descendants(sshd.pid().as_raw()) {
            none if none.is_empty() => Ok(()),
            processes => Err(format!("{processes:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_socks_proxy_leads_to_names_that_the_target_knows() {
    let bastion = forwarding().await;
    let destination = Destination::echo().await;
    let here = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let _ssh = bastion.ssh("alice:web-1").await.option("-N").option("-D").option(&here.to_string()).start().await;
    let mut stream = connect(here).await;
    stream.write_all(&[5, 1, 0]).await.expect("a greeting");
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, [5, 0], "no sign-in");
    let name = b"localhost";
    let port = destination.address.port().to_be_bytes();
    let request = [&[5, 1, 0, 3, u8::try_from(name.len()).expect("a short name")][..], name, &port].concat();
    stream.write_all(&request).await.expect("a request");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer[..2], [5, 0], "connected");
    assert_eq!(exchange(stream, b"through a proxy").await, b"through a proxy");
}

#[tokio::test]
async fn standard_input_and_output_can_be_the_forward() {
    let bastion = forwarding().await;
    let destination = Destination::echo().await;
    let mut ssh = bastion.ssh("alice:web-1").await.option("-W").option(&destination.address.to_string()).start().await;
    ssh.say("through standard input").await;
    ssh.shows("through standard input").await;
    let session = bastion.watch.started("alice").await;
    ssh.close_input();
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(0));
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// A shell on `web-1` that answers, of a client with these options.
async fn shell_with(bastion: &Bastion, options: impl FnOnce(Ssh) -> Ssh) -> bastion_e2e::Open {
    let ssh = options(bastion.ssh("alice:web-1").await.no_terminal()).start().await;
    bastion.opened(ssh, "alice").await
}

#[tokio::test]
async fn a_forward_is_refused_by_default_and_the_shell_goes_on() {
    let bastion = Bastion::up().await;
    let destination = Destination::echo().await;
    let (words, here) = forward_to(destination.address).await;
    let mut open = shell_with(&bastion, |ssh| ssh.option("-L").option(&words)).await;
    ends(connect(here).await).await;
    let refusal = "open failed: administratively prohibited: bastion: this target allows no local forwards \
                   (spec.allow.localForward)";
    says(&mut open.ssh, refusal).await;
    open.still_answers().await;
    let outcome = bastion.ssh("alice:web-1").await.option("-W").option(&destination.address.to_string()).run().await;
    assert!(outcome.code == Some(255) && outcome.stderr.contains(refusal), "{outcome:?}");
}

#[tokio::test]
async fn what_the_target_refuses_is_told_in_its_words_and_the_session_goes_on() {
    let bastion = forwarding().await;
    let destination = Destination::echo().await;
    let unused = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let ((bad, bad_here), (good, good_here)) = (forward_to(unused).await, forward_to(destination.address).await);
    let options = |ssh: Ssh| ssh.option("-L").option(&bad).option("-L").option(&good);
    let mut open = shell_with(&bastion, options).await;
    // More than a connection may have channels, so that one that was refused must not count for ever.
    for _ in 0..2 {
        join_all((0..40).map(async |_| ends(connect(bad_here).await).await)).await;
    }
    says(&mut open.ssh, "open failed: connect failed: Connection refused").await;
    open.still_answers().await;
    assert_eq!(exchange(connect(good_here).await, b"still").await, b"still");
    open.ssh.say("exit 3").await;
    assert_eq!(open.ssh.finish(PROMPT_BOUND).await.code, Some(3));
    let end = bastion.watch.ended(&open.session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(3), "the shell's, not the forward's");
}

#[tokio::test]
async fn the_end_of_one_direction_passes_and_the_other_goes_on() {
    let bastion = forwarding().await;
    // It answers when the question has ended.
    let counting = Destination::serving(async |mut stream| {
        let mut question = Vec::new();
        let _ = stream.read_to_end(&mut question).await;
        let _ = stream.write_all(format!("{} bytes", question.len()).as_bytes()).await;
    })
    .await;
    let (_ssh, here) = forwarder(&bastion, counting.address).await;
    assert_eq!(exchange(connect(here).await, &random(3)).await, format!("{} bytes", 3 * MEBIBYTE).as_bytes());

    // The destination ends its output before it reads.
    let (heard, mut speeches) = tokio::sync::mpsc::unbounded_channel();
    let listening = Destination::serving(move |mut stream| {
        let heard = heard.clone();
        async move {
            let _ = stream.write_all(b"speak").await;
            let _ = stream.shutdown().await;
            let mut speech = Vec::new();
            let _ = stream.read_to_end(&mut speech).await;
            let _ = heard.send(speech);
        }
    })
    .await;
    let (_ssh, here) = forwarder(&bastion, listening.address).await;
    let mut stream = connect(here).await;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("the end of what it says");
    assert_eq!(said, b"speak");
    let speech = random(3);
    stream.write_all(&speech).await.expect("it still listens");
    drop(stream);
    let arrived =
        tokio::time::timeout(default_timeout(), speeches.recv()).await.expect("the end arrives").expect("a speech");
    assert!(arrived == speech, "{} of {} bytes arrived, or arrived changed", arrived.len(), speech.len());
}

#[tokio::test]
async fn a_forward_that_nobody_reads_holds_up_no_other() {
    const SIZE: usize = 64 * MEBIBYTE;
    let bastion = forwarding().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let progress = sent.clone();
    let flood = Destination::serving(move |mut stream| {
        let progress = progress.clone();
        async move {
            let piece = vec![7; MEBIBYTE];
            while progress.load(Ordering::Relaxed) < SIZE && stream.write_all(&piece).await.is_ok() {
                progress.fetch_add(MEBIBYTE, Ordering::Relaxed);
            }
        }
    })
    .await;
    let echo = Destination::echo().await;
    let ((flooded, flood_here), (echoed, echo_here)) =
        (forward_to(flood.address).await, forward_to(echo.address).await);
    let options = |ssh: Ssh| ssh.option("-L").option(&flooded).option("-L").option(&echoed);
    let mut open = shell_with(&bastion, options).await;
    let mut stalled = connect(flood_here).await;
    eventually(default_timeout(), "the flood has begun", async || match sent.load(Ordering::Relaxed) {
        0 => Err("nothing was sent".to_owned()),
        _ => Ok(()),
    })
    .await;
    let bytes = random(1);
    let answers = join_all((0..19).map(async |_| exchange(connect(echo_here).await, &bytes).await)).await;
    assert!(answers.iter().all(|it| *it == bytes), "all 19 others carry everything");
    open.still_answers().await;
    assert!(sent.load(Ordering::Relaxed) < SIZE, "the forward that is not read is held back");
    let mut received = Vec::new();
    let all = tokio::time::timeout(Duration::from_mins(2), stalled.read_to_end(&mut received)).await;
    all.expect("it goes on").expect("it ends in order");
    assert!(received.len() == SIZE && received.iter().all(|it| *it == 7), "{} bytes arrived", received.len());
}

#[tokio::test]
async fn termination_closes_forwards_on_both_sides() {
    let bastion = forwarding().await;
    let (accepted, mut connections) = tokio::sync::mpsc::unbounded_channel();
    let destination = Destination::serving(move |stream| {
        let _ = accepted.send(stream);
        std::future::ready(())
    })
    .await;
    let (mut ssh, here) = forwarder(&bastion, destination.address).await;
    let near = connect(here).await;
    let far =
        tokio::time::timeout(default_timeout(), connections.recv()).await.expect("it arrives").expect("a connection");
    let session = bastion.watch.started("alice").await;
    let name = session.metadata.name.clone().expect("a name");
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    bastion.namespace.patch_session(&bastion.namespace.admin(), &name, termination).await.expect("a termination");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    tokio::join!(ends(near), ends(far));
    let outcome = ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("maintenance"), "the user reads why: {outcome:?}");
}
