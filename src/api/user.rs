//! `BastionUser`: a person or a program that may sign in to the bastion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::target::Limits;
use super::text::{Group, KeyLine};

/// Somebody who may sign in to the bastion. What they may reach is a matter of Kubernetes RBAC.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "bastion.dev",
    version = "v1alpha1",
    kind = "BastionUser",
    plural = "bastionusers",
    shortname = "busr",
    category = "bastion",
    namespaced,
    derive = "PartialEq",
    doc = "Somebody who may sign in to the bastion, with their keys and the Kubernetes user name they stand for.",
    printcolumn(name = "Subject", type_ = "string", json_path = ".spec.subject", description = "The Kubernetes user name; bastion:<name> where empty"),
    printcolumn(name = "Groups", type_ = "string", json_path = ".spec.groups", description = "Groups in which rights are asked"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled", description = "Whether signing in is refused"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expires", priority = 1, description = "When signing in stops"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name of a user is at most 63 characters long, since sessions are named after it")
)]
pub struct BastionUserSpec {
    /// The Kubernetes user name that this user stands for; `bastion:<name>` when empty. Rights are granted to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.startsWith('system:')")
        .message("must not begin with 'system:', which Kubernetes keeps for itself"))]
    pub subject: Option<String>,
    /// Groups in which rights are asked, beside the subject's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub groups: Vec<Group>,
    /// The public keys that the user signs in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub public_keys: Vec<KeyLine>,
    /// Limits of this user's sessions. Where the target has limits too, the stricter ones hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Refuses every new sign-in of the user.
    #[serde(default)]
    pub disabled: bool,
    /// Refuses every sign-in of the user from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

impl BastionUser {
    /// The Kubernetes user name in which this user's rights are asked.
    pub fn subject(&self) -> String {
        match (&self.spec.subject, &self.metadata.name) {
            (Some(subject), _) => subject.clone(),
            (None, name) => format!("bastion:{}", name.as_deref().unwrap_or_default()),
        }
    }
}
