//! The credentials with which the gateway signs in to a target.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::one_line;

/// The credentials with which the gateway signs in to a target. Exactly one field must be set. It names a Secret in the
/// credentials namespace: the bastion's namespace with `-credentials` appended. The gateway reads the Secret for each
/// connection to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.privateKey), has(self.password), has(self.certificateAuthority)].filter(it, it).size() == 1")
    .message("must have exactly one of privateKey, password and certificateAuthority, such as: privateKey: {name: web-1}"))]
pub struct Credentials {
    /// The Secret's key that holds a private key in OpenSSH format, without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretKeyRef>,
    /// The Secret's key that holds a password. It is used for all logins of the target. A line break at its end is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordKeyRef>,
    /// The Secret's key that holds the private key of a certificate authority, in OpenSSH format, without a passphrase. For
    /// each connection the gateway makes a new key and signs a certificate for it. The certificate names the login and is
    /// valid for five minutes. Its key id names the session, user and subject; the target's sshd logs it. The target needs
    /// the authority's public key in its `TrustedUserCAKeys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<SecretKeyRef>,
}

/// A key of a Secret in the credentials namespace that holds a private key.
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

/// A key of a Secret in the credentials namespace that holds a password.
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
