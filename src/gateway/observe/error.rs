//! Why an observer is refused, as an HTTP response.

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::warn;

use crate::http::AuthError;
use crate::metrics::{METRICS, RefusalLabels};

/// Why a request to observe a session is refused.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The console is not authenticated.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The client is not a console.
    #[error("only consoles may observe sessions here")]
    NotTheConsole,
    /// The console does not name the observer.
    #[error("the console does not name the observer")]
    NoObserver,
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
            Self::Auth(error) => error.status(),
            Self::NotTheConsole | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoObserver => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyObservers => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.label(),
            Self::NotTheConsole => "not_the_console",
            Self::NoObserver | Self::NotAWebSocket(_) => "malformed",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound => "missing",
            Self::TooManyObservers => "full",
        }
    }
}

impl IntoResponse for ObserveError {
    fn into_response(self) -> Response {
        METRICS.follows_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        warn!(reason = self.label(), error = %self, "observer refused");
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
