//! The second witness of a gateway's life: a key in Redis for each instance. It holds the moment at which the instance
//! showed itself, by Redis's own clock.
//!
//! That moment is asked for first and set in a second step. A server that was frozen in between, and applies the
//! step late, cannot make the instance look younger than it is.

use std::time::{Duration, Instant};

use redis::pipe;

use super::link::{RedisFailure, RedisLink};

/// How long a key stays behind whose instance shows itself no more, in milliseconds.
const KEPT_MS: u64 = 30_000;

/// A sign of life, as Redis tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// When it was given, by Redis's clock, in milliseconds since 1970.
    pub stamp: u64,
    /// When it was given, or a little before, by this process's own clock.
    pub at: Instant,
}

/// The gateway's side: shows that the instance is alive. Returns when this was begun.
///
/// # Errors
/// When Redis refused it or did not answer.
pub async fn show(redis: &RedisLink, instance: &str) -> Result<Instant, RedisFailure> {
    let begun = Instant::now();
    let (time,): ((u64, u64),) = redis.ask("show", pipe().cmd("TIME")).await?;
    let stamp = milliseconds(time);
    let mut set = pipe();
    set.cmd("SET").arg(key(instance)).arg(stamp).arg("PXAT").arg(stamp.saturating_add(KEPT_MS)).ignore();
    let () = redis.ask("show", &set).await?;
    Ok(begun)
}

/// A controller's side: the last signs of life of these instances, without those that gave none.
///
/// # Errors
/// When Redis refused it or did not answer.
pub async fn look(redis: &RedisLink, instances: Vec<String>) -> Result<Vec<(String, Sign)>, RedisFailure> {
    let begun = Instant::now();
    let keys: Vec<_> = instances.iter().map(|instance| key(instance)).collect();
    let mut asked = pipe();
    asked.cmd("TIME").cmd("MGET").arg(keys);
    let (time, stamps): ((u64, u64), Vec<Option<u64>>) = redis.ask("look", &asked).await?;
    let told = instances.into_iter().zip(stamps);
    Ok(told.filter_map(|(instance, stamp)| Some((instance, sign(stamp?, milliseconds(time), begun)?))).collect())
}

/// What a stamp tells, that Redis gave at `redis_now`, by its own clock, to a request that was `begun` before. Redis took
/// its time after that: the sign is at least as old as it looks from there.
pub fn sign(stamp: u64, redis_now: u64, begun: Instant) -> Option<Sign> {
    let age = Duration::from_millis(redis_now.saturating_sub(stamp));
    Some(Sign { stamp, at: begun.checked_sub(age)? })
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
    fn a_sign_is_as_old_as_redis_says() {
        let begun = Instant::now();
        let age = |stamp, now| sign(stamp, now, begun).map(|sign| begun - sign.at);
        assert_eq!(age(10_000, 17_500), Some(Duration::from_millis(7_500)));
        // A clock that was set back makes nothing younger than now.
        assert_eq!(age(10_000, 2_000), Some(Duration::ZERO));
    }
}
