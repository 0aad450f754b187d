//! Selects the finished sessions beyond the maximum number, whatever their age.

use jiff::Timestamp;

use crate::api::BastionSession;
use crate::lifecycle::is_in_audit_database;

/// Returns the finished sessions beyond the `max` newest, oldest first. Leaves out sessions that are not on record.
pub fn excess<S: AsRef<BastionSession>>(sessions: Vec<S>, max: usize) -> Vec<S> {
    let mut finished: Vec<_> = sessions.into_iter().filter(|session| session.as_ref().phase().is_final()).collect();
    let excess = finished.len().saturating_sub(max);
    finished.sort_by_key(|session| end_time(session.as_ref()));
    finished.truncate(excess);
    finished.retain(|session| is_in_audit_database(session.as_ref()));
    finished
}

fn end_time(session: &BastionSession) -> Option<Timestamp> {
    session.status.as_ref().and_then(|status| status.end_time.as_ref()).map(|end| end.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::audit::samples;

    fn session(name: &str, phase: &str, ended: i64, held: bool) -> Arc<BastionSession> {
        let end = Timestamp::from_second(1_800_000_000 + ended).unwrap();
        let mut session = samples::session(name, json!({ "phase": phase, "endTime": end }));
        session.metadata.name = Some(name.to_owned());
        session.metadata.finalizers.take_if(|_| !held);
        Arc::new(session)
    }

    fn names(sessions: &[Arc<BastionSession>], max: usize) -> Vec<String> {
        excess(sessions.to_vec(), max).iter().map(|session| session.name_any()).collect()
    }

    #[test]
    fn the_oldest_recorded_sessions_are_deleted_first() {
        let sessions = [
            session("newest", "Closed", 9, false),
            session("oldest", "Timeout", 1, false),
            session("held", "Closed", 2, true),
            session("online", "Active", 0, true),
            session("middle", "Terminated", 5, false),
        ];
        assert_eq!(names(&sessions, 4), [""; 0]);
        assert_eq!(names(&sessions, 3), ["oldest"]);
        assert_eq!(names(&sessions, 1), ["oldest", "middle"]);
        assert_eq!(names(&sessions, 0), ["oldest", "middle", "newest"]);
    }
}
