//! `BastionUser`: a user who may sign in to the bastion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Limits;
use super::text::{Group, ONE_LINE, ONE_LINE_MESSAGE, UserKeyLine, one_line};
use super::validated::Validated;

/// A user who may sign in to the bastion. Kubernetes RBAC decides which targets the user may reach.
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
    status = "BastionUserStatus",
    derive = "PartialEq",
    doc = "A user who may sign in to the bastion, with their keys and their Kubernetes user name.",
    printcolumn(name = "Subject", type_ = "string", json_path = ".spec.subject", description = "The Kubernetes user name; bastion:<name> if empty"),
    printcolumn(name = "Groups", type_ = "string", json_path = ".spec.groups", description = "The user's Kubernetes groups"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled", description = "Whether sign-ins are refused"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expires", priority = 1, description = "Time from which sign-ins are refused"),
    printcolumn(name = "Valid", type_ = "string", json_path = ".status.conditions[?(@.type=='Valid')].status", priority = 1, description = "False if a gateway cannot read it"),
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
    /// The user's Kubernetes user name. RBAC grants rights to it. If empty, it is `bastion:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.startsWith('system:')")
        .message("must not begin with 'system:', which Kubernetes keeps for itself"),
        validation = Rule::new(ONE_LINE).message(ONE_LINE_MESSAGE))]
    pub subject: Option<String>,
    /// The user's Kubernetes groups. RBAC grants rights to them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub groups: Vec<Group>,
    /// The public keys with which the user signs in. `cert-authority,principals="a,b" ssh-ed25519 ...` is the key of an
    /// authority that signs the user's certificates. A certificate must name one of the principals. Without the option
    /// `principals`, it must name the user. Before a security key (sk-...), `verify-required` requires its PIN or fingerprint, and
    /// `no-touch-required` waives the touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub public_keys: Vec<UserKeyLine>,
    /// All factors that the user needs to sign in, in this order. `publickey` is a key or a certificate.
    /// `password` and `totp` are asked for on the terminal (keyboard-interactive).
    #[serde(default = "default_authentication")]
    #[schemars(length(min = 1, max = 3))]
    pub authentication: Vec<Factor>,
    /// The Secret's key that holds the argon2 hash of the user's password, as `bastion hash-password` prints it. The Secret
    /// is in the credentials namespace: the bastion's namespace with `-credentials` appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretValueRef>,
    /// The Secret's key that holds the base32 secret of the user's one-time codes (TOTP: SHA-1, six digits, 30 seconds). The
    /// Secret is in the credentials namespace. Each code can be used once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<SecretValueRef>,
    /// The most sessions that the user may have at once, on all gateways together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<i32>,
    /// Time limits of this user's sessions. If the target has limits too, the stricter ones hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Refuses sign-ins of the user, and ends the user's sessions.
    #[serde(default)]
    pub disabled: bool,
    /// Refuses sign-ins of the user from this time on, and ends the user's sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

/// The status of a BastionUser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BastionUserStatus {
    /// The condition `Valid` is False while a gateway cannot read the user, and True once it can again. While it is False, the
    /// user cannot sign in. The message names the field. A user that could always be read has no condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

impl Validated for BastionUser {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

fn default_authentication() -> Vec<Factor> {
    vec![Factor::Publickey]
}

/// A factor of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// A key of `publicKeys`, or a certificate signed by one of its authorities.
    Publickey,
    /// The password of `password`.
    Password,
    /// A one-time code of `totp`.
    Totp,
}

/// A key of a Secret in the credentials namespace.
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
    /// Returns the user's Kubernetes user name.
    pub fn subject(&self) -> String {
        match (&self.spec.subject, &self.metadata.name) {
            (Some(subject), _) => subject.clone(),
            (None, name) => format!("bastion:{}", name.as_deref().unwrap_or_default()),
        }
    }
}
