//! The sessions that have ended and are not yet on record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::BastionSession;

/// The end times of the sessions that are not yet on record, by uid.
#[derive(Debug, Default)]
pub struct Backlog(BTreeMap<String, Timestamp>);

impl Backlog {
    /// Removes all sessions.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Records the current state of a session; `deleted` means that its object was deleted.
    pub fn observe(&mut self, session: &BastionSession, deleted: bool) {
        let Some(uid) = session.uid() else { return };
        let held = !session.is_in_audit_database();
        let ended = session.status.as_ref().and_then(|status| status.end_time.as_ref());
        match ended.filter(|_| held && !deleted && session.phase().is_final()) {
            Some(ended) => drop(self.0.insert(uid, ended.0)),
            None => drop(self.0.remove(&uid)),
        }
    }

    /// Removes a session whose object was deleted.
    pub fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the earliest end time.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AUDIT_FINALIZER;
    use crate::audit::samples::{active, ended};

    fn with_finalizers(mut session: BastionSession, by: &[&str]) -> BastionSession {
        session.metadata.finalizers = Some(by.iter().map(ToString::to_string).collect());
        session
    }

    #[test]
    fn an_ended_session_stays_until_it_is_on_record() {
        let mut backlog = Backlog::default();
        backlog.observe(&with_finalizers(active("a"), &[AUDIT_FINALIZER]), false);
        assert_eq!((backlog.len(), backlog.oldest()), (0, None));
        backlog.observe(&with_finalizers(ended("a"), &[AUDIT_FINALIZER]), false);
        backlog.observe(&with_finalizers(ended("b"), &[AUDIT_FINALIZER]), false);
        assert_eq!(backlog.len(), 2);
        assert_eq!(backlog.oldest().map(|it| it.to_string()).as_deref(), Some("2026-01-02T04:04:05.25Z"));
        backlog.observe(&with_finalizers(ended("a"), &[]), false);
        backlog.observe(&with_finalizers(ended("b"), &[AUDIT_FINALIZER]), true);
        assert_eq!(backlog.len(), 0);
    }
}
