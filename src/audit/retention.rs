//! Selects the finished sessions to delete: those past their retention, and those beyond the maximum number.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{BastionSession, RECORDED_AT_ANNOTATION};

/// How long finished sessions stay in the cluster, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long a finished session stays after it was recorded. During this time it is recorded again if the audit database is
    /// restored from a backup.
    pub duration: Duration,
    /// The maximum number of finished sessions.
    pub max_finished: usize,
}

impl Retention {
    /// Returns the sessions to delete. Leaves out sessions that are not on record.
    pub fn expired(&self, sessions: &[Arc<BastionSession>], now: Timestamp) -> Vec<Arc<BastionSession>> {
        let mut finished: Vec<_> = sessions.iter().filter(|session| session.phase().is_final()).collect();
        let excess = finished.len().saturating_sub(self.max_finished);
        if excess > 0 {
            finished.sort_by_key(|session| end_time(session));
        }
        let is_excess_or_old = |(place, session): &(usize, &Arc<BastionSession>)| {
            *place < excess || kept_for(session, now) >= self.duration
        };
        let is_deletable =
            |session: &BastionSession| session.metadata.deletion_timestamp.is_none() && session.is_in_audit_database();
        let selected = finished.into_iter().enumerate().filter(is_excess_or_old).map(|(_, session)| session);
        selected.filter(|session| is_deletable(session)).cloned().collect()
    }
}

/// Returns how long the audit database has had the record of a finished session; zero if the time of the record lies in the
/// future, because clocks differ.
fn kept_for(session: &BastionSession, now: Timestamp) -> Duration {
    let since = recorded_at(session).unwrap_or(now);
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Returns when a session was recorded. An older version of the bastion wrote no annotation. For its sessions, returns the time
/// of the end or of the last change, whichever is later.
fn recorded_at(session: &BastionSession) -> Option<Timestamp> {
    let annotations = session.metadata.annotations.as_ref();
    let written = annotations.and_then(|all| all.get(RECORDED_AT_ANNOTATION)?.parse().ok());
    let changes = session.metadata.managed_fields.iter().flatten();
    let changes = changes.filter_map(|entry| entry.time.as_ref()).map(|time| time.0);
    written.or_else(|| changes.chain(end_time(session)).max())
}

fn end_time(session: &BastionSession) -> Option<Timestamp> {
    session.status.as_ref().and_then(|status| status.end_time.as_ref()).map(|end| end.0)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::audit::samples;

    const MINUTES: i64 = 60;
    const RETENTION: Retention = Retention { duration: Duration::from_mins(10), max_finished: 100 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Returns a session whose last change was its end. It has the annotation of a record at `recorded`, if there is one,
    /// and the audit finalizer if `held`.
    fn session(name: &str, phase: &str, ended: i64, recorded: Option<i64>, held: bool) -> Arc<BastionSession> {
        let mut session = samples::session(name, json!({ "phase": phase, "endTime": at(ended) }));
        session.metadata.name = Some(name.to_owned());
        session.metadata.finalizers.take_if(|_| !held);
        session.metadata.managed_fields = serde_json::from_value(json!([{ "time": at(ended) }])).unwrap();
        let recorded = recorded.map(|second| (RECORDED_AT_ANNOTATION.to_owned(), at(second).to_string()));
        session.metadata.annotations = recorded.map(|annotation| [annotation].into());
        Arc::new(session)
    }

    fn names(retention: Retention, sessions: &[Arc<BastionSession>], now: i64) -> Vec<String> {
        retention.expired(sessions, at(now)).iter().map(|session| session.name_any()).collect()
    }

    #[rstest]
    #[case::recorded_at_once(0, Some(1), 10 * MINUTES, false)]
    #[case::after_its_retention(0, Some(1), 10 * MINUTES + 1, true)]
    #[case::recorded_after_an_outage_longer_than_the_retention(0, Some(60 * MINUTES), 60 * MINUTES + 1, false)]
    #[case::shortly_before_its_retention_is_over(0, Some(60 * MINUTES), 70 * MINUTES - 1, false)]
    #[case::a_retention_after_the_outage(0, Some(60 * MINUTES), 70 * MINUTES, true)]
    #[case::recorded_by_an_older_version(0, None, 10 * MINUTES - 1, false)]
    #[case::long_recorded_by_an_older_version(0, None, 10 * MINUTES, true)]
    #[case::recorded_in_the_future(0, Some(60 * MINUTES), 30 * MINUTES, false)]
    fn the_retention_counts_from_the_record(
        #[case] ended: i64,
        #[case] recorded: Option<i64>,
        #[case] now: i64,
        #[case] expired: bool,
    ) {
        let session = session("a", "Closed", ended, recorded, false);
        assert_eq!(names(RETENTION, &[session], now).len(), usize::from(expired));
    }

    #[rstest]
    #[case::active(|session: &mut BastionSession| session.status = None)]
    #[case::not_on_record(|session: &mut BastionSession| session.metadata.finalizers = Some(vec![crate::api::AUDIT_FINALIZER.to_owned()]))]
    #[case::deleted_already(|session: &mut BastionSession| session.metadata.deletion_timestamp = Some(at(5).into()))]
    fn some_sessions_are_never_deleted(#[case] change: fn(&mut BastionSession)) {
        let mut kept = session("a", "Closed", 0, Some(0), false);
        change(Arc::make_mut(&mut kept));
        let none = Retention { max_finished: 0, ..RETENTION };
        assert_eq!(names(none, &[kept], 1_000 * MINUTES), [""; 0]);
    }

    #[test]
    fn a_foreign_finalizer_or_an_unreadable_annotation_keeps_no_session() {
        let mut old = session("a", "Closed", 0, Some(0), false);
        let metadata = &mut Arc::make_mut(&mut old).metadata;
        metadata.finalizers = Some(vec!["example.com/x".to_owned()]);
        metadata.annotations = Some([(RECORDED_AT_ANNOTATION.to_owned(), "yesterday".to_owned())].into());
        assert_eq!(names(RETENTION, &[old], 10 * MINUTES), ["a"]);
    }

    #[test]
    fn beyond_the_maximum_the_oldest_recorded_sessions_are_deleted() {
        let sessions = [
            session("newest", "Closed", 9, Some(9), false),
            session("oldest", "Timeout", 1, Some(1), false),
            session("held", "Closed", 2, None, true),
            session("online", "Active", 0, None, true),
            session("middle", "Terminated", 5, Some(5), false),
        ];
        let beyond = |max_finished| names(Retention { max_finished, ..RETENTION }, &sessions, 10);
        assert_eq!(beyond(4), [""; 0]);
        assert_eq!(beyond(3), ["oldest"]);
        assert_eq!(beyond(1), ["oldest", "middle"]);
        assert_eq!(beyond(0), ["oldest", "middle", "newest"]);
    }

    fn any_session() -> impl Strategy<Value = Arc<BastionSession>> {
        let phase = prop::sample::select(crate::api::Phase::ALL.to_vec());
        let recorded = prop::option::of(0..2_000_i64);
        (phase, 0..2_000_i64, recorded, any::<bool>())
            .prop_map(|(phase, ended, recorded, held)| session("a", phase.as_str(), ended, recorded, held))
    }

    proptest! {
        #[test]
        fn only_recorded_finished_sessions_are_deleted(
            sessions in prop::collection::vec(any_session(), 0..8), max_finished in 0..8_usize, now in 0..4_000_i64,
        ) {
            let retention = Retention { max_finished, ..RETENTION };
            for session in retention.expired(&sessions, at(now)) {
                prop_assert!(session.phase().is_final() && session.is_in_audit_database());
            }
        }
    }
}
