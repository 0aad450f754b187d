//! `BastionUser`: a person or a program that may sign in to the bastion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Limits;
use super::text::{Group, ONE_LINE, ONE_LINE_MESSAGE, UserKeyLine, one_line};

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
#[x_kube(
    validation = Rule::new("self.authentication.all(f, self.authentication.exists_one(g, g == f))")
        .message("each factor is named once")
        .field_path(".authentication"),
    validation = Rule::new("self.authentication[0] != 'totp'")
        .message("a one-time code comes after a key or a password; write [publickey, totp] or [password, totp]")
        .field_path(".authentication"),
    validation = Rule::new("!('password' in self.authentication) || has(self.password)")
        .message("authentication asks for a password, so spec.password must name the Secret that holds its hash")
        .field_path(".password"),
    validation = Rule::new("!('totp' in self.authentication) || has(self.totp)")
        .message("authentication asks for a one-time code, so spec.totp must name the Secret that holds its secret")
        .field_path(".totp")
)]
pub struct BastionUserSpec {
    /// The Kubernetes user name that this user stands for; `bastion:<name>` when empty. Rights are granted to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.startsWith('system:')")
        .message("must not begin with 'system:', which Kubernetes keeps for itself"),
        validation = Rule::new(ONE_LINE).message(ONE_LINE_MESSAGE))]
    pub subject: Option<String>,
    /// Groups in which rights are asked, beside the subject's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub groups: Vec<Group>,
    /// The public keys that the user signs in with. `cert-authority,principals="a,b" ssh-ed25519 ...` is the key that
    /// signs certificates for the user: one of the principals, or without that option the user's own name, must be in the
    /// certificate. `verify-required` before a security key's line (sk-...) asks for its PIN or fingerprint, and
    /// `no-touch-required` does without a touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub public_keys: Vec<UserKeyLine>,
    /// What the user must show to sign in: all of these, in this order. `publickey` is a key or a certificate, `password` and
    /// `totp` are asked for on the terminal (keyboard-interactive).
    #[serde(default = "default_authentication")]
    #[schemars(length(min = 1, max = 3))]
    pub authentication: Vec<Factor>,
    /// The Secret's key that holds the argon2 hash of the user's password, as `bastion hash-password` prints it. The Secret
    /// lives in the credentials namespace, which is the bastion's namespace with `-credentials` behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretValueRef>,
    /// The Secret's key that holds the base32 secret of the user's one-time codes (TOTP: SHA-1, six digits, 30 seconds), in
    /// the same namespace. Each code is good once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<SecretValueRef>,
    /// How many sessions the user may have at once, over all gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<i32>,
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

fn default_authentication() -> Vec<Factor> {
    vec![Factor::Publickey]
}

/// Something that a user shows to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// A key of `publicKeys`, or a certificate of one of its authorities.
    Publickey,
    /// A password.
    Password,
    /// A one-time code.
    Totp,
}

/// One value of a Secret in the credentials namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretValueRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub name: String,
    /// The key in its `data`.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub key: String,
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
