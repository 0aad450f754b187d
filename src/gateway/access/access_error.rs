//! Errors of users who may not sign in or keep their sessions.

use crate::gateway::sign_in::{PresenceError, UserCertificateError, WebTerminalBlocker};

/// Why a user may not sign in or keep a session. The comment of each variant names the field that decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No BastionUser has this name.
    #[error("there is no such user")]
    UnknownUser,
    /// `spec.disabled` is set.
    #[error("the user is disabled")]
    Disabled,
    /// `spec.expires` has passed.
    #[error("the user has expired")]
    Expired,
    /// No line of `spec.publicKeys` has the key.
    #[error("the key is not one of the user's")]
    UnknownKey,
    /// The security key's signature does not assert what its line in `spec.publicKeys` requires.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// No `cert-authority` line in `spec.publicKeys` accepts the certificate.
    #[error(transparent)]
    Certificate(#[from] UserCertificateError),
    /// `spec.authentication` requires another factor next.
    #[error("another authentication factor is required next")]
    UnexpectedFactor,
    /// The password does not match the hash that `spec.password` names.
    #[error("the password is wrong")]
    WrongPassword,
    /// The code does not match the secret that `spec.totp` names.
    #[error("the one-time code is wrong")]
    WrongCode,
    /// Each one-time code is accepted once (RFC 6238, section 5.2).
    #[error("the one-time code was used before")]
    UsedCode,
    /// The Secret is missing or holds no usable value.
    #[error("the user has no usable Secret to check the answer with")]
    NoSecret,
    /// Too many passwords or codes were wrong.
    #[error("too many passwords or codes were wrong; locked out for a while")]
    LockedOut,
    /// `spec.authentication` has required a key since the user signed in.
    #[error("the user signed in without a key, and a key is required now")]
    KeyRequired,
    /// `spec.subject`.
    #[error("the user now represents another Kubernetes user")]
    SubjectChanged,
    /// The target was deleted.
    #[error("the target was deleted")]
    TargetDeleted,
    /// `spec.logins` of the target.
    #[error("the login was removed from the target")]
    LoginRemoved,
    /// `spec.allow.web` of the target, or `spec.publicKeys`, for a web terminal.
    #[error(transparent)]
    WebTerminal(#[from] WebTerminalBlocker),
    /// RBAC denies the verb `connect`.
    #[error("the right to connect was withdrawn")]
    RightWithdrawn,
}

impl AccessError {
    /// Returns the value of the metrics' label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::UnknownKey => "key",
            Self::Presence(_) => "security_key",
            Self::Certificate(_) => "certificate",
            Self::UnexpectedFactor => "out_of_turn",
            Self::WrongPassword => "password",
            Self::WrongCode => "code",
            Self::UsedCode => "used_code",
            Self::NoSecret => "no_secret",
            Self::LockedOut => "locked_out",
            Self::KeyRequired => "key_needed",
            Self::SubjectChanged => "other_subject",
            Self::WebTerminal(_) => "no_web_terminal",
            Self::TargetDeleted | Self::LoginRemoved | Self::RightWithdrawn => "no_right",
        }
    }
}
