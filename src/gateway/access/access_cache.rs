//! Rights that were found a moment ago. Only what was allowed is remembered, and only for who comes in: whether those who
//! are in still may be is always asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::api::{BastionTarget, BastionUser, Group};

/// How long a right may have been withdrawn while somebody still comes in by it.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many are remembered at most.
const MAX_REMEMBERED: usize = 4096;

/// All that an answer depends on, but for RBAC itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessKey {
    subject: String,
    groups: Vec<Group>,
    target: String,
    target_groups: Vec<Group>,
    login: String,
}

impl AccessKey {
    /// May this user connect to this target under this login?
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

/// The questions that were answered with yes, and when they were asked.
#[derive(Debug, Default)]
pub struct AccessCache(HashMap<AccessKey, Instant>);

impl AccessCache {
    /// Whether the answer was yes a moment ago.
    pub fn holds(&self, question: &AccessKey, now: Instant) -> bool {
        self.0.get(question).is_some_and(|asked| now.duration_since(*asked) < REMEMBERED)
    }

    /// The answer is yes.
    pub fn remember(&mut self, question: AccessKey, asked: Instant) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, earlier| asked.saturating_duration_since(*earlier) < REMEMBERED);
        }
        if self.0.len() < MAX_REMEMBERED {
            self.0.insert(question, asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(login: &str) -> AccessKey {
        let (groups, target_groups) = (vec!["people".into()], Vec::new());
        let (subject, target) = ("bastion:alice".into(), "web-1".into());
        AccessKey { subject, groups, target, target_groups, login: login.into() }
    }

    #[test]
    fn a_right_is_remembered_for_ten_seconds() {
        let (mut allowed, now) = (AccessCache::default(), Instant::now());
        assert!(!allowed.holds(&question("root"), now));
        allowed.remember(question("root"), now);
        assert!(allowed.holds(&question("root"), now + Duration::from_millis(9_999)));
        assert!(!allowed.holds(&question("root"), now + REMEMBERED));
        assert!(!allowed.holds(&question("deploy"), now));
        assert!(!allowed.holds(&AccessKey { groups: Vec::new(), ..question("root") }, now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut allowed, now) = (AccessCache::default(), Instant::now());
        for number in 0..2 * MAX_REMEMBERED {
            allowed.remember(question(&number.to_string()), now);
        }
        assert_eq!(allowed.0.len(), MAX_REMEMBERED);
        allowed.remember(question("later"), now + REMEMBERED);
        assert!(allowed.holds(&question("later"), now + REMEMBERED));
    }
}
