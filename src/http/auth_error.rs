//! Why it is not known who sends a request, or who has it sent.

use axum::http::StatusCode;

use super::cookie_cipher::CookieError;

/// Why a request is answered before anybody asks what it is for.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No token, or none that the cluster knows.
    #[error("{0}; send the token of a Kubernetes user as Authorization: Bearer TOKEN")]
    Unknown(&'static str),
    /// A page of another site's has it sent.
    #[error("this page is not the console's own; open the console itself")]
    Origin,
    /// Browsers cannot sign in here.
    #[error("this console has no --cookie-key-file, and so no sign-in; send a token as Authorization: Bearer TOKEN")]
    NoSignIn,
    /// The keys of the cookies are not there.
    #[error("nobody can sign in: the console's key cannot be used; its log says why")]
    CookieCipher(CookieError),
    /// The person does not fit into a cookie.
    #[error("{0}")]
    TooLong(CookieError),
    /// The API server does not do its part.
    #[error("the Kubernetes API does not answer; try again in a moment")]
    Cluster(String),
}

impl AuthError {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unknown(_) => StatusCode::UNAUTHORIZED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::NoSignIn => StatusCode::NOT_IMPLEMENTED,
            Self::TooLong(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CookieCipher(_) | Self::Cluster(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A bounded word for the metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Origin => "origin",
            Self::NoSignIn => "no_sign_in",
            Self::CookieCipher(_) | Self::TooLong(_) => "cookie",
            Self::Cluster(_) => "cluster",
        }
    }
}

impl From<CookieError> for AuthError {
    fn from(error: CookieError) -> Self {
        match error {
            CookieError::TooLong => Self::TooLong(error),
            CookieError::Unreadable(..) | CookieError::NoKey(_) | CookieError::Failed => Self::CookieCipher(error),
        }
    }
}
