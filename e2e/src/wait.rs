//! Waits for conditions: polls until one holds, or panics with the last observation.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The bound of an end that the gateway sees itself. It tells "at once" from "by a timer", so it does not grow.
pub const PROMPT_BOUND: Duration = Duration::from_secs(8);

/// The sessions of a lost gateway are shown as ended within this time. It is a promise, so it does not grow.
pub const LOST_GATEWAY: Duration = Duration::from_secs(30);

/// The default timeout of a condition on an idle machine, with a wide margin.
const BASE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a program of the bastion takes to start on an idle machine, with a wide margin.
const USUAL_START: Duration = Duration::from_secs(2);

/// The most that bounds grow, so that a test that hangs ends.
const MAX_SLOWNESS: f64 = 6.0;

/// How long the last programs took to start, in milliseconds.
static STARTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
static NEXT_START: AtomicUsize = AtomicUsize::new(0);

const ATTEMPT_INTERVAL: Duration = Duration::from_millis(25);

/// Notes how long a program took to start, from which [`slowness`] follows.
pub fn note_start(took: Duration) {
    let slot = NEXT_START.fetch_add(1, Ordering::Relaxed) % STARTS.len();
    STARTS[slot].store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// How many times slower than an idle machine this one is now, by the slowest of the last starts; at least 1.
fn slowness() -> f64 {
    let slowest = STARTS.iter().map(|it| it.load(Ordering::Relaxed)).max().unwrap_or_default();
    slowness_by(Duration::from_millis(slowest))
}

fn slowness_by(slowest_start: Duration) -> f64 {
    slowest_start.div_duration_f64(USUAL_START).clamp(1.0, MAX_SLOWNESS)
}

/// Returns `bound`, grown by how slow this machine is now.
///
/// A bound that a test claims, such as "shown as lost within 30 s", is a constant and is not stretched.
pub fn stretched(bound: Duration) -> Duration {
    bound.mul_f64(slowness())
}

/// Returns the default timeout of a condition: 30 s, more on a busy machine.
pub fn default_timeout() -> Duration {
    stretched(BASE_TIMEOUT)
}

/// Polls `attempt` until it returns `Ok`. Panics with the last `Err` once the deadline has passed.
pub async fn eventually<T>(deadline: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > deadline => panic!("{what}: not within {deadline:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(ATTEMPT_INTERVAL).await,
        }
    }
}

/// Calls `look` every second for this time, so that it can assert that nothing changes.
pub async fn throughout(time: Duration, mut look: impl AsyncFnMut()) {
    let start = Instant::now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while start.elapsed() < time {
        seconds.tick().await;
        look().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_with_the_slowest_start_within_limits() {
        let slowness = |milliseconds| slowness_by(Duration::from_millis(milliseconds));
        let table = [(0, 1.0), (2_000, 1.0), (5_000, 2.5), (12_000, 6.0), (60_000, 6.0)];
        for (slowest, expected) in table {
            assert!((slowness(slowest) - expected).abs() < 1e-9, "{slowest} ms: {}", slowness(slowest));
        }
    }
}
