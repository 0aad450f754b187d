//! Sessions as a watch returns them, for unit tests.
#![allow(clippy::missing_panics_doc, reason = "only tests use it")]

use std::sync::Arc;

use super::Guarded;
use crate::api::BastionSession;

/// Returns a session that decodes.
pub fn readable(session: BastionSession) -> Guarded<BastionSession> {
    Guarded(Ok(Arc::new(session)))
}

/// Returns the session with a field that this version cannot decode, as a newer version may write it.
pub fn unreadable(session: &BastionSession) -> Guarded<BastionSession> {
    let mut object = serde_json::to_value(session).unwrap();
    object["spec"]["protocol"] = "Telepathy".into();
    let guarded: Guarded<BastionSession> = serde_json::from_value(object).unwrap();
    assert!(guarded.0.is_err());
    guarded
}
