//! Connections: how long one takes, how many a second there can be, and what each costs.

use std::time::Instant;

use futures::{StreamExt, stream};

use super::environment::Environment;
use super::statistics::median;

/// How many are made at the same time where it is about many.
const CONCURRENCY: usize = 8;

/// Many connections, made as fast as possible.
pub struct Storm {
    /// Connections a second.
    pub rate: f64,
    /// The bastion's processor time for each, in seconds.
    cpu_each: Option<f64>,
}

/// The time that `ssh … true` takes, in milliseconds.
pub async fn set_up(environment: &Environment, rounds: usize) -> [Vec<f64>; 3] {
    environment
        .interleaved(rounds, async |way| {
            let begin = Instant::now();
            connect(environment, way).await;
            begin.elapsed().as_secs_f64() * 1e3
        })
        .await
}

/// The same, eight at a time.
pub async fn storms(environment: &Environment, rounds: usize, size: usize) -> [Vec<Storm>; 3] {
    environment.interleaved(rounds, async |way| storm(environment, way, size).await).await
}

/// The bastion's processor time for a connection, in seconds.
pub fn cpu_each(storms: &[Storm]) -> Option<f64> {
    median(storms.iter().filter_map(|storm| storm.cpu_each))
}

/// Connections on one way, as many at a time as in a storm.
pub async fn storm(environment: &Environment, way: usize, size: usize) -> Storm {
    let before = environment.cpu(way);
    let begin = Instant::now();
    stream::iter(0..size).map(|_| connect(environment, way)).buffer_unordered(CONCURRENCY).collect::<()>().await;
    let rate = size as f64 / begin.elapsed().as_secs_f64();
    environment.settled().await;
    let cpu_each = before.zip(environment.cpu(way)).map(|(before, after)| (after - before) / size as f64);
    Storm { rate, cpu_each }
}

async fn connect(environment: &Environment, way: usize) {
    let outcome = environment.ways[way].ssh().await.command("true").run().await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}
