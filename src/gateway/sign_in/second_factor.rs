//! Verifies passwords and one-time codes against the Secrets that users refer to.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use redis::pipe;
use tokio::sync::Semaphore;
use totp_rs::{Builder, Totp};
use tracing::warn;
use zeroize::Zeroizing;

use crate::api::{BastionUser, SecretValueRef, credentials_namespace};
use crate::cluster::{REQUEST_TIMEOUT, RequestError, with_retries};
use crate::gateway::access::AccessError;
use crate::leases::random_name;
use crate::redis::RedisClient;

/// The number of passwords that are hashed at once. Each hash takes about 20 MB, and a core for some 10 ms.
const MAX_CONCURRENT_HASHES: usize = 2;
/// The longest password, in bytes.
const MAX_PASSWORD_LENGTH: usize = 1024;
/// The number of time steps before and after the current one whose codes are accepted (RFC 6238, section 5.2).
const SKEW: u16 = 1;
/// The length of a time step, in seconds.
const STEP_SECONDS: u64 = 30;

/// Why a value of a Secret cannot be read.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the Secret does not contain this key")]
    NoKey,
    /// The conversion error is dropped, because it would carry the secret value.
    #[error("the value is not UTF-8")]
    NotText,
}

/// Verifies passwords and one-time codes.
pub struct SecondFactors {
    secrets: Api<Secret>,
    hash_permits: Arc<Semaphore>,
    /// The hash that is checked for a user without a password, so that such a sign-in takes as long as one with a wrong
    /// password.
    dummy_hash: Arc<str>,
    used_codes: Mutex<UsedCodes>,
    redis: Option<Arc<RedisClient>>,
}

impl SecondFactors {
    /// Returns a verifier that reads the Secrets of the bastion in `namespace`.
    ///
    /// # Errors
    /// Fails when no password can be hashed.
    pub fn new(client: Client, namespace: &str, redis: Option<Arc<RedisClient>>) -> anyhow::Result<Self> {
        Ok(Self {
            secrets: Api::namespaced(client, &credentials_namespace(namespace)),
            hash_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_HASHES)),
            dummy_hash: hash_password(&random_name(20).into_bytes())?.into(),
            used_codes: Mutex::default(),
            redis,
        })
    }

    /// Verifies a user's password. Without a user, fails after the same time as for a wrong password.
    ///
    /// # Errors
    /// The reason why the password is refused.
    pub async fn verify_password(
        &self,
        user: Option<&BastionUser>,
        answer: Zeroizing<Vec<u8>>,
    ) -> Result<(), AccessError> {
        let reference = user.and_then(|user| Some((user, user.spec.password.as_ref()?)));
        let hash = match reference {
            Some((user, reference)) => self.value(user, reference).await,
            None => None,
        };
        let has_hash = hash.is_some();
        let hash = hash.map_or_else(|| self.dummy_hash.clone(), |hash| hash.trim().into());
        let Ok(permit) = self.hash_permits.clone().acquire_owned().await else { return Err(AccessError::NoSecret) };
        let checked = tokio::task::spawn_blocking(move || {
            let is_correct = answer.len() <= MAX_PASSWORD_LENGTH && verify(&answer, &hash);
            drop(permit);
            is_correct
        });
        match (checked.await, has_hash) {
            (Ok(true), true) => Ok(()),
            (_, true) => Err(AccessError::WrongPassword),
            (_, false) => Err(AccessError::NoSecret),
        }
    }

    /// Verifies a user's one-time code, and marks it as used.
    ///
    /// # Errors
    /// The reason why the code is refused.
    pub async fn verify_code(&self, user: &BastionUser, answer: &str) -> Result<(), AccessError> {
        let reference = user.spec.totp.as_ref().ok_or(AccessError::NoSecret)?;
        let secret = self.value(user, reference).await.ok_or(AccessError::NoSecret)?;
        let Some(totp) = totp(&secret) else {
            warn!(
                user = user.name_any(),
                "the Secret that spec.totp names holds no secret in base32 of at least 16 bytes"
            );
            return Err(AccessError::NoSecret);
        };
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let digits: String = answer.chars().filter(|it| !it.is_whitespace()).collect();
        let step = totp.check(&digits, now).ok_or(AccessError::WrongCode)?;
        if self.is_first_use(&user.name_any(), step, now).await { Ok(()) } else { Err(AccessError::UsedCode) }
    }

    /// Marks a code as used. Returns whether this is its first use at this gateway, and, while Redis answers, at any gateway.
    async fn is_first_use(&self, user: &str, step: u64, now: u64) -> bool {
        let first_here = self.used_codes.lock().add(user, step, now / STEP_SECONDS);
        let Some(redis) = self.redis.as_ref().filter(|_| first_here) else { return first_here };
        let mut request = pipe();
        let lifetime = STEP_SECONDS * (2 * u64::from(SKEW) + 2);
        request.cmd("SET").arg(format!("sign-in:code:{user}:{step}")).arg(1).arg("NX").arg("EX").arg(lifetime);
        // The Redis link counts and logs failures. Without Redis, the local check stands.
        redis.query("use code", &request).await.map_or(true, |(set,): (Option<String>,)| set.is_some())
    }

    /// Reads one value of a Secret. Nothing is cached, so a changed Secret takes effect at once. Failures are logged.
    async fn value(&self, user: &BastionUser, reference: &SecretValueRef) -> Option<Zeroizing<String>> {
        let SecretValueRef { name, key } = reference;
        match self.try_value(reference).await {
            Ok(value) => Some(value),
            Err(error) => {
                warn!(
                    user = user.name_any(),
                    secret = name,
                    key,
                    %error,
                    "a Secret that the user refers to cannot be used; the sign-in is refused"
                );
                None
            }
        }
    }

    async fn try_value(&self, SecretValueRef { name, key }: &SecretValueRef) -> Result<Zeroizing<String>, SecretError> {
        let mut secret = with_retries(REQUEST_TIMEOUT / 2, || self.secrets.get(name)).await?;
        let value = secret.data.as_mut().and_then(|data| data.remove(key)).ok_or(SecretError::NoKey)?;
        String::from_utf8(value.0).map(Zeroizing::new).map_err(|_| SecretError::NotText)
    }
}

/// Used codes that are still in their time window, as pairs of user and time step.
#[derive(Debug, Default)]
struct UsedCodes(HashSet<(String, u64)>);

impl UsedCodes {
    /// Adds a code, and forgets codes outside their window. Returns whether the code is new.
    fn add(&mut self, user: &str, step: u64, now: u64) -> bool {
        self.0.retain(|(_, used)| used + u64::from(SKEW) >= now);
        self.0.insert((user.to_owned(), step))
    }
}

/// Hashes a password with Argon2id, for the Secret that `spec.password` refers to.
///
/// # Errors
/// Fails when the password is too long for Argon2.
pub fn hash_password(password: &[u8]) -> anyhow::Result<String> {
    let salt: [u8; 16] = rand::random();
    let hash: PasswordHash =
        Argon2::default().hash_password_with_salt(password, &salt).context("the password cannot be hashed")?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Returns the code generator for a base32 secret: six digits, 30 s, SHA-1, which every authenticator app supports.
fn totp(secret: &str) -> Option<Totp> {
    let letters: String = secret.chars().filter(|it| !it.is_whitespace() && *it != '=').collect();
    let secret = totp_rs::Secret::try_from_base32(letters.to_ascii_uppercase()).ok()?;
    Builder::new().with_secret(secret).with_digits(6).with_skew(SKEW).with_step_duration(STEP_SECONDS).build().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The secret of RFC 6238, appendix B.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[rstest]
    #[case(59, "287082", Some(1))]
    #[case(59 + 30, "287082", Some(1))]
    #[case(59 + 60, "287082", None)]
    #[case(59 - 30, "287082", Some(1))]
    #[case(1_111_111_109, "081804", Some(37_037_036))]
    #[case(20_000_000_000, "353130", Some(666_666_666))]
    #[case(59, "287083", None)]
    #[case(59, "", None)]
    fn codes_match_the_test_vectors_of_the_rfc(#[case] now: u64, #[case] code: &str, #[case] step: Option<u64>) {
        assert_eq!(totp(SECRET).unwrap().check(code, now), step);
    }

    #[test]
    fn a_secret_may_contain_spaces_and_lower_case() {
        let code = totp(SECRET).unwrap().generate(59).to_string();
        let spaced = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n";
        assert_eq!(totp(spaced).unwrap().generate(59).to_string(), code);
        assert!(totp("GEZDGNBV").is_none(), "too short to be safe");
        assert!(totp("not base32!").is_none());
    }

    #[test]
    fn a_code_is_accepted_once() {
        let mut used = UsedCodes::default();
        assert!(used.add("alice", 100, 100));
        assert!(!used.add("alice", 100, 101));
        assert!(used.add("bob", 100, 101));
        assert!(used.add("alice", 101, 101));
        used.add("carol", 200, 200);
        assert_eq!(used.0.len(), 1, "codes outside their window are forgotten");
    }

    #[test]
    fn a_password_matches_only_its_hash() {
        let hash = hash_password(b"correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify(b"correct horse", &hash));
        assert!(!verify(b"correct horse ", &hash));
        assert!(!verify(b"", &hash));
        assert!(!verify(b"correct horse", "correct horse"), "a password is not a hash");
        assert!(!verify(b"", ""));
    }
}
