//! Why a request gets no terminal, as an answer of HTTP. Pages cannot read one to a WebSocket, so whatever their person can do
//! something about is told on the WebSocket.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::AuthError;
use crate::metrics::{METRICS, RefusalLabels};

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not known who sends it, or another site's page has it sent.
    #[error(transparent)]
    Web(#[from] AuthError),
    /// The query lacks something.
    #[error("{0}; ask for /terminal/v1/connect?target=TARGET&login=LOGIN&cols=80&rows=24")]
    Malformed(String),
    /// It is no WebSocket.
    #[error("this is a WebSocket: {0}")]
    NoSocket(String),
    /// The gateway is being stopped.
    #[error("this gateway takes no new sessions at the moment; try again to reach another")]
    Stopping,
    /// There is nothing else here.
    #[error("there is no such page; terminals are at /terminal/v1/connect")]
    NotFound,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Web(refusal) => refusal.status(),
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NoSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Web(refusal) => refusal.label(),
            Self::Malformed(_) | Self::NoSocket(_) => "malformed",
            Self::Stopping => "not_ready",
            Self::NotFound => "missing",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        METRICS.terminals_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        tracing::info!(reason = self.label(), "a web terminal is refused: {self}");
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
