//! The gateways' heartbeats in Redis: one key for each instance, with the time of its last heartbeat by Redis's clock.
//!
//! A gateway first asks Redis for the time, and then sets its key to that time. If Redis freezes between the two and applies
//! the write late, the heartbeat still has its true age.

use std::time::{Duration, Instant};

use redis::pipe;

use super::client::{RedisClient, RedisError};
use crate::clock;

/// How long Redis keeps the key of an instance without heartbeats, in milliseconds.
const KEY_TTL_MS: u64 = 30_000;

/// A heartbeat of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the heartbeat was given, by Redis's clock, in milliseconds since the Unix epoch.
    pub stamp: u64,
    /// When the heartbeat was given, by [`clock::now`]. It may be a little too early, never too late.
    pub at: Instant,
}

impl Heartbeat {
    /// Returns the heartbeat with this stamp. `redis_now` is Redis's time in its answer to a request that began at
    /// `started`.
    ///
    /// Redis read its clock after `started`. The heartbeat is therefore no older than the result says.
    pub fn from_stamp(stamp: u64, redis_now: u64, started: Instant) -> Option<Self> {
        let age = Duration::from_millis(redis_now.saturating_sub(stamp));
        Some(Self { stamp, at: started.checked_sub(age)? })
    }
}

/// Writes a heartbeat of a gateway instance. Returns when the write began, by [`clock::now`].
///
/// # Errors
/// Redis failed or did not answer in time.
pub async fn write(redis: &RedisClient, instance: &str) -> Result<Instant, RedisError> {
    let started = clock::now();
    let (time,): ((u64, u64),) = redis.query("show", pipe().cmd("TIME")).await?;
    let stamp = milliseconds(time);
    let mut set = pipe();
    set.cmd("SET").arg(key(instance)).arg(stamp).arg("PXAT").arg(stamp.saturating_add(KEY_TTL_MS)).ignore();
    let () = redis.query("show", &set).await?;
    Ok(started)
}

/// Reads the last heartbeats of these instances. Leaves out instances without a heartbeat.
///
/// # Errors
/// Redis failed or did not answer in time.
pub async fn read(redis: &RedisClient, instances: Vec<String>) -> Result<Vec<(String, Heartbeat)>, RedisError> {
    let started = clock::now();
    let keys: Vec<_> = instances.iter().map(|instance| key(instance)).collect();
    let mut request = pipe();
    request.cmd("TIME").cmd("MGET").arg(keys);
    let (time, stamps): ((u64, u64), Vec<Option<u64>>) = redis.query("look", &request).await?;
    let now = milliseconds(time);
    let stamps = instances.into_iter().zip(stamps);
    Ok(stamps.filter_map(|(instance, stamp)| Some((instance, Heartbeat::from_stamp(stamp?, now, started)?))).collect())
}

const fn milliseconds((seconds, micros): (u64, u64)) -> u64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

fn key(instance: &str) -> String {
    format!("gateway:{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_heartbeat_is_counted_by_the_clock_of_redis() {
        let started = Instant::now();
        let age = |stamp, now| Heartbeat::from_stamp(stamp, now, started).map(|heartbeat| started - heartbeat.at);
        assert_eq!(age(10_000, 17_500), Some(Duration::from_millis(7_500)));
        // After Redis's clock was set back, a heartbeat is not in the future.
        assert_eq!(age(10_000, 2_000), Some(Duration::ZERO));
    }
}
