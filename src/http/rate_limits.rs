//! Limits how often each of many clients may do something.

use std::hash::Hash;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// From this many keys on, idle ones are removed.
const KEYS_BEFORE_CLEANUP: usize = 1000;

/// One rate for each key, such as an address or the name of a user.
pub struct RateLimits<K: Clone + Eq + Hash>(DefaultKeyedRateLimiter<K>);

impl<K: Clone + Eq + Hash> RateLimits<K> {
    /// Creates limits of this rate.
    pub fn new(rate: Quota) -> Self {
        Self(RateLimiter::hashmap(rate))
    }

    /// Counts one event of a key. Returns whether it is within the rate.
    pub fn is_within(&self, key: &K) -> bool {
        if self.0.len() > KEYS_BEFORE_CLEANUP {
            self.0.retain_recent();
        }
        self.0.check_key(key).is_ok()
    }
}
