//! How fast the gateway is and what it costs, beside an OpenSSH bastion that terminates sessions as it does, and beside
//! a direct connection to the same target, than which nothing can be faster.
//!
//! All three are measured in turn, with the same cipher and key exchange on every leg, and with the gateway's session
//! objects in a real API server, with its policies in force and a controller at work. It fails only when something could
//! not be measured: what falls short is in the table. SPEED_QUICK=1 takes two minutes, and tells little.
//! Words on the command line name parts of the table.
#![allow(clippy::cast_precision_loss, reason = "what is counted here is far below 2^52")]

mod connect;
mod environment;
mod forwards;
mod idle;
mod keys;
mod process;
mod report;
mod statistics;
mod transfer;

use std::process::ExitCode;
use std::time::Instant;

use environment::{Environment, OURS};
use report::{Figure, Must};
use statistics::median;
use transfer::Transfer;

/// How often, and how much, everything is measured.
struct Scale {
    transfer_mebibytes: u64,
    transfer_rounds: usize,
    set_ups: usize,
    forward_rounds: usize,
    storms: usize,
    storm_size: usize,
    /// After so many connections more it is measured again what a transfer costs.
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
    forward_rounds: 10,
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
    forward_rounds: 2,
    storms: 1,
    storm_size: 40,
    connections: 100,
    idle: 100,
    idle_openssh: 10,
    key_rounds: 2,
    keys: 100,
};

/// The parts of the table, by which they can be measured alone.
pub const PARTS: [&str; 6] = ["connect", "forwards", "transfer", "keys", "idle", "growth"];

/// Measures all of the table, or the named parts of it.
pub async fn run(parts: &[String]) -> ExitCode {
    let quick = std::env::var_os("SPEED_QUICK").is_some_and(|it| !it.is_empty());
    let scale = if quick { QUICK } else { FULL };
    let progress = Progress(Instant::now());
    progress.say("starting a control plane, a gateway, an OpenSSH bastion and a target");
    let environment = Environment::set_up().await;
    let figures = measure(&environment, &scale, &progress, parts).await;
    let control_plane = environment.namespace.control_plane.clone();
    drop(environment);
    control_plane.stop().await;
    report::print(&figures);
    ExitCode::SUCCESS
}

/// Says what is going on: a run takes some minutes.
struct Progress(Instant);

impl Progress {
    fn say(&self, what: &str) {
        eprintln!("==> {:4} s  {what}", self.0.elapsed().as_secs());
    }
}

/// All of the table, or the parts that the command line names.
async fn measure(environment: &Environment, scale: &Scale, progress: &Progress, named: &[String]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for part in PARTS {
        if !named.is_empty() && !named.iter().any(|name| name == part) {
            continue;
        }
        figures.extend(match part {
            "connect" => connecting(environment, scale, progress).await,
            "forwards" => forwarding(environment, scale, progress).await,
            "transfer" => transferring(environment, scale, progress).await,
            "keys" => typing(environment, scale, progress).await,
            "idle" => idling(environment, scale, progress).await,
            _ => growing(environment, scale, progress).await,
        });
    }
    figures
}

async fn connecting(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    progress.say(&format!("setting up connections: {} through each", scale.set_ups));
    let set_up = connect::set_up(environment, scale.set_ups).await;
    progress.say(&format!("connections, 8 at a time: {} through each", scale.storms * scale.storm_size));
    let storms = connect::storms(environment, scale.storms, scale.storm_size).await;
    let rates = storms.each_ref().map(|it| median(it.iter().map(|it| it.rate)));
    let cpu = storms.each_ref().map(|it| Some(connect::cpu_each(it)? * 1e3));
    vec![
        Figure::new("set-up of ssh … true", "ms", set_up.map(median), Must::AtMost(0.65)),
        Figure::new("connections, 8 at a time", "/s", rates, Must::AtLeast(1.5)),
        Figure::new("CPU a connection", "ms", cpu, Must::AtMost(0.25)),
    ]
}

async fn forwarding(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    let rounds = scale.forward_rounds;
    progress.say(&format!(
        "forwarded connections: {rounds} times {} at once, through the gateway and directly",
        forwards::AT_ONCE
    ));
    let measured = forwards::measure(environment, rounds).await;
    let figure = |name: &str, unit, value: fn(&forwards::Forwards) -> Option<f64>, must| {
        Figure::new(name, unit, measured.each_ref().map(value), must)
    };
    let at_once = format!("{} connections at once through -D, to the last byte", forwards::AT_ONCE);
    let processes = format!("target processes for {} forwarded connections", forwards::AT_ONCE);
    vec![
        figure("new connection through -L, to the first byte", "ms", |it| it.first_byte, Must::AtMostDirect(1.3)),
        figure(&at_once, "ms", |it| it.at_once, Must::AtMostDirect(1.5)),
        figure("of them failed", "", |it| it.failed, Must::OursAtMost(0.0)),
        figure("second shell over ControlMaster", "ms", |it| it.shell, Must::AtMostDirect(1.3)),
        figure("sign-ins at the target for all of these", "", |it| it.sign_ins, Must::OursAtMost(1.0)),
        figure(&processes, "", |it| it.processes, Must::AtMostDirect(1.0)),
    ]
}

async fn transferring(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    let (mebibytes, rounds) = (scale.transfer_mebibytes, scale.transfer_rounds);
    progress.say(&format!("{mebibytes} MiB each way: {rounds} times through each"));
    let connection = connect::storms(environment, 1, 16).await.each_ref().map(|it| connect::cpu_each(it));
    let both = transfer::both_ways(environment, mebibytes, rounds).await;
    let [down, up] = both.each_ref().map(|all| all.each_ref().map(|it| median(it.iter().map(Transfer::speed))));
    let [down_cpu, up_cpu] = both.map(|all| [0, 1, 2].map(|way| transfer::cpu(&all[way], connection[way])));
    vec![
        Figure::new("download", "MiB/s", down, Must::AtLeast(1.5)),
        Figure::new("upload", "MiB/s", up, Must::AtLeast(1.3)),
        Figure::new("CPU a GiB of download", "s", down_cpu, Must::AtMost(0.5)),
        Figure::new("CPU a GiB of upload", "s", up_cpu, Must::AtMost(0.5)),
    ]
}

/// Measures keystrokes through gateways with as many worker threads as a small, a usual and a large node has.
async fn typing(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    let mut figures = Vec::new();
    for workers in [1, 2, 6] {
        let keys = scale.key_rounds * scale.keys;
        progress.say(&format!("keystrokes beside two transfers, {workers} worker threads: {keys} through each"));
        let (_gateway, ours) = environment.with_workers(workers).await;
        let keys = keys::keystrokes(environment, &ours, scale.key_rounds, scale.keys).await;
        let name = |percentile| format!("keystroke, {percentile}, {workers} worker threads");
        figures.push(Figure::new(&name("p50"), "ms", keys.p50, Must::AtMostOver(0.5)));
        figures.push(Figure::new(&name("p99"), "ms", keys.p99, Must::AtMostOver(1.0)));
    }
    figures
}

async fn idling(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    let (ours, openssh) = (scale.idle, scale.idle_openssh);
    progress.say(&format!("idle sessions: {ours} through a new gateway, {openssh} through OpenSSH"));
    let memory = idle::memory(environment, ours, openssh).await;
    vec![Figure::new("memory an idle session", "KB", memory, Must::OursAtMost(150.0))]
}

/// Whether what a transfer costs grows with the connections that were served before.
async fn growing(environment: &Environment, scale: &Scale, progress: &Progress) -> Vec<Figure> {
    let (number, mebibytes, rounds) = (scale.connections, scale.transfer_mebibytes, scale.transfer_rounds);
    progress.say(&format!("transfers through the gateway, {number} connections, and the transfers again"));
    let before = transfer::through(environment, OURS, mebibytes, rounds).await;
    let connection = connect::cpu_each(&[connect::storm(environment, OURS, number).await]);
    let after = transfer::through(environment, OURS, mebibytes, rounds).await;
    let growth = |way: usize| {
        let [before, after] = [&before, &after].map(|it| transfer::cpu(&it[way], connection));
        Some([Some(after? / before?), None, None])
    };
    let name = |way: &str| format!("growth of CPU a GiB of {way} after {number} connections");
    let figure =
        |way: usize, name: &str| Figure::new(name, "x", growth(way).unwrap_or_default(), Must::OursAtMost(1.1));
    vec![figure(0, &name("download")), figure(1, &name("upload"))]
}
