//! The hot state of sessions in Redis, where one is configured: `session:<uid>`, a hash with the last input, the bytes and
//! the window's size, which pages show and nothing rests on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis::{Pipeline, pipe};
use tokio::time::{MissedTickBehavior, interval};

use super::current::CurrentInstance;
use crate::gateway::session::Snapshot;
use crate::redis::{RedisFailure, RedisLink};

/// How often changes are written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How long a key outlives the last time it was written, in seconds.
const KEPT_SECONDS: u64 = 30;
/// How long a session that does not change is left alone before its key is refreshed.
const REFRESH_AFTER: Duration = Duration::from_secs(15);
/// How many sessions one request to Redis may carry.
const BATCH: usize = 500;

/// What was last written of a session, and when.
type Written = HashMap<String, (Snapshot, Instant)>;

/// Writes for as long as it is polled.
pub async fn run(instance: &CurrentInstance, redis: &RedisLink) {
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = Written::new();
    loop {
        ticks.tick().await;
        let live = instance.now().map(|instance| instance.registry.snapshots()).unwrap_or_default();
        // What failed is counted and logged, and comes round again.
        let _ = bring_up_to_date(redis, &mut written, live).await;
    }
}

async fn bring_up_to_date(
    redis: &RedisLink,
    written: &mut Written,
    live: HashMap<String, Snapshot>,
) -> Result<(), RedisFailure> {
    let now = Instant::now();
    let gone: Vec<_> = written.keys().filter(|uid| !live.contains_key(*uid)).cloned().collect();
    for uids in gone.chunks(BATCH) {
        let mut pipeline = pipe();
        pipeline.cmd("UNLINK").arg(uids.iter().map(|uid| key(uid)).collect::<Vec<_>>()).ignore();
        let () = redis.ask("forget", &pipeline).await?;
        written.retain(|uid, _| !uids.contains(uid));
    }
    let due: Vec<_> = live.into_iter().filter(|(uid, state)| is_due(written.get(uid), state, now)).collect();
    for sessions in due.chunks(BATCH) {
        let mut pipeline = pipe();
        // So that no key stays behind without its time.
        pipeline.atomic();
        for (uid, state) in sessions {
            put(&mut pipeline, uid, state);
        }
        let () = redis.ask("hot state", &pipeline).await?;
        written.extend(sessions.iter().map(|(uid, state)| (uid.clone(), (*state, now))));
    }
    Ok(())
}

fn is_due(written: Option<&(Snapshot, Instant)>, state: &Snapshot, now: Instant) -> bool {
    written.is_none_or(|(last, at)| last != state || now.duration_since(*at) >= REFRESH_AFTER)
}

fn put(pipeline: &mut Pipeline, uid: &str, state: &Snapshot) {
    let Snapshot { last_input, bytes: (from_user, to_user), window: (columns, rows) } = state;
    let last_input: &Timestamp = last_input;
    pipeline.cmd("HSET").arg(key(uid));
    pipeline.arg("lastInputTime").arg(format!("{last_input:.6}"));
    pipeline.arg("bytesIn").arg(from_user).arg("bytesOut").arg(to_user);
    pipeline.arg("columns").arg(columns).arg("rows").arg(rows).ignore();
    pipeline.cmd("EXPIRE").arg(key(uid)).arg(KEPT_SECONDS).ignore();
}

fn key(uid: &str) -> String {
    format!("session:{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_or_would_expire_is_written() {
        let now = Instant::now();
        let state = |bytes| Snapshot { last_input: Timestamp::UNIX_EPOCH, bytes: (bytes, 0), window: (80, 24) };
        assert!(is_due(None, &state(1), now));
        assert!(!is_due(Some(&(state(1), now)), &state(1), now + Duration::from_secs(14)));
        assert!(is_due(Some(&(state(1), now)), &state(2), now));
        assert!(is_due(Some(&(state(1), now)), &state(1), now + REFRESH_AFTER));
        assert!(REFRESH_AFTER < Duration::from_secs(KEPT_SECONDS));
    }
}
