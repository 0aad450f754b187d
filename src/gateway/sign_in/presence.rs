//! What a security key (FIDO) must say of its user beside signing, as OpenSSH asks for it: that it was touched, unless that is
//! done without, and that a PIN or a fingerprint was asked for, where that is wanted.

use russh::keys::ssh_key::Algorithm;
use russh::server::SkFlags;

/// What a verified signature says of its user's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// Nothing: the key is no security key.
    OrdinaryKey,
    /// The flags of a security key's signature.
    SecurityKey(SkFlags),
}

impl Assertion {
    /// Returns the assertion of a signature by a key of this type. The key's type decides, not the label of the signature.
    ///
    /// # Errors
    /// When a security key's signature has no flags, or when the key's type is unknown, since it may be a security key's.
    pub fn of(key: &Algorithm, flags: Option<SkFlags>) -> Result<Self, PresenceError> {
        match (key, flags) {
            (Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256, Some(flags)) => Ok(Self::SecurityKey(flags)),
            (Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256, None) => Err(PresenceError::NoFlags),
            (Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. }, _) => Ok(Self::OrdinaryKey),
            // Dsa, Other, and what a later version of the library adds.
            _ => Err(PresenceError::UnknownKeyType),
        }
    }
}

/// What must be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The key was touched. `no-touch-required` does without.
    pub touch: bool,
    /// A PIN or a fingerprint was asked for: `verify-required`. A key that cannot say so is refused, also one that is in no
    /// security key.
    pub verification: bool,
}

/// What was not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// Nobody touched it.
    #[error("the security key was not touched (the key's line has no no-touch-required)")]
    NoTouch,
    /// It did not ask for a PIN.
    #[error("no security key asked for a PIN or a fingerprint (verify-required)")]
    NoVerification,
    /// A security key's signature without flags.
    #[error("the security key's signature does not say whether the key was touched")]
    NoFlags,
    /// The gateway does not know the key's type.
    #[error("the key's type is unknown, so it may be a security key")]
    UnknownKeyType,
}

impl Presence {
    /// Where nothing else is said.
    pub const DEFAULT: Self = Self { touch: true, verification: false };

    /// Heeds an option of a line or a certificate. Returns whether it is one of these.
    pub fn take(&mut self, option: &str) -> bool {
        match option {
            "no-touch-required" => self.touch = false,
            "verify-required" => self.verification = true,
            _ => return false,
        }
        true
    }

    /// What both ask for.
    pub const fn both(self, other: Self) -> Self {
        Self { touch: self.touch || other.touch, verification: self.verification || other.verification }
    }

    /// Compares a signature's assertion with what is required.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self, assertion: Assertion) -> Result<(), PresenceError> {
        let (touched, verified) = match assertion {
            // A touch is required of security keys only; a PIN or a fingerprint, of every key.
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
    fn the_keys_type_says_whether_there_are_flags(
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
    fn a_key_must_say_what_its_line_asks_for(
        #[case] options: &[&str],
        #[case] flags: Option<u8>,
        #[case] expected: Result<(), PresenceError>,
    ) {
        let mut presence = Presence::DEFAULT;
        assert!(options.iter().all(|option| presence.take(option)));
        let assertion = flags.map_or(Assertion::OrdinaryKey, |flags| Assertion::SecurityKey(flags.into()));
        assert_eq!(presence.check(assertion), expected);
    }

    #[test]
    fn of_two_the_stricter_holds() {
        let without_touch = Presence { touch: false, verification: false };
        let verified = Presence { touch: false, verification: true };
        assert_eq!(without_touch.both(Presence::DEFAULT), Presence::DEFAULT);
        assert_eq!(without_touch.both(verified), verified);
    }
}
