//! `make robustness`: users and administrators use a bastion while its programs, its network, its API server, its Redis, its
//! database and its target are broken at random. Everything that a watch shows is recorded, and a checker then says whether
//! the guarantee of the list of sessions held for each session.
//!
//! `ROBUSTNESS_MINUTES` says for how long things break, `ROBUSTNESS_SEED` which things. A seed draws the same schedule again;
//! what then happens first depends on the machine, so a second run of a seed need not fail where the first one did.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod database;
mod environment;
mod faults;
mod network;
mod page;
mod recorder;
mod stalls;
mod users;

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use bastion_e2e::robustness::report::{shortest_history, summary};
use bastion_e2e::robustness::schedule::CALM;
use bastion_e2e::robustness::{Schedule, check};
use environment::Environment;

/// How many violations are printed with their histories.
const PRINTED: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    LocalSet::new().run_until(robustness()).await
}

async fn robustness() -> ExitCode {
    let minutes: u64 = setting("ROBUSTNESS_MINUTES").unwrap_or(15);
    let seed: u64 = setting("ROBUSTNESS_SEED").unwrap_or_else(rand::random);
    let schedule = Arc::new(Schedule::draw(seed, Duration::from_mins(minutes)));
    let faults: usize = schedule.rounds.iter().map(|round| round.faults.len()).sum();
    println!("ROBUSTNESS_SEED={seed} ROBUSTNESS_MINUTES={minutes}");
    println!("{} rounds, {faults} faults, {:?}", schedule.rounds.len(), schedule.database);
    let environment = Arc::new(Environment::set_up(&schedule).await);
    let failures = play(&environment, &schedule).await;
    let history = environment.history().await;
    let violations = check(&history);
    println!("\n{}", summary(&history));
    for failure in &failures {
        println!("FAILED: {failure} (violations may only follow from this)");
    }
    for violation in violations.iter().take(PRINTED) {
        println!("{}", shortest_history(&history, violation));
    }
    let is_good = failures.is_empty() && violations.is_empty();
    println!("{} violations; ROBUSTNESS_SEED={seed} ROBUSTNESS_MINUTES={minutes}", violations.len());
    if !is_good || std::env::var_os("ROBUSTNESS_KEEP_LOGS").is_some() {
        println!("the programs' logs are in {}", environment.keep_logs());
    }
    environment.namespace.control_plane.stop().await;
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays the schedule. Returns what went wrong besides what the checker finds.
async fn play(environment: &Arc<Environment>, schedule: &Arc<Schedule>) -> Vec<String> {
    let stop = CancellationToken::new();
    let mut active = JoinSet::new();
    for number in 0..schedule.users.len() {
        active.spawn_local(users::user(environment.clone(), schedule.clone(), number, stop.clone()));
    }
    active.spawn_local(users::requests(environment.clone(), schedule.clone(), stop.clone()));
    let page = tokio::task::spawn_local(page::read(environment.clone()));
    let stalls = tokio::spawn(stalls::watch(environment.clone()));
    let mut failures = Vec::new();
    for round in &schedule.rounds {
        failures.extend(faults::happen(environment, round).await);
        tokio::time::sleep(CALM).await;
        if !environment.agree_at_rest().await || !failures.is_empty() || page.is_finished() {
            break;
        }
    }
    stop.cancel();
    while let Some(ended) = active.join_next().await {
        failures.extend(ended.err().map(|failure| failure.to_string()));
    }
    environment.agree_at_rest().await;
    stalls.abort();
    page.abort();
    failures.extend(page.await.err().filter(JoinError::is_panic).map(|failure| format!("the page: {failure}")));
    failures
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be understood")))
}
