//! How fast the gateway is and what it costs, beside an OpenSSH bastion that terminates sessions as it does, and beside
//! a direct connection to the same target, than which nothing can be faster.
//!
//! All three are measured in turn, with the same cipher and key exchange on every leg, and with the gateway's session
//! objects in a real API server, with its policies in force and a controller at work. It fails only when something could
//! not be measured: what falls short is in the table. SPEED_QUICK=1 takes two minutes, and tells little. The gateway is the
//! program that BASTION_PROGRAM names, which should be a release build.
#![allow(clippy::expect_used, clippy::panic, reason = "a measurement that cannot go on says why, and stops")]
#![allow(clippy::cast_precision_loss, reason = "what is counted here is far below 2^52")]

#[path = "../../e2e/harness/mod.rs"]
mod harness;

mod connect;
mod ground;
mod idle;
mod keys;
mod process;
mod report;
mod statistics;
mod transfer;

use std::time::Instant;

use ground::{Ground, OURS};
use report::{Figure, Must};
use statistics::median;
use transfer::{Transfer, Way};

/// How often, and how much, everything is measured.
struct Scale {
    transfer_mebibytes: u64,
    transfer_rounds: usize,
    set_ups: usize,
    storms: usize,
    storm_size: usize,
    /// After so many connections it is measured again what a transfer costs.
    connections: usize,
    idle: usize,
    /// As many processes as OpenSSH has for it are not needed to know what one costs.
    idle_openssh: usize,
    key_rounds: usize,
    keys: usize,
}

const FULL: Scale = Scale {
    transfer_mebibytes: 1024,
    transfer_rounds: 7,
    set_ups: 60,
    storms: 5,
    storm_size: 80,
    connections: 2000,
    idle: 500,
    idle_openssh: 50,
    key_rounds: 5,
    keys: 200,
};

const QUICK: Scale = Scale {
    transfer_mebibytes: 256,
    transfer_rounds: 3,
    set_ups: 10,
    storms: 1,
    storm_size: 40,
    connections: 100,
    idle: 100,
    idle_openssh: 10,
    key_rounds: 2,
    keys: 100,
};

#[tokio::main]
async fn main() {
    let quick = std::env::var_os("SPEED_QUICK").is_some_and(|it| !it.is_empty());
    let scale = if quick { QUICK } else { FULL };
    let progress = Progress(Instant::now());
    progress.say("starting a control plane, a gateway, an OpenSSH bastion and a target");
    let ground = Ground::set_up().await;
    let figures = measure(&ground, &scale, &progress).await;
    let control_plane = ground.namespace.control_plane.clone();
    drop(ground);
    control_plane.stop().await;
    report::print(&figures);
}

/// Says what is going on: a run takes some minutes.
struct Progress(Instant);

impl Progress {
    fn say(&self, what: &str) {
        eprintln!("==> {:4} s  {what}", self.0.elapsed().as_secs());
    }
}

async fn measure(ground: &Ground, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    progress.say(&format!("setting up connections: {} through each", scale.set_ups));
    let set_up = connect::set_up(ground, scale.set_ups).await;
    progress.say(&format!("connections, 8 at a time: {} through each", scale.storms * scale.storm_size));
    let storms = connect::storms(ground, scale.storms, scale.storm_size).await;
    let a_connection = storms.each_ref().map(|it| median(it.iter().filter_map(|storm| storm.cpu_each)));

    let mebibytes = scale.transfer_mebibytes;
    progress.say(&format!("{mebibytes} MiB each way: {} times through each", scale.transfer_rounds));
    let [down, up] = transfer::both_ways(ground, mebibytes, scale.transfer_rounds).await;

    progress.say(&format!("keystrokes beside two transfers: {} through each", scale.key_rounds * scale.keys));
    let keys = keys::keystrokes(ground, scale.key_rounds, scale.keys).await;

    progress
        .say(&format!("idle sessions: {} through a new gateway, {} through OpenSSH", scale.idle, scale.idle_openssh));
    let idle = idle::memory(ground, scale.idle, scale.idle_openssh).await;

    let before = scale.storms * scale.storm_size + scale.set_ups + 2 * scale.transfer_rounds;
    let more = scale.connections.saturating_sub(before);
    progress.say(&format!("{more} connections more, then the transfers through the gateway again"));
    connect::through_the_gateway(ground, more).await;
    let [down_after, up_after] = transfer::through(ground, OURS, mebibytes, scale.transfer_rounds).await;
    let growth = |before: &[Vec<Transfer>; 3], after: &[Transfer]| {
        Some(transfer::cpu(after, a_connection[OURS])? / transfer::cpu(&before[OURS], a_connection[OURS])?)
    };
    let growth = [growth(&down, &down_after), growth(&up, &up_after)];

    let cpu_of = |all: &[Vec<Transfer>; 3]| [0, 1, 2].map(|it| transfer::cpu(&all[it], a_connection[it]));
    let speed_of = |all: &[Vec<Transfer>; 3]| all.each_ref().map(|it| median(it.iter().map(Transfer::speed)));
    let number = |count: usize| format!("after {count} connections");
    vec![
        Figure::new(Way::Down.name(), "MiB/s", speed_of(&down), Must::AtLeast(1.5)),
        Figure::new(Way::Up.name(), "MiB/s", speed_of(&up), Must::AtLeast(1.3)),
        Figure::new("CPU a GiB of download", "s", cpu_of(&down), Must::AtMost(0.5)),
        Figure::new("CPU a GiB of upload", "s", cpu_of(&up), Must::AtMost(0.5)),
        Figure::new("set-up of ssh … true", "ms", set_up.map(median), Must::AtMost(0.65)),
        Figure::new(
            "connections, 8 at a time",
            "/s",
            storms.each_ref().map(|it| median(it.iter().map(|it| it.rate))),
            Must::AtLeast(1.5),
        ),
        Figure::new("CPU a connection", "ms", a_connection.map(|it| it.map(|it| it * 1e3)), Must::AtMost(0.25)),
        Figure::new("memory an idle session", "KB", idle, Must::OursAtMost(150.0)),
        Figure::new("keystroke, p50", "ms", keys.p50, Must::Nothing),
        Figure::new("keystroke, p99", "ms", keys.p99, Must::Nothing),
        Figure::new("keystroke, p99 over direct", "ms", keys.p99_over_direct, Must::OursAtMost(3.0)),
        Figure::new("CPU a GiB of download, growth", "x", [growth[0], None, None], Must::OursAtMost(1.1))
            .noted(&number(before + more)),
        Figure::new("CPU a GiB of upload, growth", "x", [growth[1], None, None], Must::OursAtMost(1.1))
            .noted(&number(before + more)),
    ]
}
