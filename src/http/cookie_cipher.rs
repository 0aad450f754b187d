//! What a browser is given when somebody has signed in: who they are and until when, sealed with a key that all consoles
//! share. It holds no token, and nobody else can read it or make one.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
/// Browsers keep no longer cookies.
const LONGEST: usize = 4000;

/// What something is sealed for. What is sealed for one purpose is of no use for another.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Somebody has signed in.
    SignedIn,
    /// Somebody is about to, with a provider.
    SigningIn,
}

impl Purpose {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::SignedIn => b"bastion.dev/console/sign-in/1",
            Self::SigningIn => b"bastion.dev/console/signing-in/1",
        }
    }
}

/// Somebody who has signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// The Kubernetes user name.
    pub name: String,
    /// The uid, where the cluster knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
    /// When it is over, in seconds since 1970.
    expires: i64,
}

impl SignedIn {
    /// The user whom a review of a token named, until `expires`.
    pub fn new(name: String, user: UserInfo, expires: Timestamp) -> Self {
        let UserInfo { uid, groups, extra, .. } = user;
        let (groups, extra) = (groups.unwrap_or_default(), extra.unwrap_or_default());
        Self { name, uid, groups, extra, expires: expires.as_second() }
    }

    /// The user, as a review of their rights takes it.
    pub fn user(self) -> UserInfo {
        let Self { name, uid, groups, extra, .. } = self;
        UserInfo { username: Some(name), uid, groups: Some(groups), extra: Some(extra) }
    }

    /// When it is over.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_second(self.expires).unwrap_or(Timestamp::MIN)
    }
}

/// Why nothing can be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    #[error("--cookie-key-file {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("--cookie-key-file {0} should have a key a line, 32 bytes in base64: openssl rand -base64 32")]
    NoKey(PathBuf),
    #[error("the user is in too many groups for a cookie; send the token as Authorization: Bearer TOKEN")]
    TooLong,
    #[error("the cryptographic library failed")]
    Failed,
}

/// The file of the keys. It is read at each use, so that keys can be changed without a restart: the first one seals, and
/// each of them opens.
#[derive(Clone, Debug)]
pub struct CookieCipher {
    file: PathBuf,
}

impl CookieCipher {
    /// With the keys of this file.
    pub const fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// Seals, for a cookie's value.
    ///
    /// # Errors
    /// When there is no key, or the cookie would be too long.
    pub fn seal(&self, purpose: Purpose, what: &impl Serialize) -> Result<String, CookieError> {
        let key = self.keys()?.into_iter().next().ok_or_else(|| CookieError::NoKey(self.file.clone()))?;
        let mut text = serde_json::to_vec(what).map_err(|_| CookieError::Failed)?;
        let nonce =
            key.seal_in_place_append_tag(Aad::from(purpose.text()), &mut text).map_err(|_| CookieError::Failed)?;
        let sealed = URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &text].concat());
        if sealed.len() > LONGEST { Err(CookieError::TooLong) } else { Ok(sealed) }
    }

    /// Opens a cookie's value. `None`: it was not sealed with one of the keys, or for something else.
    ///
    /// # Errors
    /// When there is no key.
    pub fn open<T: DeserializeOwned>(&self, purpose: Purpose, sealed: &str) -> Result<Option<T>, CookieError> {
        let keys = self.keys()?;
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(sealed) else { return Ok(None) };
        Ok(keys.iter().find_map(|key| open_with(key, purpose, &sealed)))
    }

    /// Who has signed in, by their cookie's value; nobody where that is over.
    ///
    /// # Errors
    /// When there is no key.
    pub fn signed_in(&self, sealed: &str, now: Timestamp) -> Result<Option<SignedIn>, CookieError> {
        let who: Option<SignedIn> = self.open(Purpose::SignedIn, sealed)?;
        Ok(who.filter(|who| now < who.expires()))
    }

    fn keys(&self) -> Result<Vec<RandomizedNonceKey>, CookieError> {
        let text =
            std::fs::read_to_string(&self.file).map_err(|error| CookieError::Unreadable(self.file.clone(), error))?;
        let text = Zeroizing::new(text);
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(key);
        let keys: Option<Vec<_>> = keys.collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| CookieError::NoKey(self.file.clone()))
    }
}

fn key(line: &str) -> Option<RandomizedNonceKey> {
    let bytes = Zeroizing::new(STANDARD.decode(line).ok()?);
    RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes.get(..KEY_BYTES).filter(|_| bytes.len() == KEY_BYTES)?).ok()
}

fn open_with<T: DeserializeOwned>(key: &RandomizedNonceKey, purpose: Purpose, sealed: &[u8]) -> Option<T> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut text = text.to_vec();
    let opened = key.open_in_place(nonce.into(), Aad::from(purpose.text()), &mut text).ok()?;
    serde_json::from_slice(opened).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn seal(dir: &tempfile::TempDir, keys: &str) -> CookieCipher {
        let file = dir.path().join("keys");
        std::fs::write(&file, keys).unwrap();
        CookieCipher::new(file)
    }

    fn alice() -> SignedIn {
        let user = UserInfo { groups: Some(vec!["admins".to_owned()]), ..UserInfo::default() };
        SignedIn::new("alice".to_owned(), user, Timestamp::from_second(1000).unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let seal = seal(&dir, OLD);
        let sealed = seal.seal(Purpose::SignedIn, &alice()).unwrap();
        assert!(!sealed.contains("alice"));
        assert_ne!(seal.seal(Purpose::SignedIn, &alice()).unwrap(), sealed, "no two are alike");
        assert_eq!(seal.signed_in(&sealed, at(999)).unwrap(), Some(alice()));
        assert_eq!(seal.signed_in(&sealed, at(1000)).unwrap(), None);
        let user = seal.signed_in(&sealed, at(0)).unwrap().unwrap().user();
        assert_eq!((user.username.as_deref(), user.groups), (Some("alice"), Some(vec!["admins".to_owned()])));
    }

    #[test]
    fn whoever_changes_a_byte_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let seal = seal(&dir, OLD);
        let sealed = URL_SAFE_NO_PAD.decode(seal.seal(Purpose::SignedIn, &alice()).unwrap()).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(seal.signed_in(&URL_SAFE_NO_PAD.encode(changed), at(0)).unwrap(), None, "{place}");
        }
        for short in ["", "x", "AAAA", "not base64 !"] {
            assert_eq!(seal.signed_in(short, at(0)).unwrap(), None);
        }
    }

    #[test]
    fn a_new_key_seals_and_an_old_one_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let before = seal(&dir, OLD).seal(Purpose::SignedIn, &alice()).unwrap();
        let both = seal(&dir, &format!("{NEW}\n{OLD}\n"));
        assert!(both.signed_in(&before, at(0)).unwrap().is_some());
        let after = both.seal(Purpose::SignedIn, &alice()).unwrap();
        let without = seal(&dir, NEW);
        assert!(without.signed_in(&after, at(0)).unwrap().is_some());
        assert!(without.signed_in(&before, at(0)).unwrap().is_none());
    }

    #[test]
    fn what_is_sealed_for_one_purpose_is_of_no_use_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let seal = seal(&dir, OLD);
        let begun = seal.seal(Purpose::SigningIn, &alice()).unwrap();
        assert_eq!(seal.signed_in(&begun, at(0)).unwrap(), None);
        assert_eq!(seal.open(Purpose::SigningIn, &begun).unwrap(), Some(alice()));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "AAAA", "secret", &format!("{OLD}\nAAAA")] {
            let error = seal(&dir, text).seal(Purpose::SignedIn, &alice()).unwrap_err().to_string();
            assert!(error.contains("openssl rand -base64 32"), "{error}");
        }
        let error = CookieCipher::new(dir.path().join("none")).signed_in("x", at(0)).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn who_does_not_fit_into_a_cookie_is_told_another_way() {
        let dir = tempfile::tempdir().unwrap();
        let user = UserInfo { groups: Some(vec!["g".repeat(100); 40]), ..UserInfo::default() };
        let error = seal(&dir, OLD).seal(Purpose::SignedIn, &SignedIn::new("a".to_owned(), user, at(0))).unwrap_err();
        assert!(matches!(error, CookieError::TooLong));
    }
}
