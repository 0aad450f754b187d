//! What passes through the gateway, and that it arrives unchanged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use nix::unistd::Pid;
use tokio::process::Command;

use bastion_e2e::process::Process;
use bastion_e2e::run::unique;
use bastion_e2e::{Bastion, PROMPT_BOUND, default_timeout, eventually, weight};

#[tokio::test]
async fn the_exit_code_of_a_command_is_the_clients() {
    let bastion = Bastion::up().await;
    let outcome = bastion.ssh("alice:web-1").await.command("exit 7").run().await;
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(7));
}

#[tokio::test]
async fn a_command_killed_by_a_signal_says_so() {
    let bastion = Bastion::up().await;
    let outcome = bastion.ssh("alice:web-1").await.command("kill -TERM $$").run().await;
    assert_eq!(outcome.code, Some(255), "as OpenSSH has it: {outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    let status = end.session.status.expect("a status");
    assert_eq!((status.exit_signal.as_deref(), status.exit_code), (Some("TERM"), None), "{status:?}");
}

#[tokio::test]
async fn standard_output_and_standard_error_stay_apart() {
    let bastion = Bastion::up().await;
    let outcome = bastion.ssh("alice:web-1").await.command("echo good; echo bad >&2").run().await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("good\n", "bad\n"));
}

/// A file of random bytes.
fn random_file(path: PathBuf, mebibytes: usize) -> (PathBuf, Vec<u8>) {
    let mut bytes = vec![0; mebibytes << 20];
    rand::fill(&mut bytes[..]);
    fs::write(&path, &bytes).expect("a file");
    (path, bytes)
}

#[tokio::test]
async fn a_quarter_of_a_gibibyte_goes_both_ways_at_once_and_arrive_intact() {
    let _held = weight::take(2).await;
    let bastion = Bastion::up().await;
    let (sent, bytes) = random_file(bastion.namespace.dir.join("sent"), 256);
    let received = bastion.namespace.dir.join("received");
    let files = (File::open(&sent).expect("a file"), File::create(&received).expect("a file"));
    let mut ssh = bastion.ssh("alice:web-1").await.command("cat").start_with(files.0, files.1).await;
    let session = bastion.watch.started("alice").await;
    let outcome = ssh.finish(Duration::from_mins(2)).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let arrived = fs::read(&received).expect("a file");
    assert!(arrived == bytes, "{} of {} bytes came back, or came back changed", arrived.len(), bytes.len());
    let status = bastion.watch.ended(&session, Reason::UserExit).await.session.status.expect("a status");
    let size = i64::try_from(bytes.len()).expect("a size");
    assert_eq!((status.bytes_in, status.bytes_out), (Some(size), Some(size)), "{status:?}");
}

#[tokio::test]
async fn a_terminal_has_the_size_of_the_users_and_follows_it() {
    let bastion = Bastion::up().await;
    let mut ssh = bastion.ssh("alice:web-1").await.option("-t").start_in_terminal(33, 101).await;
    let terminal = ssh.finds("the terminal's name", |it| it.stdout().lines().next().map(str::to_owned)).await;
    ssh.say("stty size").await;
    ssh.shows("33 101").await;
    let stty = Command::new("stty").args(["-F", terminal.trim(), "rows", "50", "cols", "132"]).status().await;
    assert!(stty.expect("stty runs").success(), "stty changes the size of {terminal}");
    eventually(PROMPT_BOUND, "the target's terminal has the new size", async || {
        ssh.say("stty size").await;
        if ssh.stdout().contains("50 132") { Ok(()) } else { Err(ssh.stdout()) }
    })
    .await;
    ssh.say("exit").await;
    ssh.finish(PROMPT_BOUND).await;
}

#[tokio::test]
async fn an_interrupt_typed_at_a_terminal_reaches_the_command() {
    let bastion = Bastion::up().await;
    let command = "trap 'echo interrupted; exit 4' INT; test -t 0 && echo a terminal; sleep 60";
    let mut ssh = bastion.ssh("alice:web-1").await.terminal().command(command).start().await;
    ssh.shows("a terminal").await;
    ssh.say("\u{3}").await;
    ssh.shows("interrupted").await;
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(4));
}

#[tokio::test]
async fn the_language_of_the_user_passes() {
    let bastion = Bastion::up().await;
    let ssh = bastion.ssh("alice:web-1").await.set("SetEnv=LANG=eo.UTF-8").command("echo $LANG");
    let outcome = ssh.run().await;
    assert_eq!(outcome.stdout, "eo.UTF-8\n", "{outcome:?}");
}

/// The target's own sshd would take it.
#[tokio::test]
async fn what_else_a_client_has_in_its_environment_does_not() {
    let bastion = Bastion::up().await;
    let ssh = bastion.ssh("alice:web-1").await.set("SetEnv=BASH_ENV=/nowhere").command("echo ${BASH_ENV:-none}");
    assert_eq!(ssh.run().await.stdout, "none\n");
}

/// A client that others can share, with a shell that answers, and the option by which they find it.
async fn control_master(bastion: &Bastion) -> (Process, String) {
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let mut master =
        bastion.ssh("alice:web-1").await.no_terminal().set("ControlMaster=yes").set(&control).start().await;
    master.say("echo mas$((1))ter").await;
    master.shows("mas1ter").await;
    (master, control)
}

#[tokio::test]
async fn two_channels_of_one_connection_are_one_session() {
    let bastion = Bastion::up().await;
    let (mut master, control) = control_master(&bastion).await;
    let session = bastion.watch.started("alice").await;
    let second = bastion.ssh("alice:web-1").await.set(&control).command("cat; exit 5").run().await;
    assert_eq!(second.code, Some(5), "{second:?}");
    assert_eq!(bastion.session_names().await.len(), 1, "the second command is in the same session");
    assert_eq!(bastion.watch.phase(&session), Phase::Active, "the end of one channel is not the session's");
    master.say("exit 6").await;
    assert_eq!(master.finish(PROMPT_BOUND).await.code, Some(6));
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// A client with a control connection closes a channel as soon as both sides have ended their output. A gateway that
/// has not passed on the exit code by then has lost it.
#[tokio::test]
async fn an_exit_code_arrives_that_comes_after_the_end_of_the_output() {
    let bastion = Bastion::up().await;
    let (_master, control) = control_master(&bastion).await;
    let late = "exec <&- >&- 2>&-; sleep 0.3; exit 5";
    let second = bastion.ssh("alice:web-1").await.set(&control).command(late).run().await;
    assert_eq!(second.code, Some(5), "{second:?}");
}

#[tokio::test]
async fn scp_copies_there_and_back() {
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    let (sent, bytes) = random_file(folder.join("sent"), 3);
    let (there, back) = (folder.join("there"), folder.join("back"));
    let remote = format!("127.0.0.1:{}", there.display());
    let put = bastion.ssh("alice:web-1").await.run_other("scp", &[sent.as_os_str(), remote.as_ref()]).await;
    assert_eq!(put.code, Some(0), "{put:?}");
    let get = bastion.ssh("alice:web-1").await.run_other("scp", &[remote.as_ref(), back.as_os_str()]).await;
    assert_eq!(get.code, Some(0), "{get:?}");
    assert!(fs::read(&back).expect("the copy") == bytes, "the copy of the copy is the original");
}

#[tokio::test]
async fn sftp_puts_and_gets() {
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    let (sent, bytes) = random_file(folder.join("sent"), 3);
    let (there, back) = (folder.join("there"), folder.join("back"));
    let batch = folder.join("batch");
    fs::write(
        &batch,
        format!("put {} {there}\nget {there} {}\n", sent.display(), back.display(), there = there.display()),
    )
    .expect("a file");
    let ssh = bastion.ssh("alice:web-1").await.option("-b").option(&batch.display().to_string());
    let outcome = ssh.run_other("sftp", &["127.0.0.1"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(fs::read(&back).expect("the copy") == bytes, "the copy of the copy is the original");
}

/// Waits until no process has this id.
async fn assert_process_ends(pid: i32, what: &str) {
    eventually(PROMPT_BOUND, what, async || match nix::sys::signal::kill(Pid::from_raw(pid), None) {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("process {pid} still runs")),
    })
    .await;
}

#[tokio::test]
async fn a_killed_client_leaves_no_command_on_the_target() {
    let bastion = Bastion::up().await;
    for (what, terminal, command) in [("in a terminal", true, "sleep 61"), ("without a terminal", false, "cat")] {
        let command = format!("echo pid $$ end; exec {command}");
        let ssh = bastion.ssh("alice:web-1").await.command(&command);
        let mut ssh = if terminal { ssh.terminal() } else { ssh }.start().await;
        let pid = ssh.finds("the command's process id", |it| word_after(&it.stdout(), "pid")).await;
        let session = bastion.watch.started("alice").await;
        ssh.signal(nix::sys::signal::Signal::SIGKILL);
        bastion.watch.ended(&session, Reason::ClientDisconnected).await;
        assert_process_ends(pid, &format!("the command {what} is gone")).await;
    }
}

#[tokio::test]
async fn a_terminated_session_leaves_no_command_on_the_target() {
    let bastion = Bastion::up().await;
    let mut ssh = bastion.ssh("alice:web-1").await.terminal().command("echo pid $$ end; exec sleep 62").start().await;
    let pid = ssh.finds("the command's process id", |it| word_after(&it.stdout(), "pid")).await;
    let session = bastion.watch.started("alice").await;
    let name = session.metadata.name.clone().expect("a name");
    let termination = serde_json::json!({"spec": {"termination": {"requestedBy": "admin"}}});
    bastion.namespace.patch_session(&bastion.namespace.admin(), &name, termination).await.expect("a termination");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    assert_process_ends(pid, "the command is gone").await;
    ssh.finish(default_timeout()).await;
}

/// The number after a word, once what follows it is there too.
fn word_after(text: &str, word: &str) -> Option<i32> {
    let mut words = text.split_whitespace().skip_while(|it| *it != word).skip(1);
    let number = words.next()?;
    words.next()?;
    number.parse().ok()
}

/// The end of what the user sends reaches the target, and what the target still says reaches the user.
#[tokio::test]
async fn the_end_of_the_input_passes_and_the_answer_comes_back() {
    let bastion = Bastion::up().await;
    let (sent, _) = random_file(bastion.namespace.dir.join(format!("sent-{}", unique())), 1);
    let counted = bastion.namespace.dir.join("counted");
    let files = (File::open(&sent).expect("a file"), File::create(&counted).expect("a file"));
    let mut ssh = bastion.ssh("alice:web-1").await.command("wc -c").start_with(files.0, files.1).await;
    assert_eq!(ssh.finish(default_timeout()).await.code, Some(0));
    assert_eq!(fs::read_to_string(&counted).expect("a file").trim(), "1048576");
}
