//! A rule of the cluster's own, beside the policies of deploy/.

use bastion_operator::api::BastionSession;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::manifests::apply_one;
use crate::namespace::Namespace;
use crate::run::unique;
use crate::wait::{eventually, patience};

/// What such a rule says.
pub const KEPT: &str = "this session is kept for the auditors";

/// Has the API server refuse whoever asks for the end of this session, for `reason` as Kubernetes has it, and waits until it
/// does.
pub async fn keep(namespace: &Namespace, session: &str, reason: &str) {
    let (version, metadata) = ("admissionregistration.k8s.io/v1", json!({"name": format!("keep-{}", unique())}));
    let sessions = json!({"apiGroups": ["bastion.dev"], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["bastionsessions"], "resourceNames": [session]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
    let refusal = json!({"expression": "!has(object.spec.termination)", "message": KEPT, "reason": reason});
    let policy =
        json!({"matchConstraints": {"namespaceSelector": here, "resourceRules": [sessions]}, "validations": [refusal]});
    let binding = json!({"policyName": metadata["name"], "validationActions": ["Deny"]});
    for (kind, spec) in [("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        apply_one(&namespace.admin(), object).await;
    }
    let (sessions, dry_run) =
        (namespace.api::<BastionSession>(), PatchParams { dry_run: true, ..PatchParams::default() });
    let end = Patch::Merge(json!({"spec": {"termination": {"requestedBy": "admin"}}}));
    eventually(patience(), "the rule is in force", async || match sessions.patch(session, &dry_run, &end).await {
        Err(error) if error.to_string().contains(KEPT) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
