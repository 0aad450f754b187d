//! Reads the activity of sessions that gateways publish in Redis. A cache limits this to one read per session a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use redis::pipe;
use serde::Serialize;

use crate::redis::RedisClient;

/// How long a cached read is used.
const CACHE_TTL: Duration = Duration::from_millis(900);

/// The activity of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Seconds since the last input.
    pub idle_seconds: i64,
    /// Bytes that the user has sent to the target.
    pub bytes_in: i64,
    /// Bytes that the target has sent to the user.
    pub bytes_out: i64,
}

/// The time and the result of the last read of each session, by uid.
type Cache = HashMap<String, (Instant, Option<Reading>)>;
/// The fields of a session's hash in Redis: last input, bytes in, bytes out.
type Fields = (Option<String>, Option<i64>, Option<i64>);

/// Reads the activity of sessions from Redis. Clones share one cache.
#[derive(Clone)]
pub struct ActivityReader {
    redis: Arc<RedisClient>,
    cache: Arc<Mutex<Cache>>,
}

/// The activity of a session that a gateway published last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    last_input: Timestamp,
    bytes_in: i64,
    bytes_out: i64,
}

impl ActivityReader {
    /// Creates a reader with an empty cache.
    pub fn new(redis: RedisClient) -> Self {
        Self { redis: Arc::new(redis), cache: Arc::default() }
    }

    /// Returns the readings of sessions, given as name and uid, by name. Leaves out sessions that Redis does not have.
    pub async fn read(&self, sessions: &[(String, String)]) -> BTreeMap<String, Reading> {
        let stale = self.stale(sessions);
        if !stale.is_empty() {
            let mut pipeline = pipe();
            for uid in &stale {
                pipeline.cmd("HMGET").arg(format!("session:{uid}")).arg(&["lastInputTime", "bytesIn", "bytesOut"]);
            }
            // The link counts and logs errors. The next call retries.
            if let Ok(fields) = self.redis.query::<Vec<Fields>>("hot state", &pipeline).await {
                self.update_cache(stale.into_iter().zip(fields));
            }
        }
        let cache = self.cache.lock();
        sessions.iter().filter_map(|(name, uid)| Some((name.clone(), cache.get(uid)?.1?))).collect()
    }

    /// Returns the uids without a fresh reading. Drops readings that were not requested for 9 s.
    fn stale(&self, sessions: &[(String, String)]) -> Vec<String> {
        let mut cache = self.cache.lock();
        cache.retain(|_, (at, _)| at.elapsed() < 10 * CACHE_TTL);
        let is_fresh = |uid: &str| cache.get(uid).is_some_and(|(at, _)| at.elapsed() < CACHE_TTL);
        sessions.iter().map(|(_, uid)| uid).filter(|uid| !is_fresh(uid)).cloned().collect()
    }

    fn update_cache(&self, found: impl Iterator<Item = (String, Fields)>) {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        cache.extend(found.map(|(uid, fields)| (uid, (now, parse(fields)))));
    }
}

fn parse(fields: Fields) -> Option<Reading> {
    let (Some(last_input), Some(bytes_in), Some(bytes_out)) = fields else { return None };
    Some(Reading { last_input: last_input.parse().ok()?, bytes_in, bytes_out })
}

impl Reading {
    /// Returns the activity at this time.
    pub fn activity(self, now: Timestamp) -> Activity {
        let Self { last_input, bytes_in, bytes_out } = self;
        Activity { idle_seconds: now.duration_since(last_input).as_secs().max(0), bytes_in, bytes_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_parsed_or_left_out() {
        let reading = parse((Some("2026-01-02T03:04:05.000000Z".to_owned()), Some(7), Some(9))).unwrap();
        let activity = reading.activity("2026-01-02T03:05:05Z".parse().unwrap());
        assert_eq!(activity, Activity { idle_seconds: 60, bytes_in: 7, bytes_out: 9 });
        assert_eq!(reading.activity(Timestamp::UNIX_EPOCH).idle_seconds, 0, "clocks differ");
        assert_eq!(parse((None, None, None)), None, "the gateway has no Redis, or the session has ended");
        assert_eq!(parse((Some("yesterday".to_owned()), Some(7), Some(9))), None);
    }
}
