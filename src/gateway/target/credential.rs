//! What the gateway signs in to a target with: read from its Secret for each connection, and kept no longer.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;
use russh::keys::ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::unreachable::Unreachable;
use crate::api::{BastionTarget, Credentials};
use crate::cluster::{REQUEST_TIMEOUT, ask};

/// A target's credential.
pub enum Credential {
    /// A private key.
    PrivateKey(PrivateKey),
    /// A password.
    Password(Zeroizing<String>),
    /// The private key of an authority that signs certificates.
    Authority(PrivateKey),
}

/// Where a credential is, for those who read why it cannot be used.
struct SecretRef<'a> {
    secret: &'a str,
    key: &'a str,
}

/// Reads the target's credential.
///
/// # Errors
/// What is wrong with it.
pub async fn read(secrets: &Api<Secret>, target: &BastionTarget) -> Result<Credential, Unreachable> {
    let Credentials { private_key, password, certificate_authority } = &target.spec.credentials;
    let credential =
        async {
            match (private_key, password, certificate_authority) {
                (Some(it), None, None) => {
                    SecretRef { secret: &it.name, key: &it.key }.private_key(secrets).await.map(Credential::PrivateKey)
                }
                (None, Some(it), None) => SecretRef { secret: &it.name, key: &it.key }.password(secrets).await,
                (None, None, Some(it)) => {
                    SecretRef { secret: &it.name, key: &it.key }.private_key(secrets).await.map(Credential::Authority)
                }
                _ => Err("spec.credentials must have exactly one of privateKey, password and certificateAuthority"
                    .to_owned()),
            }
        };
    credential.await.map_err(|why| Unreachable::Credentials { target: target.name_any(), why })
}

impl SecretRef<'_> {
    async fn value(&self, secrets: &Api<Secret>) -> Result<Zeroizing<Vec<u8>>, String> {
        let Self { secret: name, key } = self;
        let secret = match ask(REQUEST_TIMEOUT, || secrets.get(name)).await {
            Ok(secret) => secret,
            Err(error) if error.code() == Some(404) => return Err(format!("there is no Secret {name}")),
            Err(error) => return Err(format!("Secret {name}: {error}")),
        };
        let data = secret.data.and_then(|mut data| data.remove(*key));
        data.map(|data| Zeroizing::new(data.0)).ok_or_else(|| format!("Secret {name} has no key {key}"))
    }

    async fn private_key(&self, secrets: &Api<Secret>) -> Result<PrivateKey, String> {
        let Self { secret, key } = self;
        let pem = self.value(secrets).await?;
        let private = PrivateKey::from_openssh(pem.as_slice()).map_err(|_| {
            format!("{key} in Secret {secret} is no OpenSSH private key; ssh-keygen -p -f FILE turns an older format into it")
        })?;
        if private.is_encrypted() {
            return Err(format!("{key} in Secret {secret} has a passphrase; ssh-keygen -p -f FILE takes it off"));
        }
        Ok(private)
    }

    async fn password(&self, secrets: &Api<Secret>) -> Result<Credential, String> {
        let Self { secret, key } = self;
        let bytes = self.value(secrets).await?;
        let password = without_line_break(&bytes);
        if password.is_empty() {
            return Err(format!("{key} in Secret {secret} is empty"));
        }
        let password =
            std::str::from_utf8(password).map_err(|_| format!("{key} in Secret {secret} is no text in UTF-8"))?;
        Ok(Credential::Password(Zeroizing::new(password.to_owned())))
    }
}

/// Who puts a file with a password into a Secret has its line break in it too.
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
    fn one_line_break_is_taken_off_a_password(#[case] bytes: &[u8], #[case] password: &[u8]) {
        assert_eq!(without_line_break(bytes), password);
    }
}
