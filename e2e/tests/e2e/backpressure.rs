//! Flow control: what a side that does not read holds up, and what it does not; and streams that are half closed.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use russh::{ChannelMsg, Disconnect};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, interval, timeout};

use bastion_e2e::process::{Process, command, spawn};
use bastion_e2e::run::unique;
use bastion_e2e::russh_client;
use bastion_e2e::{Bastion, Open, PROMPT_BOUND, default_timeout, eventually, proc, weight};

const MEBIBYTE: usize = 1 << 20;

/// The gateway's resident memory, in bytes.
fn resident(bastion: &Bastion) -> usize {
    proc::resident(bastion.gateway.process.pid())
}

/// How far a process has read the file that is its standard input.
fn position(process: &Process) -> usize {
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/0", process.pid())).expect("it runs");
    info.lines().find_map(|line| line.strip_prefix("pos:")).expect("a position").trim().parse().expect("a number")
}

/// Waits until a process has read something of its standard input, and reads no more.
async fn reads_no_more(process: &Process) -> usize {
    let mut seen = (0, Instant::now());
    eventually(default_timeout(), "the client has stopped sending", async || {
        let now = position(process);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        let still = now > 0 && seen.1.elapsed() > Duration::from_secs(1);
        if still { Ok(now) } else { Err(format!("it is at {now}")) }
    })
    .await
}

/// A file of this many MiB that takes no room.
fn sparse_file(bastion: &Bastion, mebibytes: usize) -> File {
    let path = bastion.namespace.dir.join(format!("sparse-{}", unique()));
    File::create(&path).expect("a file").set_len((mebibytes * MEBIBYTE) as u64).expect("a length");
    File::open(&path).expect("a file")
}

/// A client that others can share, and the option by which they find it.
async fn master(bastion: &Bastion) -> (Open, String) {
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let ssh = bastion.ssh("alice:web-1").await.no_terminal().set("ControlMaster=yes").set(&control).start().await;
    (bastion.opened(ssh, "alice").await, control)
}

#[tokio::test]
async fn a_target_that_never_reads_costs_no_memory_and_holds_up_no_session() {
    let _held = weight::take(1).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let mut other = bastion.open("bob").await;
    let before = resident(&bastion);
    let (input, output) = (sparse_file(&bastion, 1024), File::create("/dev/null").expect("a file"));
    let mut ssh = bastion.ssh("alice:web-1").await.command("exec sleep 600").start_with(input, output).await;
    let session = bastion.watch.started("alice").await;
    let sent = reads_no_more(&ssh).await;
    assert!(sent < 64 * MEBIBYTE, "{sent} bytes were taken that are not read");
    let grown = resident(&bastion).saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "{grown} bytes more, after {sent} were sent");
    other.still_answers().await;
    assert_eq!(bastion.watch.phase(&session), Phase::Active);
    ssh.kill().await;
    bastion.watch.ended(&session, Reason::ClientDisconnected).await;
}

#[tokio::test]
async fn a_stalled_channel_holds_up_none_beside_it() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let (mut open, control) = master(&bastion).await;
    // Beside the shell: one channel whose command does not read, and one whose output is not read.
    let (input, output) = (sparse_file(&bastion, 64), File::create("/dev/null").expect("a file"));
    let ssh = bastion.ssh("alice:web-1").await.set(&control).command("exec sleep 600");
    let _unread_input = ssh.start_with(input, output).await;
    let mut unread_output = command("ssh");
    let ssh = bastion.ssh("alice:web-1").await.set(&control).command("exec cat /dev/zero");
    unread_output.args(&ssh.words()[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
    let unread_output = spawn(unread_output).await;
    // What the pipe takes comes, and then no more.
    let mut first = [0; 4096];
    let mut pipe = unread_output.stdout.expect("a pipe");
    pipe.read_exact(&mut first).await.expect("some output");
    for size in [1, 40] {
        let input = sparse_file(&bastion, size);
        let counted = bastion.namespace.dir.join(format!("counted-{}", unique()));
        let ssh = bastion.ssh("alice:web-1").await.set(&control).command("wc -c");
        let mut upload = ssh.start_with(input, File::create(&counted).expect("a file")).await;
        assert_eq!(upload.finish(default_timeout()).await.code, Some(0), "{}", upload.last_words());
        let count = fs::read_to_string(&counted).expect("a file");
        assert_eq!(count.trim(), (size * MEBIBYTE).to_string());
        let download = bastion.ssh("alice:web-1").await.set(&control);
        let download = download.command(&format!("head -c {} /dev/zero | tr '\\0' x", size * MEBIBYTE)).run().await;
        assert_eq!(download.stdout.len(), size * MEBIBYTE, "{}", download.stderr);
    }
    open.still_answers().await;
    assert_eq!(bastion.session_names().await.len(), 1, "all of it is one session");
}

#[tokio::test]
async fn a_connection_serves_more_commands_in_turn_than_at_once() {
    let bastion = Bastion::up().await;
    let (mut open, control) = master(&bastion).await;
    for number in 0..80 {
        let outcome = bastion.ssh("alice:web-1").await.set(&control).command(&format!("echo {number}")).run().await;
        assert_eq!((outcome.code, outcome.stdout.trim()), (Some(0), number.to_string().as_str()), "{outcome:?}");
    }
    open.still_answers().await;
}

#[tokio::test]
async fn a_command_ends_when_nobody_reads_its_output_any_more() {
    let bastion = Bastion::up().await;
    let ssh = bastion.ssh("alice:web-1").await.command("exec yes");
    let line: Vec<String> = ssh.words().iter().map(|word| format!("'{word}'")).collect();
    let mut shell = command("bash");
    shell.args(["-c", &format!("set -o pipefail; {} | head -c 10", line.join(" "))]);
    let mut shell = Process::start(bastion.namespace.dir.join("piped"), shell).await;
    shell.close_input();
    let outcome = shell.finish(default_timeout()).await;
    assert_eq!(outcome.stdout, "y\ny\ny\ny\ny\n", "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    let status = end.session.status.expect("a status");
    assert_eq!(status.exit_signal.as_deref(), Some("PIPE"), "the command's own end: {status:?}");
}

#[tokio::test]
async fn a_client_sends_no_more_to_a_command_that_reads_no_more() {
    let bastion = Bastion::up().await;
    // It has no end of its own: the client stops because it is told.
    let (input, output) = (File::open("/dev/zero").expect("a file"), File::create("/dev/null").expect("a file"));
    let ssh = bastion.ssh("alice:web-1").await.command("exec <&-; sleep 1; exit 4");
    assert_eq!(ssh.start_with(input, output).await.finish(default_timeout()).await.code, Some(4));
}

/// The output ends, and the input goes on: what OpenSSH's client does not show.
#[tokio::test]
async fn the_end_of_the_output_passes_while_the_input_goes_on() {
    let bastion = Bastion::up().await;
    let client = russh_client::sign_in(&bastion, "alice:web-1").await;
    let file = bastion.namespace.dir.join("late");
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.exec(true, format!("exec >&- 2>&-; cat > {}; exit 6", file.display())).await.expect("a command");
    let ended = async { while !matches!(channel.wait().await.expect("a message"), ChannelMsg::Eof) {} };
    timeout(PROMPT_BOUND, ended).await.expect("the end of the output, while the command runs");
    channel.data(&b"after that"[..]).await.expect("data");
    channel.eof().await.expect("an end");
    let mut code = None;
    while let Some(message) = timeout(default_timeout(), channel.wait()).await.expect("an end") {
        if let ChannelMsg::ExitStatus { exit_status } = message {
            code = Some(exit_status);
        }
    }
    assert_eq!(code, Some(6));
    assert_eq!(fs::read_to_string(&file).expect("a file"), "after that");
    client.disconnect(Disconnect::ByApplication, "done", "en").await.expect("a leave");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// 1 KB a second for a minute: slow is not lost, and the end is the command's.
#[tokio::test]
async fn a_client_that_reads_a_kilobyte_a_second_for_a_minute_loses_nothing() {
    const SECONDS: usize = 60;
    let bastion = Bastion::up().await;
    let mut ssh = command("ssh");
    let line = "for i in $(seq 1000000); do printf '%07d\\n' $i; done";
    ssh.args(&bastion.ssh("alice:web-1").await.command(line).words()[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut ssh = spawn(ssh).await;
    let mut output = ssh.stdout.take().expect("a pipe");
    let session = bastion.watch.started("alice").await;
    let mut received = vec![0; SECONDS * 1024];
    let mut second = interval(Duration::from_secs(1));
    for piece in received.chunks_mut(1024) {
        second.tick().await;
        output.read_exact(piece).await.expect("output");
    }
    assert_eq!(bastion.watch.phase(&session), Phase::Active);
    output.read_to_end(&mut received).await.expect("the rest");
    let lines = String::from_utf8(received).expect("text");
    assert_eq!(lines.lines().count(), 1_000_000);
    assert!(lines.lines().zip(1..).all(|(line, number)| line.parse() == Ok(number)), "in order, nothing lost");
    assert!(ssh.wait().await.expect("its end").success());
    bastion.watch.ended(&session, Reason::UserExit).await;
}
