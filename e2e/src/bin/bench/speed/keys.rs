//! The time from a keystroke to its echo in a terminal, beside a download and an upload on the same way.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

use super::environment::{DIRECT, Environment, OPENSSH, Way};
use super::statistics::percentile;
use bastion_e2e::default_timeout;
use bastion_e2e::process::{Process, command, spawn};

/// The time between two keystrokes.
const PAUSE: Duration = Duration::from_millis(5);
/// A terminal takes no line that is longer than 4,096 characters.
const LINE: usize = 64;

/// In milliseconds, on each way.
pub struct Keystrokes {
    pub p50: [Option<f64>; 3],
    pub p99: [Option<f64>; 3],
}

/// Measures keystrokes on each way. `ours` replaces the usual way through our gateway.
pub async fn keystrokes(environment: &Environment, ours: &Way, rounds: usize, keys: usize) -> Keystrokes {
    let ways = [ours, &environment.ways[OPENSSH], &environment.ways[DIRECT]];
    let echoes = environment.interleaved(rounds, async |way| beside_two_transfers(ways[way], keys).await).await;
    let at = |percent| echoes.each_ref().map(|rounds| percentile(rounds.concat(), percent));
    Keystrokes { p50: at(50), p99: at(99) }
}

async fn beside_two_transfers(way: &Way, keys: usize) -> Vec<f64> {
    let mut typist = Typist::open(way).await;
    let transfers = transfers(way).await;
    let mut echoes = Vec::new();
    for key in 0..keys {
        sleep(PAUSE).await;
        echoes.push(typist.press(b"x").await.as_secs_f64() * 1e3);
        if key % LINE == LINE - 1 {
            typist.press(b"\n").await;
        }
    }
    drop(transfers);
    typist.child.kill().await.expect("ssh can be killed");
    echoes
}

/// A download and an upload that are under way.
async fn transfers(way: &Way) -> [Process; 2] {
    let file = |name| File::options().read(true).write(true).open(name).expect("a device");
    let mut started = Vec::new();
    for (on_target, input) in [("cat /dev/zero", "/dev/null"), ("cat >/dev/null", "/dev/zero")] {
        let ssh = way.ssh().await.command(&format!("echo begun >&2; exec {on_target}"));
        let mut process = ssh.start_with(file(input), file("/dev/null")).await;
        process.finds("that it has begun", |it| it.stderr().contains("begun").then_some(())).await;
        started.push(process);
    }
    started.try_into().unwrap_or_else(|_| panic!("two"))
}

/// A terminal on the target.
struct Typist {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
}

impl Typist {
    async fn open(way: &Way) -> Self {
        let words = way.ssh().await.terminal().command("echo ready; exec cat >/dev/null").words();
        let mut command = command(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawn(command).await;
        let keyboard = child.stdin.take().expect("a pipe");
        let screen = child.stdout.take().expect("a pipe");
        let mut typist = Self { child, keyboard, screen };
        typist.see(b"ready\r\n").await;
        typist
    }

    /// Presses a key; the time until its echo is there.
    async fn press(&mut self, key: &[u8]) -> Duration {
        let begin = Instant::now();
        self.keyboard.write_all(key).await.expect("ssh takes it");
        self.see(if key == b"\n" { b"\r\n" } else { key }).await;
        begin.elapsed()
    }

    async fn see(&mut self, expected: &[u8]) {
        let mut seen = vec![0; expected.len()];
        let read = timeout(default_timeout(), self.screen.read_exact(&mut seen)).await.expect("an echo");
        read.expect("ssh goes on");
        assert_eq!(seen, expected);
    }
}
