//! Which sessions have ended and are not yet on record: pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{AUDIT_FINALIZER, BastionSession};

/// When each of those ended, by their uids.
#[derive(Debug, Default)]
pub struct Backlog(BTreeMap<String, Timestamp>);

impl Backlog {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes note of a session as it is now; `gone` says that its object is no more.
    pub fn observe(&mut self, session: &BastionSession, gone: bool) {
        let Some(uid) = session.uid() else { return };
        let held = session.finalizers().iter().any(|it| it == AUDIT_FINALIZER);
        let ended = session.status.as_ref().and_then(|status| status.end_time.as_ref());
        match ended.filter(|_| held && !gone && session.phase().is_final()) {
            Some(ended) => drop(self.0.insert(uid, ended.0)),
            None => drop(self.0.remove(&uid)),
        }
    }

    /// Removes a session whose object was deleted.
    pub fn gone(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first of them ended.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples::{active, ended};

    fn held(mut session: BastionSession, by: &[&str]) -> BastionSession {
        session.metadata.finalizers = Some(by.iter().map(ToString::to_string).collect());
        session
    }

    #[test]
    fn whoever_ended_is_waited_for_until_it_is_on_record() {
        let mut backlog = Backlog::default();
        backlog.observe(&held(active("a"), &[AUDIT_FINALIZER]), false);
        assert_eq!((backlog.len(), backlog.oldest()), (0, None));
        backlog.observe(&held(ended("a"), &[AUDIT_FINALIZER]), false);
        backlog.observe(&held(ended("b"), &[AUDIT_FINALIZER]), false);
        assert_eq!(backlog.len(), 2);
        assert_eq!(backlog.oldest().map(|it| it.to_string()).as_deref(), Some("2026-01-02T04:04:05.25Z"));
        backlog.observe(&held(ended("a"), &[]), false);
        backlog.observe(&held(ended("b"), &[AUDIT_FINALIZER]), true);
        assert_eq!(backlog.len(), 0);
    }
}
