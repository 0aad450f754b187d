//! When and how a session that is on record is let go.

use serde_json::{Value, json};

use crate::api::{AUDIT_FINALIZER, BastionSession};

/// A session that has ended and that nothing but its audit holds: what it takes to let it go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name of the `BastionSession`.
    pub name: String,
    resource_version: String,
    /// The finalizers of others.
    remaining: Vec<String>,
}

impl Release {
    /// How to let this session go once this very state of it is on record. `None` while it is Active, and when the
    /// audit does not hold it.
    pub fn of(session: &BastionSession) -> Option<Self> {
        let meta = &session.metadata;
        let (held, remaining): (Vec<_>, Vec<_>) =
            meta.finalizers.iter().flatten().cloned().partition(|finalizer| finalizer == AUDIT_FINALIZER);
        if held.is_empty() || !session.phase().is_final() {
            return None;
        }
        // The API server gives both to every object. Without a version the patch would apply to any state.
        let (name, resource_version) = (meta.name.clone()?, meta.resource_version.clone()?);
        Some(Self { name, resource_version, remaining })
    }

    /// The merge patch. The API server refuses it with 409 when the session has changed since.
    pub fn patch(&self) -> Value {
        json!({ "metadata": { "resourceVersion": self.resource_version, "finalizers": self.remaining } })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::audit::samples::{active, ended};

    fn with_finalizers(mut session: BastionSession, finalizers: &[&str]) -> BastionSession {
        session.metadata.finalizers = Some(finalizers.iter().map(|&finalizer| finalizer.to_owned()).collect());
        session
    }

    #[rstest]
    #[case::held_by_the_audit(&[AUDIT_FINALIZER], Some(json!([])))]
    #[case::held_by_others_too(&["a/b", AUDIT_FINALIZER, "c/d"], Some(json!(["a/b", "c/d"])))]
    #[case::held_by_others(&["a/b"], None)]
    #[case::held_by_nobody(&[], None)]
    fn only_the_own_finalizer_goes(#[case] finalizers: &[&str], #[case] remaining: Option<Value>) {
        let release = Release::of(&with_finalizers(ended("a"), finalizers));
        let patch = remaining.map(|left| json!({ "metadata": { "resourceVersion": "7", "finalizers": left } }));
        assert_eq!(release.map(|release| release.patch()), patch);
    }

    #[test]
    fn an_active_session_is_never_let_go() {
        let mut session = with_finalizers(active("a"), &[AUDIT_FINALIZER]);
        assert_eq!(Release::of(&session), None);
        // `kubectl delete` of a live session: it is deleted only once it has ended and is on record.
        session.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
        assert_eq!(Release::of(&session), None);
        session.status = None;
        assert_eq!(Release::of(&session), None);
    }

    #[test]
    fn a_state_without_a_version_is_never_let_go() {
        let mut session = with_finalizers(ended("a"), &[AUDIT_FINALIZER]);
        session.metadata.resource_version = None;
        assert_eq!(Release::of(&session), None);
    }
}
