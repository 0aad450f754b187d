//! Why an observer is refused, as an HTTP response.

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::warn;

use crate::http::AuthError;
use crate::http::internal::ConsoleError;
use crate::metrics::{METRICS, RefusalLabels};

/// Why a request to observe a session is refused.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The request does not come from a console, or names no observer.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The observer lacks the right to observe the session.
    #[error("{0} may not get bastionsessions/observe")]
    Forbidden(String),
    /// The session is unknown here.
    #[error("this gateway has no such session")]
    NotFound,
    /// The request is not a WebSocket upgrade.
    #[error("this is a WebSocket: {0}")]
    NotAWebSocket(#[from] WebSocketUpgradeRejection),
    /// The gateway has its maximum of observers.
    #[error("this gateway has its maximum of observers; try again in a moment")]
    TooManyObservers,
}

impl ObserveError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Console(error) => error.status(),
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyObservers => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Console(error) => error.label(),
            Self::NotAWebSocket(_) => "malformed",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound => "missing",
            Self::TooManyObservers => "full",
        }
    }
}

impl From<AuthError> for ObserveError {
    fn from(error: AuthError) -> Self {
        Self::Console(error.into())
    }
}

impl IntoResponse for ObserveError {
    fn into_response(self) -> Response {
        METRICS.follows_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        warn!(reason = self.label(), error = %self, "observer refused");
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
