//! A cache of granted rights. It serves new sessions only: for sessions that run, the API server is always asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::api::{BastionTarget, BastionUser, Group};

/// How long a withdrawn right still admits new sessions.
const TTL: Duration = Duration::from_secs(10);
/// The cache's capacity.
const MAX_ENTRIES: usize = 4096;

/// The inputs of an access review, apart from the RBAC objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessKey {
    subject: String,
    groups: Vec<Group>,
    target: String,
    target_groups: Vec<Group>,
    login: String,
}

impl AccessKey {
    /// Creates the key of one user, target and login.
    pub fn new(user: &BastionUser, target: &BastionTarget, login: &str) -> Self {
        Self {
            subject: user.subject(),
            groups: user.spec.groups.clone(),
            target: target.name_any(),
            target_groups: target.spec.groups.clone(),
            login: login.to_owned(),
        }
    }
}

/// The rights that were granted, and when each was requested.
#[derive(Debug, Default)]
pub struct AccessCache(HashMap<AccessKey, Instant>);

impl AccessCache {
    /// Returns whether the right was granted within the last 10 s.
    pub fn contains(&self, key: &AccessKey, now: Instant) -> bool {
        self.0.get(key).is_some_and(|requested| now.duration_since(*requested) < TTL)
    }

    /// Adds a right that was granted to a request sent at `requested`. A full cache of unexpired entries adds nothing.
    pub fn insert(&mut self, key: AccessKey, requested: Instant) {
        if self.0.len() >= MAX_ENTRIES {
            self.0.retain(|_, earlier| requested.saturating_duration_since(*earlier) < TTL);
        }
        if self.0.len() < MAX_ENTRIES {
            self.0.insert(key, requested);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(login: &str) -> AccessKey {
        let (groups, target_groups) = (vec!["people".into()], Vec::new());
        let (subject, target) = ("bastion:alice".into(), "web-1".into());
        AccessKey { subject, groups, target, target_groups, login: login.into() }
    }

    #[test]
    fn a_right_is_cached_for_ten_seconds() {
        let (mut cache, now) = (AccessCache::default(), Instant::now());
        assert!(!cache.contains(&key("root"), now));
        cache.insert(key("root"), now);
        assert!(cache.contains(&key("root"), now + Duration::from_millis(9_999)));
        assert!(!cache.contains(&key("root"), now + TTL));
        assert!(!cache.contains(&key("deploy"), now));
        assert!(!cache.contains(&AccessKey { groups: Vec::new(), ..key("root") }, now));
    }

    #[test]
    fn the_cache_is_bounded() {
        let (mut cache, now) = (AccessCache::default(), Instant::now());
        for number in 0..2 * MAX_ENTRIES {
            cache.insert(key(&number.to_string()), now);
        }
        assert_eq!(cache.0.len(), MAX_ENTRIES);
        cache.insert(key("later"), now + TTL);
        assert!(cache.contains(&key("later"), now + TTL));
    }
}
