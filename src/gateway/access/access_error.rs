//! Why a user may not sign in, or may not stay.

use crate::gateway::sign_in::{PresenceError, UserCertificateError};

/// Why somebody may not sign in, or not stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is no such user.
    #[error("there is no such user")]
    UnknownUser,
    /// `spec.disabled`
    #[error("the user is disabled")]
    Disabled,
    /// `spec.expires`
    #[error("the user has expired")]
    Expired,
    /// `spec.publicKeys`
    #[error("the key is not one of the user's")]
    UnknownKey,
    /// `spec.publicKeys`, of a security key
    #[error(transparent)]
    PresenceError(#[from] PresenceError),
    /// `spec.publicKeys`, the lines that begin with `cert-authority`
    #[error(transparent)]
    Certificate(#[from] UserCertificateError),
    /// `spec.authentication` asks for something else now.
    #[error("another factor is due")]
    OutOfTurn,
    /// `spec.password`
    #[error("the password is wrong")]
    WrongPassword,
    /// `spec.totp`
    #[error("the one-time code is wrong")]
    WrongCode,
    /// A code is good once.
    #[error("the one-time code was used before")]
    UsedCode,
    /// The Secret is missing, or holds nothing that could be used.
    #[error("the user has no Secret that the answer could be checked with")]
    NoSecret,
    /// Too many wrong answers.
    #[error("too many passwords or codes were wrong; locked out for a while")]
    LockedOut,
    /// `spec.authentication` asks for a key by now.
    #[error("the user signed in without a key, which is asked for by now")]
    KeyNeeded,
    /// `spec.subject`
    #[error("the user stands for another Kubernetes user by now")]
    OtherSubject,
    /// The target was deleted.
    #[error("the target is no longer there")]
    NoTarget,
    /// `spec.logins`
    #[error("the login is no longer among the target's")]
    NoLogin,
    /// RBAC says no.
    #[error("the right to connect was withdrawn")]
    NoRight,
}

impl AccessError {
    /// A bounded word for the metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::UnknownKey => "key",
            Self::PresenceError(_) => "security_key",
            Self::Certificate(_) => "certificate",
            Self::OutOfTurn => "out_of_turn",
            Self::WrongPassword => "password",
            Self::WrongCode => "code",
            Self::UsedCode => "used_code",
            Self::NoSecret => "no_secret",
            Self::LockedOut => "locked_out",
            Self::KeyNeeded => "key_needed",
            Self::OtherSubject => "other_subject",
            Self::NoTarget | Self::NoLogin | Self::NoRight => "no_right",
        }
    }
}
