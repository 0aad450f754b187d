//! Checks the user presence and verification flags in signatures of FIDO security keys, as OpenSSH does.

use russh::keys::ssh_key::Algorithm;
use russh::server::SkFlags;

/// The assertions of a verified signature about its user's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// The key is not a security key, so its signature asserts nothing.
    OrdinaryKey,
    /// The flags of a security key's signature.
    SecurityKey(SkFlags),
}

impl Assertion {
    /// Returns the assertion of a signature by a key of this type. Only the type of the key decides whether it is a security
    /// key.
    ///
    /// # Errors
    /// Fails when a security key's signature has no flags, or when the key's type is unknown and may be a security key's.
    pub fn of(key: &Algorithm, flags: Option<SkFlags>) -> Result<Self, PresenceError> {
        match (key, flags) {
            (Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256, Some(flags)) => Ok(Self::SecurityKey(flags)),
            (Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256, None) => Err(PresenceError::NoFlags),
            (Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. }, _) => Ok(Self::OrdinaryKey),
            // Dsa, Other, and variants that later versions of the library add.
            _ => Err(PresenceError::UnknownKeyType),
        }
    }
}

/// The assertions that a signature must make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceRequirement {
    /// The security key was touched. The option `no-touch-required` clears it.
    pub touch: bool,
    /// The security key verified a PIN or a fingerprint. The option `verify-required` sets it; ordinary keys then fail.
    pub verification: bool,
}

/// Why a signature does not assert what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The key was not touched.
    #[error("the security key was not touched, and its line has no no-touch-required")]
    NoTouch,
    /// No PIN or fingerprint was verified.
    #[error("no security key asked for a PIN or a fingerprint (verify-required)")]
    NoVerification,
    /// A security key's signature has no flags.
    #[error("the security key's signature has no flags, so it does not assert a touch")]
    NoFlags,
    /// The gateway does not know the key's type.
    #[error("the key's type is unknown, so it may be a security key")]
    UnknownKeyType,
}

impl PresenceRequirement {
    /// The requirement of a line without options: a touch.
    pub const DEFAULT: Self = Self { touch: true, verification: false };

    /// Applies an option of a line or a certificate. Returns whether the option is known.
    pub fn apply(&mut self, option: &str) -> bool {
        match option {
            "no-touch-required" => self.touch = false,
            "verify-required" => self.verification = true,
            _ => return false,
        }
        true
    }

    /// Returns the requirement that includes both.
    pub const fn union(self, other: Self) -> Self {
        Self { touch: self.touch || other.touch, verification: self.verification || other.verification }
    }

    /// Checks that a signature asserts what is required.
    ///
    /// # Errors
    /// The first assertion that is missing.
    pub fn check(self, assertion: Assertion) -> Result<(), PresenceError> {
        let (touched, verified) = match assertion {
            // A touch is required of security keys only; a verified user is required of every key.
            Assertion::OrdinaryKey => (true, false),
            Assertion::SecurityKey(flags) => (flags.user_present(), flags.user_verified()),
        };
        if self.touch && !touched {
            return Err(PresenceError::NoTouch);
        }
        if self.verification && !verified {
            return Err(PresenceError::NoVerification);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::PresenceError::{NoFlags, NoTouch, NoVerification, UnknownKeyType};
    use super::*;

    #[rstest]
    #[case("sk-ssh-ed25519@openssh.com", Some(0), Ok(Assertion::SecurityKey(SkFlags::from(0))))]
    #[case("sk-ssh-ed25519@openssh.com", Some(5), Ok(Assertion::SecurityKey(SkFlags::from(5))))]
    #[case("sk-ssh-ed25519@openssh.com", None, Err(NoFlags))]
    #[case("sk-ecdsa-sha2-nistp256@openssh.com", Some(1), Ok(Assertion::SecurityKey(SkFlags::from(1))))]
    #[case("sk-ecdsa-sha2-nistp256@openssh.com", None, Err(NoFlags))]
    #[case("ssh-ed25519", None, Ok(Assertion::OrdinaryKey))]
    #[case("ssh-ed25519", Some(5), Ok(Assertion::OrdinaryKey))]
    #[case("ecdsa-sha2-nistp256", None, Ok(Assertion::OrdinaryKey))]
    #[case("ecdsa-sha2-nistp521", None, Ok(Assertion::OrdinaryKey))]
    #[case("ssh-rsa", None, Ok(Assertion::OrdinaryKey))]
    #[case("ssh-dss", None, Err(UnknownKeyType))]
    #[case("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", Some(5), Err(UnknownKeyType))]
    fn the_key_type_determines_the_assertion(
        #[case] key: &str,
        #[case] flags: Option<u8>,
        #[case] expected: Result<Assertion, PresenceError>,
    ) {
        assert_eq!(Assertion::of(&Algorithm::new(key).unwrap(), flags.map(SkFlags::from)), expected);
    }

    #[rstest]
    #[case(&[], None, Ok(()))]
    #[case(&[], Some(1), Ok(()))]
    #[case(&[], Some(5), Ok(()))]
    #[case(&[], Some(0), Err(NoTouch))]
    #[case(&[], Some(4), Err(NoTouch))]
    #[case(&["no-touch-required"], Some(0), Ok(()))]
    #[case(&["verify-required"], None, Err(NoVerification))]
    #[case(&["verify-required"], Some(1), Err(NoVerification))]
    #[case(&["verify-required"], Some(4), Err(NoTouch))]
    #[case(&["verify-required"], Some(5), Ok(()))]
    #[case(&["no-touch-required", "verify-required"], Some(4), Ok(()))]
    #[case(&["no-touch-required", "verify-required"], Some(0), Err(NoVerification))]
    fn a_signature_must_assert_what_the_line_requires(
        #[case] options: &[&str],
        #[case] flags: Option<u8>,
        #[case] expected: Result<(), PresenceError>,
    ) {
        let mut presence = PresenceRequirement::DEFAULT;
        assert!(options.iter().all(|option| presence.apply(option)));
        let assertion = flags.map_or(Assertion::OrdinaryKey, |flags| Assertion::SecurityKey(flags.into()));
        assert_eq!(presence.check(assertion), expected);
    }

    #[test]
    fn a_union_has_both_requirements() {
        let without_touch = PresenceRequirement { touch: false, verification: false };
        let verified = PresenceRequirement { touch: false, verification: true };
        assert_eq!(without_touch.union(PresenceRequirement::DEFAULT), PresenceRequirement::DEFAULT);
        assert_eq!(without_touch.union(verified), verified);
    }
}
