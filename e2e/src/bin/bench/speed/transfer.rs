//! Bulk transfers: how fast they are, and what they cost the bastion.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::statistics::median;

/// How long one may take.
const DEADLINE: Duration = Duration::from_mins(5);

/// To the user or to the target.
#[derive(Clone, Copy)]
pub enum Way {
    Down,
    Up,
}

/// One transfer.
pub struct Transfer {
    mebibytes: f64,
    /// From when the command runs on the target until all has arrived.
    seconds: f64,
    /// The bastion's processor time, in seconds, with that of the connection.
    cpu: Option<f64>,
}

impl Way {
    /// What runs on the target. It says on standard error when it begins, and when it has everything: the time that it
    /// takes to connect is another figure.
    fn command(self, mebibytes: u64) -> String {
        match self {
            Self::Down => format!("date +%s.%N >&2; exec head -c {mebibytes}M /dev/zero"),
            Self::Up => "date +%s.%N >&2; cat >/dev/null; date +%s.%N >&2".to_owned(),
        }
    }
}

impl Transfer {
    /// MiB a second.
    pub fn speed(&self) -> f64 {
        self.mebibytes / self.seconds
    }
}

/// Downloads and uploads, each so many times on each way.
pub async fn both_ways(environment: &Environment, mebibytes: u64, rounds: usize) -> [[Vec<Transfer>; 3]; 2] {
    let source = zeros(&environment.namespace.dir, mebibytes);
    let down = environment
        .interleaved(rounds, async |way| transfer(environment, way, Way::Down, mebibytes, &source).await)
        .await;
    let up = environment
        .interleaved(rounds, async |way| transfer(environment, way, Way::Up, mebibytes, &source).await)
        .await;
    [down, up]
}

/// Downloads and uploads on one way.
pub async fn through(environment: &Environment, way: usize, mebibytes: u64, rounds: usize) -> [Vec<Transfer>; 2] {
    let source = zeros(&environment.namespace.dir, mebibytes);
    let mut transfers = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        transfers[0].push(transfer(environment, way, Way::Down, mebibytes, &source).await);
        transfers[1].push(transfer(environment, way, Way::Up, mebibytes, &source).await);
    }
    transfers
}

/// The bastion's processor time a GiB, in seconds, without that of the connection.
pub fn cpu(transfers: &[Transfer], a_connection: Option<f64>) -> Option<f64> {
    let each = |it: &Transfer| Some((it.cpu? - a_connection?) / it.mebibytes * 1024.0);
    median(transfers.iter().filter_map(each))
}

/// A file that takes no space.
fn zeros(dir: &Path, mebibytes: u64) -> PathBuf {
    let path = dir.join("zeros");
    File::create(&path).and_then(|file| file.set_len(mebibytes << 20)).expect("a file");
    path
}

async fn transfer(environment: &Environment, way: usize, direction: Way, mebibytes: u64, source: &Path) -> Transfer {
    let null = || File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let input = match direction {
        Way::Down => null(),
        Way::Up => File::open(source).expect("the source"),
    };
    let before = environment.cpu(way);
    let ssh = environment.ways[way].ssh().await.command(&direction.command(mebibytes));
    let outcome = ssh.start_with(input, null()).await.finish(DEADLINE).await;
    let end = jiff::Timestamp::now().as_duration().as_secs_f64();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut times = outcome.stderr.lines().map(|line| line.parse::<f64>().expect("a time and nothing else"));
    let begin = times.next().expect("the time of the beginning");
    let seconds = times.next().unwrap_or(end) - begin;
    environment.settled().await;
    let cpu = before.zip(environment.cpu(way)).map(|(before, after)| after - before);
    Transfer { mebibytes: mebibytes as f64, seconds, cpu }
}
