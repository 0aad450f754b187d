//! Why a request is not authenticated, or comes from another site's page.

use axum::http::StatusCode;

use super::cookie_cipher::CookieError;

/// Why a request is refused before it is authorized.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no token or cookie, or it is unknown or expired.
    #[error("{0}; send the token of a Kubernetes user as Authorization: Bearer TOKEN")]
    Unauthenticated(&'static str),
    /// The `Origin` header names another site.
    #[error("this page is not the console's own; open the console itself")]
    ForeignOrigin,
    /// Browsers cannot sign in here.
    #[error("this console has no --cookie-key-file, and so no sign-in; send a token as Authorization: Bearer TOKEN")]
    NoSignIn,
    /// The cookie keys cannot be used.
    #[error("nobody can sign in: the console's cookie key cannot be used; its log says why")]
    CookieCipher(#[source] CookieError),
    /// The user does not fit into a cookie.
    #[error(transparent)]
    TooLong(CookieError),
    /// The client's address has caused too many reviews of tokens.
    #[error("too many tokens were sent from your address; try again in a moment")]
    TooManyReviews,
    /// The API server did not answer, or answered with an error.
    #[error("the Kubernetes API does not answer; try again in a moment")]
    ApiServer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AuthError {
    /// Returns [`Self::ApiServer`] with its source.
    pub fn api_server(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::ApiServer(source.into())
    }

    /// Returns the HTTP status of the response.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NoSignIn => StatusCode::NOT_IMPLEMENTED,
            Self::TooManyReviews => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLong(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CookieCipher(_) | Self::ApiServer(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unknown",
            Self::ForeignOrigin => "origin",
            Self::NoSignIn => "no_sign_in",
            Self::CookieCipher(_) | Self::TooLong(_) => "cookie",
            Self::TooManyReviews => "too_many",
            Self::ApiServer(_) => "cluster",
        }
    }
}

impl From<CookieError> for AuthError {
    fn from(error: CookieError) -> Self {
        match error {
            CookieError::TooLong => Self::TooLong(error),
            CookieError::Unreadable(..) | CookieError::InvalidKey(_) | CookieError::Encryption => {
                Self::CookieCipher(error)
            }
        }
    }
}
