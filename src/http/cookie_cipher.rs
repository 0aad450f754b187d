//! Encrypts and authenticates cookies with keys that all consoles share. A sign-in cookie holds the user and an expiry,
//! and no token.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// The maximum lifetime of a sign-in.
pub const MAX_SIGN_IN: Duration = Duration::from_hours(8);
/// The longest value of a cookie, in bytes. Browsers drop cookies above 4096 bytes with name and attributes.
const MAX_COOKIE: usize = 4000;

/// The use of a cookie, authenticated as associated data. A cookie opens only with the purpose it was sealed for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Identifies a user who has signed in.
    SignedIn,
    /// Holds the state of a sign-in at an OpenID Connect provider.
    SigningIn,
}

impl Purpose {
    const fn associated_data(self) -> &'static [u8] {
        match self {
            Self::SignedIn => b"bastion.dev/console/sign-in/1",
            Self::SigningIn => b"bastion.dev/console/signing-in/1",
        }
    }
}

/// The content of a sign-in cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInUser {
    /// The Kubernetes user name.
    pub name: String,
    /// The uid, if the cluster has one for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
    /// The generation of the sign-in: its time, in microseconds since the Unix epoch. A sign-out ends the older ones.
    #[serde(default)]
    pub generation: i64,
    /// The expiry, in seconds since the Unix epoch.
    expires: i64,
}

impl SignedInUser {
    /// Returns the user whom a TokenReview named, signed in with this generation until `expires`.
    pub fn new(name: String, user: UserInfo, generation: i64, expires: Timestamp) -> Self {
        let UserInfo { uid, groups, extra, .. } = user;
        let (groups, extra) = (groups.unwrap_or_default(), extra.unwrap_or_default());
        Self { name, uid, groups, extra, generation, expires: expires.as_second() }
    }

    /// Returns the user, in the form that a SubjectAccessReview takes.
    pub fn user(self) -> UserInfo {
        let Self { name, uid, groups, extra, .. } = self;
        UserInfo { username: Some(name), uid, groups: Some(groups), extra: Some(extra) }
    }

    /// Returns when the sign-in expires.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_second(self.expires).unwrap_or(Timestamp::MIN)
    }
}

/// Why a cookie cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// The key file cannot be read.
    #[error("--cookie-key-file {0} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The key file is empty, or a line of it is not a key.
    #[error("--cookie-key-file {0} must have one key a line, 32 bytes in base64: openssl rand -base64 32")]
    InvalidKey(PathBuf),
    /// The cookie would exceed [`MAX_COOKIE`].
    #[error("the user is in too many groups for a cookie; send the token as Authorization: Bearer TOKEN")]
    TooLong,
    /// The value could not be encoded or encrypted.
    #[error("the cookie could not be encrypted")]
    Encryption,
}

/// Seals and opens cookies with the keys of a file, by AES-256-GCM-SIV (RFC 8452). The file is read at each use, so
/// that keys rotate without a restart: the first key seals, and every key opens.
#[derive(Clone, Debug)]
pub struct CookieCipher {
    file: PathBuf,
}

impl CookieCipher {
    /// Returns a cipher with the keys of this file.
    pub const fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// Returns a value in the encrypted form of a cookie.
    ///
    /// # Errors
    /// No usable key, or a cookie that would be too long.
    pub fn seal(&self, purpose: Purpose, value: &impl Serialize) -> Result<String, CookieError> {
        let key = self.keys()?.into_iter().next().ok_or_else(|| CookieError::InvalidKey(self.file.clone()))?;
        let mut text = serde_json::to_vec(value).map_err(|_| CookieError::Encryption)?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(purpose.associated_data()), &mut text)
            .map_err(|_| CookieError::Encryption)?;
        let sealed = URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &text].concat());
        if sealed.len() > MAX_COOKIE { Err(CookieError::TooLong) } else { Ok(sealed) }
    }

    /// Decrypts a cookie. Returns `None` if it was sealed with another key or for another purpose, or was changed.
    ///
    /// # Errors
    /// No usable key.
    pub fn open<T: DeserializeOwned>(&self, purpose: Purpose, sealed: &str) -> Result<Option<T>, CookieError> {
        let keys = self.keys()?;
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(sealed) else { return Ok(None) };
        Ok(keys.iter().find_map(|key| open_with(key, purpose, &sealed)))
    }

    /// Decrypts a sign-in cookie. Returns `None` if it does not open or has expired.
    ///
    /// # Errors
    /// No usable key.
    pub fn open_sign_in(&self, sealed: &str, now: Timestamp) -> Result<Option<SignedInUser>, CookieError> {
        let user: Option<SignedInUser> = self.open(Purpose::SignedIn, sealed)?;
        Ok(user.filter(|user| now < user.expires()))
    }

    fn keys(&self) -> Result<Vec<RandomizedNonceKey>, CookieError> {
        let text =
            std::fs::read_to_string(&self.file).map_err(|error| CookieError::Unreadable(self.file.clone(), error))?;
        let text = Zeroizing::new(text);
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_key);
        let keys: Option<Vec<_>> = keys.collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| CookieError::InvalidKey(self.file.clone()))
    }
}

fn parse_key(line: &str) -> Option<RandomizedNonceKey> {
    let bytes = Zeroizing::new(STANDARD.decode(line).ok()?);
    RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes.get(..KEY_BYTES).filter(|_| bytes.len() == KEY_BYTES)?).ok()
}

fn open_with<T: DeserializeOwned>(key: &RandomizedNonceKey, purpose: Purpose, sealed: &[u8]) -> Option<T> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut text = text.to_vec();
    let opened = key.open_in_place(nonce.into(), Aad::from(purpose.associated_data()), &mut text).ok()?;
    serde_json::from_slice(opened).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn cipher(dir: &tempfile::TempDir, keys: &str) -> CookieCipher {
        let file = dir.path().join("keys");
        std::fs::write(&file, keys).unwrap();
        CookieCipher::new(file)
    }

    fn alice() -> SignedInUser {
        let user = UserInfo { groups: Some(vec!["admins".to_owned()]), ..UserInfo::default() };
        SignedInUser::new("alice".to_owned(), user, 7, Timestamp::from_second(1000).unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_sealed_cookie_opens_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let cipher = cipher(&dir, OLD);
        let sealed = cipher.seal(Purpose::SignedIn, &alice()).unwrap();
        assert!(!sealed.contains("alice"));
        assert_ne!(cipher.seal(Purpose::SignedIn, &alice()).unwrap(), sealed, "each cookie has its own nonce");
        assert_eq!(cipher.open_sign_in(&sealed, at(999)).unwrap(), Some(alice()));
        assert_eq!(cipher.open_sign_in(&sealed, at(1000)).unwrap(), None);
        let user = cipher.open_sign_in(&sealed, at(0)).unwrap().unwrap().user();
        assert_eq!((user.username.as_deref(), user.groups), (Some("alice"), Some(vec!["admins".to_owned()])));
    }

    #[test]
    fn a_changed_cookie_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let cipher = cipher(&dir, OLD);
        let sealed = URL_SAFE_NO_PAD.decode(cipher.seal(Purpose::SignedIn, &alice()).unwrap()).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(cipher.open_sign_in(&URL_SAFE_NO_PAD.encode(changed), at(0)).unwrap(), None, "{index}");
        }
        for short in ["", "x", "AAAA", "not base64 !"] {
            assert_eq!(cipher.open_sign_in(short, at(0)).unwrap(), None);
        }
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let dir = tempfile::tempdir().unwrap();
        let before = cipher(&dir, OLD).seal(Purpose::SignedIn, &alice()).unwrap();
        let both = cipher(&dir, &format!("{NEW}\n{OLD}\n"));
        assert!(both.open_sign_in(&before, at(0)).unwrap().is_some());
        let after = both.seal(Purpose::SignedIn, &alice()).unwrap();
        let without = cipher(&dir, NEW);
        assert!(without.open_sign_in(&after, at(0)).unwrap().is_some());
        assert!(without.open_sign_in(&before, at(0)).unwrap().is_none());
    }

    #[test]
    fn a_cookie_opens_only_for_its_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let cipher = cipher(&dir, OLD);
        let state = cipher.seal(Purpose::SigningIn, &alice()).unwrap();
        assert_eq!(cipher.open_sign_in(&state, at(0)).unwrap(), None);
        assert_eq!(cipher.open(Purpose::SigningIn, &state).unwrap(), Some(alice()));
    }

    #[test]
    fn an_invalid_key_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "AAAA", "secret", &format!("{OLD}\nAAAA")] {
            let error = cipher(&dir, text).seal(Purpose::SignedIn, &alice()).unwrap_err().to_string();
            assert!(error.contains("openssl rand -base64 32"), "{error}");
        }
        let error = CookieCipher::new(dir.path().join("none")).open_sign_in("x", at(0)).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_user_with_too_many_groups_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let user = UserInfo { groups: Some(vec!["g".repeat(100); 40]), ..UserInfo::default() };
        let error =
            cipher(&dir, OLD).seal(Purpose::SignedIn, &SignedInUser::new("a".to_owned(), user, 0, at(0))).unwrap_err();
        assert!(matches!(error, CookieError::TooLong));
    }
}
