//! How far somebody has come: which of the factors that a user requires were shown, in the user's order.

use crate::api::Factor;

/// The factors shown so far under one sign-in name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(Vec<Factor>);

impl Progress {
    /// The factor that is due, of those `required`; none when all were shown, or the requirement has changed so that what
    /// was shown is not its beginning.
    pub fn due(&self, required: &[Factor]) -> Option<Factor> {
        required.strip_prefix(self.0.as_slice())?.first().copied()
    }

    /// Whether nothing was shown yet.
    pub fn is_at_the_beginning(&self) -> bool {
        self.0.is_empty()
    }

    /// A factor was shown. Returns whether that was the last of those `required`.
    pub fn show(&mut self, factor: Factor, required: &[Factor]) -> bool {
        self.0.push(factor);
        self.0 == required
    }

    /// The questions begin anew, or an answer was wrong: what was answered since the last key counts no more, so that a good
    /// password is asked for again after a wrong code.
    pub fn fall_back(&mut self) {
        let key = self.0.iter().rposition(|factor| *factor == Factor::Publickey);
        self.0.truncate(key.map_or(0, |at| at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::Factor::{Password, Publickey, Totp};
    use super::*;

    #[test]
    fn factors_are_due_in_the_users_order() {
        let (required, mut progress) = ([Publickey, Password, Totp], Progress::default());
        assert_eq!(progress.due(&required), Some(Publickey));
        assert!(!progress.show(Publickey, &required));
        assert_eq!(progress.due(&required), Some(Password));
        assert!(!progress.show(Password, &required));
        assert_eq!(progress.due(&required), Some(Totp));
        assert!(progress.show(Totp, &required));
        assert_eq!(progress.due(&required), None);
    }

    #[test]
    fn a_wrong_code_leads_back_to_the_password_and_not_to_the_key() {
        let (required, mut progress) = ([Publickey, Password, Totp], Progress::default());
        progress.show(Publickey, &required);
        progress.fall_back();
        progress.show(Password, &required);
        progress.fall_back();
        assert_eq!(progress.due(&required), Some(Password));
        let mut without_key = Progress::default();
        without_key.show(Password, &[Password, Totp]);
        without_key.fall_back();
        assert!(without_key.is_at_the_beginning());
    }

    #[test]
    fn nothing_is_due_when_the_requirement_has_changed_meanwhile() {
        let mut progress = Progress::default();
        progress.show(Publickey, &[Publickey, Totp]);
        assert_eq!(progress.due(&[Password, Totp]), None);
        assert_eq!(progress.due(&[Publickey, Password]), Some(Password));
        assert!(!progress.show(Password, &[Password, Totp]), "and it does not count as all");
    }
}
