//! The errors of the API and their HTTP status codes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::{IntoResponses, ToSchema};

use super::history_client::HistoryError;
use super::observe_client::ObserveError;
use crate::api::{BastionSession, Phase};
use crate::http::AuthError;
use crate::http::internal::CallError;
use crate::metrics::{ConsoleLabels, METRICS};
use crate::recording;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The credentials are unknown, or the request comes from the page of another site.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A sign-out could not be recorded. The response still deletes the browser's cookie.
    #[error("you are signed out of this browser only, and copies of its cookie stay valid until they expire: {0}")]
    SignOut(#[source] AuthError),
    /// RBAC does not grant the caller this right.
    #[error("{user} may not {verb} {resource} in namespace {namespace}; a Role such as bastion-viewer grants it")]
    Forbidden {
        /// The caller's Kubernetes user name.
        user: String,
        /// The missing verb.
        verb: &'static str,
        /// The resource, with its subresource and name.
        resource: String,
        /// The namespace of the bastion.
        namespace: String,
    },
    /// The caller exceeds the rate limit.
    #[error("too many requests; try again in a moment")]
    TooMany,
    /// The session has ended, so that it can be neither ended nor observed.
    #[error("session {name} has ended already: {phase}, {reason}")]
    Ended {
        /// The session's name.
        name: String,
        /// The session's phase.
        phase: Phase,
        /// Why the session ended.
        reason: String,
    },
    /// The API server rejected the request to end a session. The session goes on.
    #[error("the end of session {name} could not be requested: {message}")]
    EndRejected {
        /// The session's name.
        name: String,
        /// The message of the API server.
        message: String,
    },
    /// The console has its maximum number of WebSockets open.
    #[error("this console has its maximum number of pages open; try again in a moment")]
    Full,
    /// A parameter or the body is malformed.
    #[error("{0}")]
    Malformed(String),
    /// No route has this path.
    #[error("there is no such path; /api/v1/openapi.json lists all paths")]
    NoRoute,
    /// The route does not support this method.
    #[error("this path takes another method; /api/v1/openapi.json lists it")]
    NoMethod,
    /// The object does not exist.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// The kind of object.
        kind: &'static str,
        /// The name in the request.
        name: String,
    },
    /// An audit program refused the request.
    #[error("{message}")]
    HistoryRefused {
        /// The HTTP status code of its answer.
        status: StatusCode,
        /// Its message.
        message: String,
    },
    /// No audit program answers.
    #[error("the history is not available: {0}; open and recently ended sessions are at /api/v1/sessions")]
    History(#[source] HistoryError),
    /// The console has no store of recordings.
    #[error("this console has no --recording-url; set it as for the gateways, or let the chart set it")]
    NoRecordings,
    /// The request is not a WebSocket handshake.
    #[error("this path is a WebSocket: {0}")]
    NotWebSocket(String),
    /// The session's gateway does not show the session.
    #[error("the session cannot be followed: {0}")]
    Gateway(#[source] ObserveError),
    /// The store of recordings failed.
    #[error("the store of recordings failed ({}): {}", .0.label, .0.message)]
    Recordings(#[from] recording::RecordingError),
}

/// The error responses of every route.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only the OpenAPI description uses it")]
pub enum ErrorResponses {
    /// A parameter or the body is malformed; the error names it and shows the right form.
    #[response(status = 400)]
    Malformed(#[to_schema] Problem),
    /// The credentials are missing, unknown or expired.
    #[response(status = 401)]
    Unauthorized(#[to_schema] Problem),
    /// RBAC does not grant the caller the right.
    #[response(status = 403)]
    Forbidden(#[to_schema] Problem),
    /// The object does not exist.
    #[response(status = 404)]
    NotFound(#[to_schema] Problem),
    /// The path does not support this method.
    #[response(status = 405)]
    NoMethod(#[to_schema] Problem),
    /// The session has ended already.
    #[response(status = 409)]
    Ended(#[to_schema] Problem),
    /// The path is a WebSocket.
    #[response(status = 426)]
    NotWebSocket(#[to_schema] Problem),
    /// The caller sends too many requests; try again in a moment.
    #[response(status = 429)]
    TooMany(#[to_schema] Problem),
    /// The console has no recordings, or no sign-in with a browser.
    #[response(status = 501)]
    NotConfigured(#[to_schema] Problem),
    /// The session's gateway does not show the session.
    #[response(status = 502)]
    Gateway(#[to_schema] Problem),
    /// The API server, the audit program, its database or the store of recordings failed, or too many pages are open; try again.
    #[response(status = 503)]
    Unavailable(#[to_schema] Problem),
}

/// An error in words.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A sentence for people.
    pub error: String,
}

impl ApiError {
    /// Returns the error for a session that does not exist.
    pub fn no_session(name: &str) -> Self {
        Self::NotFound { kind: "session", name: name.to_owned() }
    }

    /// Returns the error for a session that has ended.
    pub fn ended(session: &BastionSession) -> Self {
        let reason = session.status.as_ref().and_then(|status| status.reason.clone()).unwrap_or_default();
        Self::Ended { name: session.name_any(), phase: session.phase(), reason }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Auth(error) | Self::SignOut(error) => error.status(),
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotFound { .. } | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Gateway(_) => StatusCode::BAD_GATEWAY,
            Self::NoRecordings => StatusCode::NOT_IMPLEMENTED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Ended { .. } => StatusCode::CONFLICT,
            Self::EndRejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::HistoryRefused { status, .. } => *status,
            Self::History(_) | Self::Recordings(_) | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the label in the metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.label(),
            Self::SignOut(_) => "sign_out",
            Self::Forbidden { .. } => "forbidden",
            Self::Full => "full",
            Self::Malformed(_) | Self::NoMethod | Self::NotWebSocket(_) => "malformed",
            Self::NotFound { .. } | Self::NoRoute => "missing",
            Self::NoRecordings => "no_recordings",
            Self::Gateway(_) => "gateway",
            Self::Recordings(_) => "recordings",
            Self::TooMany => "too_many",
            Self::Ended { .. } => "ended",
            Self::EndRejected { .. } => "not_asked",
            Self::HistoryRefused { status, .. } => match *status {
                StatusCode::FORBIDDEN => "forbidden",
                StatusCode::NOT_FOUND => "missing",
                _ => "database",
            },
            Self::History(_) => "audit",
        }
    }
}

impl From<ObserveError> for ApiError {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Cluster(error) => Self::Auth(error),
            error => Self::Gateway(error),
        }
    }
}

impl From<HistoryError> for ApiError {
    /// Passes on the answers of an audit program about its user and its database. All others are faults of the bastion.
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Cluster(error) => Self::Auth(error),
            HistoryError::Call(CallError::Refused { status, message })
                if matches!(
                    status,
                    StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE
                ) =>
            {
                Self::HistoryRefused { status, message }
            }
            error => Self::History(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        METRICS.console_failures.get_or_create(&ConsoleLabels { reason: self.label() }).inc();
        match &self {
            Self::Auth(AuthError::ApiServer(error)) => warn!(%error, "request failed: the API server does not answer"),
            Self::SignOut(error) => warn!(%error, "a sign-out could not be recorded: copies of the cookie stay valid"),
            Self::History(error) => warn!(%error, "request failed: the history cannot be read"),
            Self::Gateway(error) => warn!(%error, "request failed: the session cannot be observed"),
            Self::Recordings(error) => warn!(%error, "request failed: the store of recordings cannot be read"),
            Self::Auth(AuthError::CookieCipher(error)) => {
                warn!(%error, "request failed: sign-in cookies cannot be encrypted or decrypted");
            }
            _ => {}
        }
        let mut response = (self.status(), Json(Problem { error: self.to_string() })).into_response();
        if self.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
