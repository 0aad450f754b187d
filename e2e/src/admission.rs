//! An admission policy of the cluster, beside the policies of deploy/.

use bastion_operator::api::BastionSession;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::manifests::apply_one;
use crate::namespace::Namespace;
use crate::run::unique;
use crate::wait::{default_timeout, eventually};

/// The policy's message.
pub const KEPT: &str = "this session is kept for the auditors";

/// Installs a policy that rejects the termination of this session with `reason`, a Kubernetes status reason.
///
/// Returns once the policy is in force.
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
    eventually(default_timeout(), "the rule is in force", async || {
        match sessions.patch(session, &dry_run, &end).await {
            Err(error) if error.to_string().contains(KEPT) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
