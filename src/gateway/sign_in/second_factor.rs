//! Passwords and one-time codes: the Secrets that they are checked against, and the work of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use redis::pipe;
use tokio::sync::Semaphore;
use totp_rs::{Builder, Totp};
use tracing::warn;
use zeroize::Zeroizing;

use crate::api::{BastionUser, SecretValueRef, credentials_namespace};
use crate::cluster::{REQUEST_TIMEOUT, ask};
use crate::gateway::access::AccessError;
use crate::leases::random_name;
use crate::redis::RedisLink;

/// How many passwords are looked at at once; each takes some 20 MB and a core for some hundredths of a second.
const HASHERS: usize = 2;
/// No password is longer.
const MAX_ANSWER: usize = 1024;
/// Steps of a one-time code that are good: the present one, and one before and after.
const SKEW: u16 = 1;
/// The length of a step in seconds.
const STEP: u64 = 30;

/// Checks passwords and codes.
pub struct SecondFactors {
    secrets: Api<Secret>,
    hashers: Arc<Semaphore>,
    /// What the password of somebody is looked at with who has none, so that this takes as long.
    dummy: Arc<str>,
    used: Mutex<UsedCodes>,
    redis: Option<Arc<RedisLink>>,
}

impl SecondFactors {
    /// With the Secrets beside `namespace`.
    ///
    /// # Errors
    /// When no password can be hashed.
    pub fn new(client: Client, namespace: &str, redis: Option<Arc<RedisLink>>) -> anyhow::Result<Self> {
        Ok(Self {
            secrets: Api::namespaced(client, &credentials_namespace(namespace)),
            hashers: Arc::new(Semaphore::new(HASHERS)),
            dummy: hash_password(&random_name(20).into_bytes())?.into(),
            used: Mutex::default(),
            redis,
        })
    }

    /// Whether the password is the user's. Without a user, nobody's is, and finding that out takes as long.
    ///
    /// # Errors
    /// Why not.
    pub async fn password(&self, user: Option<&BastionUser>, answer: Zeroizing<Vec<u8>>) -> Result<(), AccessError> {
        let wanted = user.and_then(|user| Some((user, user.spec.password.as_ref()?)));
        let hash = match wanted {
            Some((user, reference)) => self.value(user, reference).await,
            None => None,
        };
        let known = hash.is_some();
        let hash = hash.map_or_else(|| self.dummy.clone(), |hash| hash.trim().into());
        let Ok(hasher) = self.hashers.clone().acquire_owned().await else { return Err(AccessError::NoSecret) };
        let checked = tokio::task::spawn_blocking(move || {
            let good = answer.len() <= MAX_ANSWER && verify(&answer, &hash);
            drop(hasher);
            good
        });
        match (checked.await, known) {
            (Ok(true), true) => Ok(()),
            (_, true) => Err(AccessError::WrongPassword),
            (_, false) => Err(AccessError::NoSecret),
        }
    }

    /// Whether the code is the user's, and was not used before.
    ///
    /// # Errors
    /// Why not.
    pub async fn code(&self, user: &BastionUser, answer: &str) -> Result<(), AccessError> {
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

    /// Each code is good once, at this gateway always, and at all of them while Redis answers.
    async fn is_first_use(&self, user: &str, step: u64, now: u64) -> bool {
        let own = self.used.lock().unwrap_or_else(PoisonError::into_inner).take(user, step, now / STEP);
        let Some(redis) = self.redis.as_ref().filter(|_| own) else { return own };
        let mut request = pipe();
        let outlived = STEP * (2 * u64::from(SKEW) + 2);
        request.cmd("SET").arg(format!("sign-in:code:{user}:{step}")).arg(1).arg("NX").arg("EX").arg(outlived);
        // What failed is counted and logged.
        redis.ask("use code", &request).await.map_or(true, |(set,): (Option<String>,)| set.is_some())
    }

    /// One value of a Secret, read anew each time: it may have been changed.
    async fn value(&self, user: &BastionUser, reference: &SecretValueRef) -> Option<Zeroizing<String>> {
        let SecretValueRef { name, key } = reference;
        let error = match ask(REQUEST_TIMEOUT / 2, || self.secrets.get(name)).await {
            Ok(mut secret) => match secret.data.as_mut().and_then(|data| data.remove(key)) {
                Some(value) => match String::from_utf8(value.0) {
                    Ok(text) => return Some(Zeroizing::new(text)),
                    Err(_) => "its value is not text".to_owned(),
                },
                None => "it has no such key".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        warn!(user = user.name_any(), secret = name, key, error, "a Secret that the user refers to cannot be used");
        None
    }
}

/// The codes that were used and could be good still: by user, the steps.
#[derive(Debug, Default)]
struct UsedCodes(HashSet<(String, u64)>);

impl UsedCodes {
    /// Takes a code for used. Returns whether it was not.
    fn take(&mut self, user: &str, step: u64, now: u64) -> bool {
        self.0.retain(|(_, used)| used + u64::from(SKEW) >= now);
        self.0.insert((user.to_owned(), step))
    }
}

/// The hash of a password, as `spec.password` wants it.
///
/// # Errors
/// When it is too long.
pub fn hash_password(password: &[u8]) -> anyhow::Result<String> {
    let salt: [u8; 16] = rand::random();
    let hash: PasswordHash =
        Argon2::default().hash_password_with_salt(password, &salt).context("the password cannot be hashed")?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Six digits, thirty seconds, SHA-1, as every authenticator has it.
fn totp(secret: &str) -> Option<Totp> {
    let letters: String = secret.chars().filter(|it| !it.is_whitespace() && *it != '=').collect();
    let secret = totp_rs::Secret::try_from_base32(letters.to_ascii_uppercase()).ok()?;
    Builder::new().with_secret(secret).with_digits(6).with_skew(SKEW).with_step_duration(STEP).build().ok()
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
    fn codes_are_those_of_the_rfc(#[case] now: u64, #[case] code: &str, #[case] step: Option<u64>) {
        assert_eq!(totp(SECRET).unwrap().check(code, now), step);
    }

    #[test]
    fn secrets_may_be_written_as_people_do() {
        let code = totp(SECRET).unwrap().generate(59).to_string();
        let spaced = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n";
        assert_eq!(totp(spaced).unwrap().generate(59).to_string(), code);
        assert!(totp("GEZDGNBV").is_none(), "too short to be safe");
        assert!(totp("not base32!").is_none());
    }

    #[test]
    fn a_code_is_good_once() {
        let mut used = UsedCodes::default();
        assert!(used.take("alice", 100, 100));
        assert!(!used.take("alice", 100, 101));
        assert!(used.take("bob", 100, 101));
        assert!(used.take("alice", 101, 101));
        used.take("carol", 200, 200);
        assert_eq!(used.0.len(), 1, "what cannot be good any more is forgotten");
    }

    #[test]
    fn a_password_is_good_with_its_hash_alone() {
        let hash = hash_password(b"correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify(b"correct horse", &hash));
        assert!(!verify(b"correct horse ", &hash));
        assert!(!verify(b"", &hash));
        assert!(!verify(b"correct horse", "correct horse"), "a password is no hash");
        assert!(!verify(b"", ""));
    }
}
