//! The cause of an end that somebody requested, by `spec.termination` or by deleting the object.

use super::end::Cause;
use crate::api::{BastionSession, Termination};

/// Returns the cause of the end that was requested for `session`, by its `spec.termination` or its deletion.
pub fn requested_end(session: &BastionSession) -> Option<Cause> {
    let deleted = session.metadata.deletion_timestamp.is_some();
    termination_cause(session.spec.termination.as_ref(), &session.spec.user.subject, deleted)
}

/// Returns the cause that a termination or a deletion means for a session of the user `subject`.
pub fn termination_cause(termination: Option<&Termination>, subject: &str, deleted: bool) -> Option<Cause> {
    match termination {
        Some(Termination { requested_by, reason, .. }) if requested_by == subject => {
            Some(Cause::ApiClosed { reason: reason.clone() })
        }
        Some(Termination { requested_by, reason, .. }) => {
            Some(Cause::Terminated { by: requested_by.clone(), reason: reason.clone() })
        }
        None => deleted.then_some(Cause::Deleted),
    }
}
