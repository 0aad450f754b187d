//! The clients and servers that people have besides OpenSSH's own, and what they run over them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bastion_operator::api::Reason;
use futures::{StreamExt, stream};
use nix::unistd::{Uid, User};
use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde_json::json;
use tokio::process::Command;

use bastion_e2e::process::{Outcome, Process, command};
use bastion_e2e::run::{Run, unique};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, default_timeout, weight};

/// Runs a program in the test's folder, which is its home too, to its end.
async fn run(bastion: &Bastion, program: &str, arguments: &[impl AsRef<OsStr>]) -> Outcome {
    let mut command = command(program);
    command.args(arguments);
    run_command(bastion, command, default_timeout()).await
}

/// Runs a command as [`run`] does, for at most this long.
pub async fn run_command(bastion: &Bastion, mut command: Command, deadline: Duration) -> Outcome {
    let folder = &bastion.namespace.dir;
    command.current_dir(folder).env("HOME", folder);
    let mut process = Process::start(folder.join(format!("client-{}", unique())), command).await;
    process.close_input();
    process.finish(deadline).await
}

fn assert_success(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

/// The line of the gateway's host key, as any host's.
fn host_key(bastion: &Bastion) -> String {
    let line = fs::read_to_string(bastion.gateway.known_hosts()).expect("a file");
    line.trim_start_matches("* ").trim().to_owned()
}

/// That a client's command had this exit code and output, and that its session says so too.
async fn assert_ran(bastion: &Bastion, outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(5), "good\n"), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(end.session.status.expect("a status").exit_code, Some(5));
}

#[tokio::test]
async fn putty_gets_through() {
    let bastion = Bastion::up().await;
    let user_key = Run::get().await.user_key.path.display().to_string();
    let to_ppk = ["-O", "private", "-o", "key.ppk", "--random-device", "/dev/urandom"];
    assert_success(&run(&bastion, "puttygen", &[&[user_key.as_str()], &to_ppk[..]].concat()).await);
    let host_key = PublicKey::from_openssh(&host_key(&bastion)).expect("a public key");
    let fingerprint = host_key.fingerprint(HashAlg::Sha256).to_string();
    let port = bastion.gateway.address.port().to_string();
    let to = ["-batch", "-ssh", "-P", &port, "-l", "alice:web-1", "-i", "key.ppk", "-hostkey", &fingerprint];
    let words = [&to[..], &["127.0.0.1", "echo good; exit 5"]].concat();
    assert_ran(&bastion, &run(&bastion, "plink", &words).await).await;
}

#[tokio::test]
async fn dropbears_client_gets_through() {
    let bastion = Bastion::up().await;
    let user_key = Run::get().await.user_key.path.display().to_string();
    assert_success(&run(&bastion, "dropbearconvert", &["openssh", "dropbear", &user_key, "key"]).await);
    let settings = bastion.namespace.dir.join(".ssh");
    fs::create_dir(&settings).expect("a folder");
    fs::write(settings.join("known_hosts"), format!("127.0.0.1 {}\n", host_key(&bastion))).expect("a file");
    let port = bastion.gateway.address.port().to_string();
    let words = ["-p", &port, "-l", "alice:web-1", "-i", "key", "127.0.0.1", "echo good; exit 5"];
    assert_ran(&bastion, &run(&bastion, "dbclient", &words).await).await;
}

/// Files of odd names and sizes in folders.
pub fn tree(folder: &Path) {
    fs::create_dir_all(folder.join("a/b")).expect("a folder");
    for (name, size) in [("empty", 0), ("a/one byte", 1), ("a/b/large", 3 << 20)] {
        let mut bytes = vec![0; size];
        rand::fill(&mut bytes[..]);
        fs::write(folder.join(name), bytes).expect("a file");
    }
}

/// That two trees have the same files in them.
pub async fn assert_same(bastion: &Bastion, one: &str, other: &str) {
    assert_success(&run(bastion, "diff", &["--recursive", "--exclude=.git", one, other]).await);
}

/// Copies a tree to the target and back.
async fn assert_rsync_works(bastion: &Bastion, sign_in_name: &str) {
    let folder = &bastion.namespace.dir;
    tree(&folder.join("here"));
    let shell = bastion.ssh(sign_in_name).await.remote_shell();
    let remote = format!("127.0.0.1:{}/there/", folder.display());
    for [from, to] in [["here/", remote.as_str()], [remote.as_str(), "back/"]] {
        assert_success(&run(bastion, "rsync", &["--archive", "--rsh", &shell, from, to]).await);
    }
    assert_same(bastion, "here", "back").await;
}

#[tokio::test]
async fn rsync_copies_there_and_back() {
    assert_rsync_works(&Bastion::up().await, "alice:web-1").await;
}

/// Runs git with the gateway as the way to every host, and no configuration of anybody's.
async fn git(bastion: &Bastion, arguments: &[&str]) {
    let mut command = command("git");
    command.args(["-c", "user.name=alice", "-c", "user.email=alice@example.com"]).args(arguments);
    command.env("GIT_SSH_COMMAND", bastion.ssh("alice:web-1").await.remote_shell());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    assert_success(&run_command(bastion, command, default_timeout()).await);
}

#[tokio::test]
async fn git_pushes_and_clones() {
    let bastion = Bastion::up().await;
    let url = format!("ssh://127.0.0.1{}/bare.git", bastion.namespace.dir.display());
    git(&bastion, &["init", "--quiet", "--bare", "--initial-branch=main", "bare.git"]).await;
    git(&bastion, &["init", "--quiet", "--initial-branch=main", "here"]).await;
    tree(&bastion.namespace.dir.join("here"));
    git(&bastion, &["-C", "here", "add", "."]).await;
    git(&bastion, &["-C", "here", "commit", "--quiet", "--message", "All"]).await;
    git(&bastion, &["-C", "here", "push", "--quiet", &url, "main"]).await;
    git(&bastion, &["clone", "--quiet", &url, "back"]).await;
    assert_same(&bastion, "here", "back").await;
}

#[tokio::test]
async fn two_hundred_short_commands_at_a_time_of_twenty_all_succeed() {
    let _held = weight::take(2).await;
    let bastion = Bastion::up().await;
    let one = async |number: u32| {
        let outcome = bastion.ssh("alice:web-1").await.command(&format!("echo {number}")).run().await;
        assert_eq!((outcome.code, outcome.stdout), (Some(0), format!("{number}\n")), "{}", outcome.stderr);
    };
    stream::iter(0..200).map(one).buffer_unordered(20).collect::<()>().await;
    assert_eq!(bastion.session_names().await.len(), 200, "each was a session");
}

/// A GiB is what people move; a quarter of it is as much as these ciphers, hardly optimised, take in seconds.
const LARGE: &str = "256M";

#[tokio::test]
async fn a_large_file_arrives_with_its_digest_through_sftp_and_through_a_command() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let folder = bastion.namespace.dir.display().to_string();
    let shell = bastion.ssh("alice:web-1").await.remote_shell();
    let sftp = shell.replacen("ssh", "sftp -b batch", 1);
    fs::write(bastion.namespace.dir.join("batch"), format!("get {folder}/large by-sftp\n")).expect("a file");
    let script = format!(
        "set -e
        head -c {LARGE} /dev/urandom > large
        {sftp} 127.0.0.1 >&2
        {shell} 127.0.0.1 'cat {folder}/large' > by-command
        sha256sum < large; sha256sum < by-sftp; sha256sum < by-command
        rm large by-sftp by-command"
    );
    let mut command = command("sh");
    command.args(["-c", &script]);
    let outcome = run_command(&bastion, command, Duration::from_mins(2)).await;
    assert_success(&outcome);
    let digests: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(digests.len(), 3, "{outcome:?}");
    assert!(digests.iter().all(|it| *it == digests[0]), "{digests:?}");
}

/// A Dropbear that takes the run's target key. It reads authorized keys from the user's home and nowhere else: it
/// runs where a folder of the test's is mounted over that.
async fn dropbear(bastion: &Bastion, port: u16) -> Process {
    let folder = &bastion.namespace.dir;
    let home = User::from_uid(Uid::effective()).expect("the user database").expect("a user").dir;
    let settings = folder.join("home/.ssh");
    fs::create_dir_all(&settings).expect("a folder");
    fs::write(settings.join("authorized_keys"), &Run::get().await.target_key.public).expect("a file");
    fs::set_permissions(folder.join("home"), fs::Permissions::from_mode(0o700)).expect("a private folder");
    let host_key = bastion.sshd.host_key.path.display().to_string();
    assert_success(&run(bastion, "dropbearconvert", &["openssh", "dropbear", &host_key, "host-key"]).await);
    let script = format!(
        "mount --bind {home} {over} && exec /usr/sbin/dropbear -F -E -s -p 127.0.0.1:{port} -r {folder}/host-key -P ''",
        home = folder.join("home").display(),
        over = home.display(),
        folder = folder.display()
    );
    let mut command = command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let mut process = Process::start(folder.join("dropbear"), command).await;
    process.finds("that it listens", |it| it.stderr().contains("Not backgrounding").then_some(())).await;
    process
}

#[tokio::test]
async fn a_dropbear_is_a_target() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can give Dropbear another home");
        return;
    }
    let port = free_port().await;
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("dropbear", sshd, json!({"port": port})).await;
    })
    .await;
    let _dropbear = dropbear(&bastion, port).await;
    let outcome = bastion.ssh("alice:dropbear").await.command("echo good; exit 5").run().await;
    assert_ran(&bastion, &outcome).await;
    let outcome = bastion.ssh("alice:dropbear").await.terminal().command("test -t 0 && kill -TERM $$").run().await;
    assert_eq!(outcome.code, Some(255), "as OpenSSH has it: {outcome:?}");
    assert_rsync_works(&bastion, "alice:dropbear").await;
}
