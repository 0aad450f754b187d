//! Connections: how long one takes, how many a second there can be, and what each costs.

use std::time::Instant;

use futures::{StreamExt, stream};

use super::ground::Ground;
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
pub async fn set_up(ground: &Ground, rounds: usize) -> [Vec<f64>; 3] {
    ground
        .interleaved(rounds, async |way| {
            let begin = Instant::now();
            connect(ground, way).await;
            begin.elapsed().as_secs_f64() * 1e3
        })
        .await
}

/// The same, eight at a time.
pub async fn storms(ground: &Ground, rounds: usize, size: usize) -> [Vec<Storm>; 3] {
    ground.interleaved(rounds, async |way| storm(ground, way, size).await).await
}

/// The bastion's processor time for a connection, in seconds.
pub fn cpu_each(storms: &[Storm]) -> Option<f64> {
    median(storms.iter().filter_map(|storm| storm.cpu_each))
}

/// Connections on one way, as many at a time as in a storm.
pub async fn storm(ground: &Ground, way: usize, size: usize) -> Storm {
    let before = ground.cpu(way);
    let begin = Instant::now();
    stream::iter(0..size).map(|_| connect(ground, way)).buffer_unordered(CONCURRENCY).collect::<()>().await;
    let rate = size as f64 / begin.elapsed().as_secs_f64();
    ground.settled().await;
    let cpu_each = before.zip(ground.cpu(way)).map(|(before, after)| (after - before) / size as f64);
    Storm { rate, cpu_each }
}

async fn connect(ground: &Ground, way: usize) {
    let outcome = ground.ways[way].ssh().await.command("true").run().await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}
