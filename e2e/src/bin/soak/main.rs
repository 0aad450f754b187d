//! `make soak`: users and administrators who use a bastion at random while its programs, its API server and its target
//! are killed, frozen and stopped, and then the question for every session whether it ended once, in time, and for a
//! reason that fits what was done to it. `SOAK_MINUTES` says for how long, `SOAK_SEED` which chances.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod environment;
mod faults;
mod ledger;
mod users;
mod verdict;

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use environment::Environment;

/// How many users open sessions.
const USERS: u64 = 40;
/// How often everything is held still, to be counted.
const COUNT_EVERY: Duration = Duration::from_secs(150);

#[tokio::main]
async fn main() -> ExitCode {
    LocalSet::new().run_until(soak()).await
}

async fn soak() -> ExitCode {
    let minutes: u64 = setting("SOAK_MINUTES").unwrap_or(15);
    let seed: u64 = setting("SOAK_SEED").unwrap_or_else(rand::random);
    println!("SOAK_MINUTES={minutes} SOAK_SEED={seed}");
    let environment = Arc::new(Environment::set_up().await);
    let stop = CancellationToken::new();
    let mut active = JoinSet::new();
    for number in 0..USERS {
        let chance = StdRng::seed_from_u64(seed.wrapping_add(2 + number));
        active.spawn(users::user(environment.clone(), chance, stop.clone()));
    }
    active.spawn(users::administrator(environment.clone(), StdRng::seed_from_u64(seed), stop.clone()));
    active.spawn_local(faults::happen(environment.clone(), StdRng::seed_from_u64(seed.wrapping_add(1)), stop.clone()));

    let end = Instant::now() + Duration::from_mins(minutes);
    let mut wrong = Vec::new();
    while wrong.is_empty() && Instant::now() < end {
        let next = end.min(Instant::now() + COUNT_EVERY);
        tokio::time::sleep_until(next.into()).await;
        wrong.extend(environment.count().await.err());
    }
    stop.cancel();
    while let Some(ended) = active.join_next().await {
        wrong.extend(ended.err().map(|failure| failure.to_string()));
    }
    wrong.extend(environment.count().await.err());
    wrong.extend(verdict::judge(&environment).await);
    for what in &wrong {
        println!("WRONG: {what}");
    }
    println!("{} things were wrong in {minutes} minutes; SOAK_SEED={seed}", wrong.len());
    if !wrong.is_empty() || std::env::var_os("SOAK_KEEP_LOGS").is_some() {
        println!("the programs' logs are in {}", environment.keep_logs());
    }
    environment.namespace.control_plane.stop().await;
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be understood")))
}
