//! Why a request gets no terminal, as an HTTP response. Pages cannot read the HTTP response to a WebSocket, so that a
//! refusal that the user can act on comes over the WebSocket instead.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::info;

use crate::http::AuthError;
use crate::metrics::{METRICS, RefusalLabels};

/// Why a request for a terminal is refused.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// The request is not authenticated, or comes from another site's page.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The query is malformed.
    #[error("{}; ask for /terminal/v1/connect?target=TARGET&login=LOGIN&cols=80&rows=24", .0.body_text())]
    Malformed(#[from] QueryRejection),
    /// The request is not a WebSocket upgrade.
    #[error("this is a WebSocket: {}", .0.body_text())]
    NotAWebSocket(#[from] WebSocketUpgradeRejection),
    /// The gateway shuts down.
    #[error("this gateway takes no new sessions at the moment; try again to reach another")]
    Stopping,
    /// The path is unknown.
    #[error("there is no such page; terminals are at /terminal/v1/connect")]
    NotFound,
}

impl TerminalError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Auth(error) => error.status(),
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotAWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.label(),
            Self::Malformed(_) | Self::NotAWebSocket(_) => "malformed",
            Self::Stopping => "not_ready",
            Self::NotFound => "missing",
        }
    }
}

impl IntoResponse for TerminalError {
    fn into_response(self) -> Response {
        METRICS.terminals_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        info!(reason = self.label(), error = %self, "web terminal refused");
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
