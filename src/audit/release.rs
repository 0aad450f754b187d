//! Decides when the audit finalizer of a session may be removed, and builds the patch that removes it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{AUDIT_FINALIZER, BastionSession, RECORDED_AT_ANNOTATION};

/// The removal of the audit finalizer from one version of an ended session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name of the `BastionSession`.
    pub name: String,
    resource_version: String,
    /// The other finalizers, which stay.
    remaining: Vec<String>,
}

impl Release {
    /// Returns the release to apply once this version of the session is on record. `None` while the session is active,
    /// or if it does not have the audit finalizer.
    pub fn of(session: &BastionSession) -> Option<Self> {
        let meta = &session.metadata;
        let (held, remaining): (Vec<_>, Vec<_>) =
            meta.finalizers.iter().flatten().cloned().partition(|finalizer| finalizer == AUDIT_FINALIZER);
        if held.is_empty() || !session.phase().is_final() {
            return None;
        }
        // Every object has both. Without a resource version, the patch would apply to any version.
        let (name, resource_version) = (meta.name.clone()?, meta.resource_version.clone()?);
        Some(Self { name, resource_version, remaining })
    }

    /// Returns the merge patch that removes the finalizer. It also writes the annotation with the time of the record, because
    /// the removal of a finalizer leaves no time on the object. The API server refuses the patch with 409 if the session has
    /// changed.
    pub fn patch(&self, recorded: Timestamp) -> Value {
        json!({ "metadata": {
            "resourceVersion": self.resource_version,
            "finalizers": self.remaining,
            "annotations": { RECORDED_AT_ANNOTATION: recorded.to_string() },
        } })
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
    #[case::audit_finalizer(&[AUDIT_FINALIZER], Some(json!([])))]
    #[case::audit_and_other_finalizers(&["a/b", AUDIT_FINALIZER, "c/d"], Some(json!(["a/b", "c/d"])))]
    #[case::other_finalizers(&["a/b"], None)]
    #[case::no_finalizers(&[], None)]
    fn only_the_audit_finalizer_is_removed(#[case] finalizers: &[&str], #[case] remaining: Option<Value>) {
        let release = Release::of(&with_finalizers(ended("a"), finalizers));
        let annotations = json!({ "bastion.dev/recorded-at": "2026-01-02T03:04:05Z" });
        let patch = remaining.map(
            |left| json!({ "metadata": { "resourceVersion": "7", "finalizers": left, "annotations": annotations } }),
        );
        let recorded = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(release.map(|release| release.patch(recorded)), patch);
    }

    #[test]
    fn an_active_session_keeps_its_finalizer() {
        let mut session = with_finalizers(active("a"), &[AUDIT_FINALIZER]);
        assert_eq!(Release::of(&session), None);
        // After `kubectl delete`, an active session stays until it has ended and is on record.
        session.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
        assert_eq!(Release::of(&session), None);
        session.status = None;
        assert_eq!(Release::of(&session), None);
    }

    #[test]
    fn a_session_without_a_resource_version_keeps_its_finalizer() {
        let mut session = with_finalizers(ended("a"), &[AUDIT_FINALIZER]);
        session.metadata.resource_version = None;
        assert_eq!(Release::of(&session), None);
    }
}
