//! Locks out users and addresses after wrong passwords and one-time codes. Keys and certificates cannot be guessed, so they
//! are not counted.
//!
//! Failures are counted per user and address, per user, and per address. A failure counts against a user only if that user
//! was asked for the answer. Other failures count under the name that was typed, in counters of their own, by the same
//! rules. Such failures cannot lock a user out, and the counts do not reveal whether a user exists.
//!
//! An attempt is counted as a failure before it is checked. If the answer was right, the failure is taken back. Otherwise a
//! hundred concurrent attempts would all be checked. With Redis, all gateways share counters. Each gateway also counts for
//! itself, and relies on its own counters while Redis does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use redis::{Pipeline, pipe};

use super::failure_counters::{Attempt, Counters, KNOWN_ADDRESS_TTL, LockoutLimits};
use crate::redis::RedisClient;

/// Locks out users and addresses after failures at this gateway and, through Redis, at all gateways.
pub struct Throttle {
    limits: LockoutLimits,
    own: Mutex<Counters>,
    shared: Option<Arc<RedisClient>>,
}

/// Counts an attempt as a failure, unless it is locked out. Returns 1 if the attempt may be checked, otherwise 0.
///
/// KEYS: the failures of user and address, of the user, of the address; the mark of a known address. ARGV: the three limits;
/// the duration of a lock-out, in milliseconds.
const BEGIN_SCRIPT: &str = "
local known = redis.call('EXISTS', KEYS[4]) == 1
for i = 1, 3 do
  if not (i == 2 and known) and tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i]) then return 0 end
end
for i = 1, 3 do
  redis.call('INCR', KEYS[i])
  redis.call('PEXPIRE', KEYS[i], ARGV[4])
end
return 1";

/// Takes back the failure that was counted for an attempt that succeeded.
///
/// KEYS: as for [`BEGIN_SCRIPT`]. ARGV: 1 after a completed sign-in; the time for which the address then stays known, in
/// milliseconds.
const SUCCEED_SCRIPT: &str = "
for i = 1, 3 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[4], '1', 'PX', ARGV[2])
end
return 1";

impl Throttle {
    /// Returns a throttle with these limits. With `shared`, all gateways count together.
    pub fn new(limits: LockoutLimits, shared: Option<Arc<RedisClient>>) -> Self {
        Self { limits, own: Mutex::default(), shared }
    }

    /// Counts an attempt as a failure, which [`Throttle::succeed`] takes back. If the attempt is locked out, counts nothing and
    /// returns false.
    pub async fn begin(&self, attempt: &Attempt) -> bool {
        if !self.own().may_begin(attempt, self.limits, Instant::now()) || !self.shared_begin(attempt).await {
            return false;
        }
        // Other attempts may have begun while Redis was asked.
        self.own().begin(attempt, self.limits, Instant::now())
    }

    /// Counts the attempt in Redis. Returns true while Redis does not answer.
    async fn shared_begin(&self, attempt: &Attempt) -> bool {
        let Some(redis) = &self.shared else { return true };
        let [at_address, per_user, per_address] = self.limits.in_key_order();
        let mut script = script(BEGIN_SCRIPT, attempt);
        script.arg(at_address).arg(per_user).arg(per_address).arg(milliseconds(self.limits.duration));
        // The Redis link counts and logs failures.
        redis.query("begin sign-in", &script).await.map_or(true, |(allowed,): (i64,)| allowed == 1)
    }

    /// Takes back the failure that was counted for an attempt that succeeded. `signed_in` says whether the attempt completed
    /// the sign-in.
    pub async fn succeed(&self, attempt: &Attempt, signed_in: bool) {
        self.own().succeed(attempt, signed_in, Instant::now());
        if let Some(redis) = &self.shared {
            let mut script = script(SUCCEED_SCRIPT, attempt);
            script.arg(u8::from(signed_in)).arg(milliseconds(KNOWN_ADDRESS_TTL));
            let _: Result<(i64,), _> = redis.query("signed in", &script).await;
        }
    }

    fn own(&self) -> MutexGuard<'_, Counters> {
        self.own.lock()
    }
}

fn script(text: &str, attempt: &Attempt) -> Pipeline {
    let mut pipeline = pipe();
    pipeline.cmd("EVAL").arg(text).arg(4).arg(attempt.redis_keys().to_vec());
    pipeline
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
