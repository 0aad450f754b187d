//! Publishes the activity of sessions to Redis, if Redis is configured, as hashes `session:<uid>`. The console's pages show the
//! activity.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::{Pipeline, pipe};

use super::current::CurrentInstance;
use crate::gateway::session::ActivitySnapshot;
use crate::redis::{RedisClient, RedisError};
use crate::tasks::ticks;

/// The interval at which changes are published.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// The time to live of a key, in seconds.
const TTL_SECONDS: u64 = 30;
/// The age at which the key of an unchanged session is written again, so that it does not expire.
const REFRESH_AFTER: Duration = Duration::from_secs(15);
/// The most sessions in one request to Redis.
const BATCH_SIZE: usize = 500;

/// The last snapshot published for each session, by uid, and when it was published.
type Published = HashMap<String, (ActivitySnapshot, Instant)>;

/// Publishes changes every second. Never returns.
pub async fn run(instance: &CurrentInstance, redis: &RedisClient) {
    let mut ticks = ticks(WRITE_INTERVAL);
    let mut published = Published::new();
    loop {
        ticks.tick().await;
        let live = instance.now().map(|instance| instance.registry.snapshots()).unwrap_or_default();
        // Errors are counted and logged elsewhere; the next tick retries.
        let _ = publish_changes(redis, &mut published, live).await;
    }
}

async fn publish_changes(
    redis: &RedisClient,
    published: &mut Published,
    live: HashMap<String, ActivitySnapshot>,
) -> Result<(), RedisError> {
    let now = Instant::now();
    let gone: Vec<_> = published.keys().filter(|uid| !live.contains_key(*uid)).cloned().collect();
    for uids in gone.chunks(BATCH_SIZE) {
        let mut pipeline = pipe();
        pipeline.cmd("UNLINK").arg(uids.iter().map(|uid| key(uid)).collect::<Vec<_>>()).ignore();
        let () = redis.query("forget", &pipeline).await?;
        published.retain(|uid, _| !uids.contains(uid));
    }
    let due: Vec<_> = live.into_iter().filter(|(uid, state)| is_due(published.get(uid), state, now)).collect();
    for sessions in due.chunks(BATCH_SIZE) {
        let mut pipeline = pipe();
        // In a transaction, so that no key is left without its time to live.
        pipeline.atomic();
        for (uid, state) in sessions {
            add_commands(&mut pipeline, uid, state);
        }
        let () = redis.query("hot state", &pipeline).await?;
        published.extend(sessions.iter().map(|(uid, state)| (uid.clone(), (*state, now))));
    }
    Ok(())
}

fn is_due(published: Option<&(ActivitySnapshot, Instant)>, state: &ActivitySnapshot, now: Instant) -> bool {
    published.is_none_or(|(last, at)| last != state || now.duration_since(*at) >= REFRESH_AFTER)
}

fn add_commands(pipeline: &mut Pipeline, uid: &str, state: &ActivitySnapshot) {
    let ActivitySnapshot { last_input, bytes: (from_user, to_user), window: (columns, rows) } = state;
    pipeline.cmd("HSET").arg(key(uid));
    pipeline.arg("lastInputTime").arg(format!("{last_input:.6}"));
    pipeline.arg("bytesIn").arg(from_user).arg("bytesOut").arg(to_user);
    pipeline.arg("columns").arg(columns).arg("rows").arg(rows).ignore();
    pipeline.cmd("EXPIRE").arg(key(uid)).arg(TTL_SECONDS).ignore();
}

fn key(uid: &str) -> String {
    format!("session:{uid}")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn only_changed_or_expiring_keys_are_written() {
        let now = Instant::now();
        let state = |bytes| ActivitySnapshot { last_input: Timestamp::UNIX_EPOCH, bytes: (bytes, 0), window: (80, 24) };
        assert!(is_due(None, &state(1), now));
        assert!(!is_due(Some(&(state(1), now)), &state(1), now + Duration::from_secs(14)));
        assert!(is_due(Some(&(state(1), now)), &state(2), now));
        assert!(is_due(Some(&(state(1), now)), &state(1), now + REFRESH_AFTER));
        assert!(REFRESH_AFTER < Duration::from_secs(TTL_SECONDS));
    }
}
