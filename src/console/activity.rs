//! What sessions do just now, from the hot state that gateways keep in Redis, where there is one. Pages that show the same
//! session cost one question a second between them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis::pipe;
use serde::Serialize;

use crate::redis::RedisLink;

/// How long an answer is good for all who ask.
const GOOD_FOR: Duration = Duration::from_millis(900);

/// What a session does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Seconds since the last input.
    pub idle_seconds: i64,
    /// Bytes that the user has sent to the target.
    pub bytes_in: i64,
    /// Bytes that the target has sent to the user.
    pub bytes_out: i64,
}

/// When what was seen of a session, by its uid.
type Known = HashMap<String, (Instant, Option<Seen>)>;
/// What gateways say of a session.
type Said = (Option<String>, Option<i64>, Option<i64>);

/// The sessions' hot state. Clones are the same.
#[derive(Clone)]
pub struct HotState {
    redis: Arc<RedisLink>,
    known: Arc<Mutex<Known>>,
}

/// What was last seen of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    last_input: Timestamp,
    bytes_in: i64,
    bytes_out: i64,
}

impl HotState {
    /// The hot state in this Redis.
    pub fn new(redis: RedisLink) -> Self {
        Self { redis: Arc::new(redis), known: Arc::default() }
    }

    /// What these sessions do, by their names; those are left out of which nothing is known.
    pub async fn of(&self, sessions: &[(String, String)]) -> BTreeMap<String, Seen> {
        let asked = self.unknown(sessions);
        if !asked.is_empty() {
            let mut pipeline = pipe();
            for uid in &asked {
                pipeline.cmd("HMGET").arg(format!("session:{uid}")).arg(&["lastInputTime", "bytesIn", "bytesOut"]);
            }
            // What failed is counted and logged, and asked again.
            if let Ok(said) = self.redis.ask::<Vec<Said>>("hot state", &pipeline).await {
                self.learn(asked.into_iter().zip(said));
            }
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().filter_map(|(name, uid)| Some((name.clone(), known.get(uid)?.1?))).collect()
    }

    /// Of which of these nothing is known that is still good. What nobody asks for any more is forgotten.
    fn unknown(&self, sessions: &[(String, String)]) -> Vec<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < 10 * GOOD_FOR);
        let is_good = |uid: &str| known.get(uid).is_some_and(|(at, _)| at.elapsed() < GOOD_FOR);
        sessions.iter().map(|(_, uid)| uid).filter(|uid| !is_good(uid)).cloned().collect()
    }

    fn learn(&self, answers: impl Iterator<Item = (String, Said)>) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(answers.map(|(uid, said)| (uid, (now, seen(said)))));
    }
}

fn seen(said: Said) -> Option<Seen> {
    let (Some(last_input), Some(bytes_in), Some(bytes_out)) = said else { return None };
    Some(Seen { last_input: last_input.parse().ok()?, bytes_in, bytes_out })
}

impl Seen {
    /// What it does by this time.
    pub fn activity(self, now: Timestamp) -> Activity {
        let Self { last_input, bytes_in, bytes_out } = self;
        Activity { idle_seconds: now.duration_since(last_input).as_secs().max(0), bytes_in, bytes_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gateways_say_is_understood_or_left_out() {
        let whole = seen((Some("2026-01-02T03:04:05.000000Z".to_owned()), Some(7), Some(9))).unwrap();
        let activity = whole.activity("2026-01-02T03:05:05Z".parse().unwrap());
        assert_eq!(activity, Activity { idle_seconds: 60, bytes_in: 7, bytes_out: 9 });
        assert_eq!(whole.activity(Timestamp::UNIX_EPOCH).idle_seconds, 0, "clocks differ");
        assert_eq!(seen((None, None, None)), None, "its gateway has no Redis, or it is gone");
        assert_eq!(seen((Some("yesterday".to_owned()), Some(7), Some(9))), None);
    }
}
