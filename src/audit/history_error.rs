//! The errors of requests for the history, and their HTTP responses.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::warn;

use super::error::StoreError;
use crate::http::AuthError;
use crate::http::internal::ConsoleError;
use crate::metrics::{METRICS, RefusalLabels};

/// Why a request of a console for the history fails.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The request does not come from a console, or names no user.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The request is malformed.
    #[error(transparent)]
    Malformed(#[from] JsonRejection),
    /// The user may not see the session.
    #[error("{user} may not {verb} bastionsessions in namespace {namespace}; a Role such as bastion-viewer grants it")]
    Forbidden {
        /// The Kubernetes user name.
        user: String,
        /// The missing verb.
        verb: &'static str,
        /// The namespace of the bastion.
        namespace: String,
    },
    /// The audit database has no such session.
    #[error("there is no record of a session {0:?}")]
    NoRecord(String),
    /// No route has this path.
    #[error("there is no such path")]
    NoRoute,
    /// The audit database failed.
    #[error("the audit database does not answer ({}); open and recently ended sessions are at /api/v1/sessions", .0.cause.label())]
    Database(#[from] StoreError),
}

impl HistoryError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Console(error) => error.status(),
            Self::Malformed(rejection) => rejection.status(),
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NoRecord(_) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Console(error) => error.label(),
            Self::Malformed(_) => "malformed",
            Self::Forbidden { .. } => "forbidden",
            Self::NoRecord(_) | Self::NoRoute => "missing",
            Self::Database(_) => "database",
        }
    }
}

impl From<AuthError> for HistoryError {
    fn from(error: AuthError) -> Self {
        Self::Console(error.into())
    }
}

impl IntoResponse for HistoryError {
    fn into_response(self) -> Response {
        METRICS.history_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        match &self {
            Self::Database(error) => warn!(%error, "request for the history failed"),
            Self::Console(error) => warn!(%error, "request for the history refused"),
            Self::Malformed(_) | Self::Forbidden { .. } | Self::NoRecord(_) | Self::NoRoute => {}
        }
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
