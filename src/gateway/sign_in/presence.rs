//! What a security key (FIDO) must say of its user beside signing, as OpenSSH asks for it: that it was touched, unless that is
//! done without, and that a PIN or a fingerprint was asked for, where that is wanted.

use russh::server::SkFlags;

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
pub enum NotPresent {
    /// Nobody touched it.
    #[error("the security key was not touched (the key's line has no no-touch-required)")]
    NoTouch,
    /// It did not ask for a PIN.
    #[error("no security key asked for a PIN or a fingerprint (verify-required)")]
    NoVerification,
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

    /// Looks at what the key said; nothing, where it is in no security key.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self, flags: Option<SkFlags>) -> Result<(), NotPresent> {
        if self.touch && flags.is_some_and(|flags| !flags.user_present()) {
            return Err(NotPresent::NoTouch);
        }
        if self.verification && !flags.is_some_and(SkFlags::user_verified) {
            return Err(NotPresent::NoVerification);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::NotPresent::{NoTouch, NoVerification};
    use super::*;

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
        #[case] expected: Result<(), NotPresent>,
    ) {
        let mut presence = Presence::DEFAULT;
        assert!(options.iter().all(|option| presence.take(option)));
        assert_eq!(presence.check(flags.map(SkFlags::from)), expected);
    }

    #[test]
    fn of_two_the_stricter_holds() {
        let without_touch = Presence { touch: false, verification: false };
        let verified = Presence { touch: false, verification: true };
        assert_eq!(without_touch.both(Presence::DEFAULT), Presence::DEFAULT);
        assert_eq!(without_touch.both(verified), verified);
    }
}
