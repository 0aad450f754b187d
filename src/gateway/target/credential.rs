//! Reads the credential for a target from a Secret. The credential is read for each connection, and not kept.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use russh::keys::ssh_key::{self, PrivateKey};
use zeroize::Zeroizing;

use crate::api::{BastionTarget, Credentials};
use crate::cluster::{REQUEST_TIMEOUT, RequestError, with_retries};

/// A credential for a target.
pub enum Credential {
    /// A private key.
    PrivateKey(PrivateKey),
    /// A password.
    Password(Zeroizing<String>),
    /// The private key of an authority that signs user certificates.
    Authority(PrivateKey),
}

/// Why a target's credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// `spec.credentials` names no credential, or more than one.
    #[error("spec.credentials must have exactly one of privateKey, password and certificateAuthority")]
    NotOne,
    /// The Secret does not exist.
    #[error("there is no Secret {secret}")]
    NoSecret { secret: String },
    /// The Secret could not be read.
    #[error("Secret {secret}: {source}")]
    ReadFailed { secret: String, source: RequestError },
    /// The Secret has no such key.
    #[error("Secret {secret} has no key {key}")]
    NoKey { secret: String, key: String },
    /// The value is not a private key.
    #[error(
        "{key} in Secret {secret} is not an OpenSSH private key; ssh-keygen -p -f FILE converts a key of an older format"
    )]
    NotPrivateKey { secret: String, key: String, source: ssh_key::Error },
    /// The private key is encrypted.
    #[error("{key} in Secret {secret} has a passphrase; ssh-keygen -p -f FILE removes it")]
    Encrypted { secret: String, key: String },
    /// The password is empty.
    #[error("{key} in Secret {secret} is empty")]
    Empty { secret: String, key: String },
    /// The password is not text.
    #[error("{key} in Secret {secret} is not UTF-8 text")]
    NotUtf8 { secret: String, key: String, source: std::str::Utf8Error },
    /// The authority's key could not sign a certificate.
    #[error("the authority could not sign a certificate: {0}")]
    Unsigned(#[source] ssh_key::Error),
}

/// A value in a Secret.
struct SecretRef<'a> {
    secret: &'a str,
    key: &'a str,
}

/// Reads the target's credential from its Secret.
///
/// # Errors
/// When the Secret or its value cannot be used. The text names the Secret, so users must not see it.
pub async fn read(secrets: &Api<Secret>, target: &BastionTarget) -> Result<Credential, CredentialError> {
    let Credentials { private_key, password, certificate_authority } = &target.spec.credentials;
    match (private_key, password, certificate_authority) {
        (Some(it), None, None) => {
            SecretRef { secret: &it.name, key: &it.key }.private_key(secrets).await.map(Credential::PrivateKey)
        }
        (None, Some(it), None) => {
            SecretRef { secret: &it.name, key: &it.key }.password(secrets).await.map(Credential::Password)
        }
        (None, None, Some(it)) => {
            SecretRef { secret: &it.name, key: &it.key }.private_key(secrets).await.map(Credential::Authority)
        }
        _ => Err(CredentialError::NotOne),
    }
}

impl SecretRef<'_> {
    fn names(&self) -> (String, String) {
        (self.secret.to_owned(), self.key.to_owned())
    }

    async fn value(&self, secrets: &Api<Secret>) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        let (secret, key) = self.names();
        let object = match with_retries(REQUEST_TIMEOUT, || secrets.get(self.secret)).await {
            Ok(object) => object,
            Err(error) if error.code() == Some(404) => return Err(CredentialError::NoSecret { secret }),
            Err(source) => return Err(CredentialError::ReadFailed { secret, source }),
        };
        let data = object.data.and_then(|mut data| data.remove(self.key));
        data.map(|data| Zeroizing::new(data.0)).ok_or(CredentialError::NoKey { secret, key })
    }

    async fn private_key(&self, secrets: &Api<Secret>) -> Result<PrivateKey, CredentialError> {
        let pem = self.value(secrets).await?;
        let (secret, key) = self.names();
        match PrivateKey::from_openssh(pem.as_slice()) {
            Ok(private) if private.is_encrypted() => Err(CredentialError::Encrypted { secret, key }),
            Ok(private) => Ok(private),
            Err(source) => Err(CredentialError::NotPrivateKey { secret, key, source }),
        }
    }

    async fn password(&self, secrets: &Api<Secret>) -> Result<Zeroizing<String>, CredentialError> {
        let bytes = self.value(secrets).await?;
        let (secret, key) = self.names();
        match std::str::from_utf8(without_line_break(&bytes)) {
            Ok("") => Err(CredentialError::Empty { secret, key }),
            Ok(password) => Ok(Zeroizing::new(password.to_owned())),
            Err(source) => Err(CredentialError::NotUtf8 { secret, key, source }),
        }
    }
}

/// Removes one line break from the end. A Secret made from a password file contains the file's line break.
fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"secret", b"secret")]
    #[case(b"secret\n", b"secret")]
    #[case(b"secret\r\n", b"secret")]
    #[case(b" secret \n\n", b" secret \n")]
    #[case(b"\n", b"")]
    fn one_line_break_is_removed_from_a_password(#[case] bytes: &[u8], #[case] password: &[u8]) {
        assert_eq!(without_line_break(bytes), password);
    }
}
