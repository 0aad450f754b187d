//! What the gateway signs in to a target with.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::one_line;

/// What the gateway signs in to a target with: exactly one of these, from a Secret in the credentials namespace, which is
/// the bastion's namespace with `-credentials` behind it. The Secret is read for each connection to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.privateKey), has(self.password), has(self.certificateAuthority)].filter(it, it).size() == 1")
    .message("must have exactly one of privateKey, password and certificateAuthority, such as: privateKey: {name: web-1}"))]
pub struct Credentials {
    /// The Secret's key that holds a private key in OpenSSH's format, without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretKeyRef>,
    /// The Secret's key that holds a password, the same for all of the target's logins. A line break at its end does not
    /// belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordKeyRef>,
    /// The Secret's key that holds the private key of an authority, in OpenSSH's format and without a passphrase. For each
    /// connection the gateway makes a new key and has the authority sign a certificate for it: for the login, for five
    /// minutes, and with session, user and subject as its key id, which the target's sshd logs. The target needs the
    /// authority's public key in its `TrustedUserCAKeys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<SecretKeyRef>,
}

/// One value of a Secret in the credentials namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub name: String,
    /// The key in its `data`.
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub key: String,
}

fn default_secret_key() -> String {
    "ssh-privatekey".to_owned()
}

/// A password in a Secret in the credentials namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub name: String,
    /// The key in its `data`.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub key: String,
}

fn default_password_key() -> String {
    "password".to_owned()
}
