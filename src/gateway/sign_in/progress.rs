//! Tracks which of a user's required factors have been verified.

use crate::api::Factor;

/// The factors verified so far under one sign-in name, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(Vec<Factor>);

impl Progress {
    /// Returns the next of the `required` factors. Returns `None` when all are verified, or when `required` no longer begins
    /// with the verified factors.
    pub fn next(&self, required: &[Factor]) -> Option<Factor> {
        required.strip_prefix(self.0.as_slice())?.first().copied()
    }

    /// Returns whether no factor has been verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a verified factor. Returns whether it was the last of the `required` ones.
    pub fn add(&mut self, factor: Factor, required: &[Factor]) -> bool {
        self.0.push(factor);
        self.0 == required
    }

    /// Discards the passwords and codes verified since the last key. Called after a wrong answer or a restart of the
    /// prompts, so that a wrong code leads back to the password.
    pub fn reset_to_key(&mut self) {
        let key = self.0.iter().rposition(|factor| *factor == Factor::Publickey);
        self.0.truncate(key.map_or(0, |at| at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::Factor::{Password, Publickey, Totp};
    use super::*;

    #[test]
    fn factors_are_required_in_order() {
        let (required, mut progress) = ([Publickey, Password, Totp], Progress::default());
        assert_eq!(progress.next(&required), Some(Publickey));
        assert!(!progress.add(Publickey, &required));
        assert_eq!(progress.next(&required), Some(Password));
        assert!(!progress.add(Password, &required));
        assert_eq!(progress.next(&required), Some(Totp));
        assert!(progress.add(Totp, &required));
        assert_eq!(progress.next(&required), None);
    }

    #[test]
    fn a_wrong_code_leads_back_to_the_password_but_keeps_the_key() {
        let (required, mut progress) = ([Publickey, Password, Totp], Progress::default());
        progress.add(Publickey, &required);
        progress.reset_to_key();
        progress.add(Password, &required);
        progress.reset_to_key();
        assert_eq!(progress.next(&required), Some(Password));
        let mut without_key = Progress::default();
        without_key.add(Password, &[Password, Totp]);
        without_key.reset_to_key();
        assert!(without_key.is_empty());
    }

    #[test]
    fn no_factor_is_next_after_the_requirement_has_changed() {
        let mut progress = Progress::default();
        progress.add(Publickey, &[Publickey, Totp]);
        assert_eq!(progress.next(&[Password, Totp]), None);
        assert_eq!(progress.next(&[Publickey, Password]), Some(Password));
        assert!(!progress.add(Password, &[Password, Totp]), "the sign-in is incomplete");
    }
}
