//! What a request gets that cannot be answered.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::{IntoResponses, ToSchema};

use super::observe_client::ObserveError;
use crate::api::{BastionSession, Phase};
use crate::audit::StoreError;
use crate::http::AuthError;
use crate::metrics::{ConsoleLabels, METRICS};
use crate::recording;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Who asks is not known, or another site's page does.
    #[error(transparent)]
    Web(#[from] AuthError),
    /// RBAC does not let the caller.
    #[error("{who} may not {verb} {resource} in namespace {namespace}; a Role such as bastion-viewer lets them")]
    Forbidden {
        /// The caller's Kubernetes user name.
        who: String,
        /// What they would need to be let.
        verb: &'static str,
        /// On what.
        resource: String,
        /// Where.
        namespace: String,
    },
    /// There are too many requests.
    #[error("too many requests; try again in a moment")]
    TooMany,
    /// What is to be ended has ended.
    #[error("session {name} has ended already: {phase}, {reason}")]
    Ended {
        /// The session.
        name: String,
        /// Its phase.
        phase: Phase,
        /// Its reason.
        reason: String,
    },
    /// The end of a session cannot be asked for. It goes on, so this is told apart from one that has ended.
    #[error("the end of session {name} could not be asked for: {why}")]
    NotAsked {
        /// The session.
        name: String,
        /// What the API server says.
        why: String,
    },
    /// There are as many pages as there may be.
    #[error("this console has as many pages open as it may; try again in a moment")]
    Full,
    /// A parameter is wrong.
    #[error("{0}")]
    Malformed(String),
    /// There is no such route.
    #[error("there is no such path; /api/v1/openapi.json lists those that there are")]
    NoRoute,
    /// The route takes another method.
    #[error("this path takes another method; /api/v1/openapi.json says which")]
    NoMethod,
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// As the caller wrote it.
        name: String,
    },
    /// There is no audit database that the console could read.
    #[error(
        "this bastion keeps its history in a file of the controller's, which the console cannot read; with MySQL or MariaDB it can"
    )]
    NoHistory,
    /// The console does not know where recordings are.
    #[error(
        "this console does not know where recordings are: --recording-url, as the gateways have it; the chart sets it"
    )]
    NoRecordings,
    /// Nothing but a WebSocket can be had here.
    #[error("this is a WebSocket: {0}")]
    NoSocket(String),
    /// The console cannot show itself to gateways.
    #[error("this console has no --gateway-token-file, and so follows no sessions; the chart sets it")]
    NoFollowing,
    /// The gateway of a session does not do its part.
    #[error("the session cannot be followed: {0}")]
    Gateway(ObserveError),
    /// The store of recordings does not do its part.
    #[error("the store of recordings does not give it ({}): {}", .0.label, .0.why)]
    Recordings(#[from] recording::Failure),
    /// The audit database does not do its part.
    #[error("the audit database does not answer ({}); sessions that are open or ended a moment ago are at /api/v1/sessions", .0.cause.label())]
    Database(#[from] StoreError),
}

/// What every route may answer instead.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is there to be described")]
pub enum Refusals {
    /// A parameter is wrong; the answer says which, and how to write it.
    #[response(status = 400)]
    Malformed(#[to_schema] Problem),
    /// There is no token, or none that the cluster knows.
    #[response(status = 401)]
    Unknown(#[to_schema] Problem),
    /// RBAC does not let the caller.
    #[response(status = 403)]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing.
    #[response(status = 404)]
    Missing(#[to_schema] Problem),
    /// The path takes another method.
    #[response(status = 405)]
    NoMethod(#[to_schema] Problem),
    /// The session has ended already.
    #[response(status = 409)]
    Ended(#[to_schema] Problem),
    /// This is a WebSocket.
    #[response(status = 426)]
    NoSocket(#[to_schema] Problem),
    /// There are too many requests; try again.
    #[response(status = 429)]
    TooMany(#[to_schema] Problem),
    /// This bastion has no history that a console could read.
    #[response(status = 501)]
    NoHistory(#[to_schema] Problem),
    /// The session's gateway does not do its part.
    #[response(status = 502)]
    Gateway(#[to_schema] Problem),
    /// The Kubernetes API or the audit database does not answer, or there are too many pages; try again.
    #[response(status = 503)]
    Unavailable(#[to_schema] Problem),
}

/// What is wrong, in words.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A sentence for people.
    pub error: String,
}

impl Failure {
    /// There is no session of this name.
    pub fn no_session(name: &str) -> Self {
        Self::Missing { what: "session", name: name.to_owned() }
    }

    /// This session has ended.
    pub fn ended(session: &BastionSession) -> Self {
        let reason = session.status.as_ref().and_then(|status| status.reason.clone()).unwrap_or_default();
        Self::Ended { name: session.name_any(), phase: session.phase(), reason }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Web(refusal) => refusal.status(),
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Missing { .. } | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Gateway(_) => StatusCode::BAD_GATEWAY,
            Self::NoHistory | Self::NoRecordings | Self::NoFollowing => StatusCode::NOT_IMPLEMENTED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Ended { .. } => StatusCode::CONFLICT,
            Self::NotAsked { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Database(_) | Self::Recordings(_) | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Web(refusal) => refusal.label(),
            Self::Forbidden { .. } => "forbidden",
            Self::Full => "full",
            Self::Malformed(_) | Self::NoMethod | Self::NoSocket(_) => "malformed",
            Self::Missing { .. } | Self::NoRoute => "missing",
            Self::NoHistory => "no_history",
            Self::NoRecordings => "no_recordings",
            Self::NoFollowing => "no_following",
            Self::Gateway(_) => "gateway",
            Self::Recordings(_) => "recordings",
            Self::TooMany => "too_many",
            Self::Ended { .. } => "ended",
            Self::NotAsked { .. } => "not_asked",
            Self::Database(_) => "database",
        }
    }
}

impl From<ObserveError> for Failure {
    fn from(why: ObserveError) -> Self {
        match why {
            ObserveError::Cluster(refusal) => Self::Web(refusal),
            why => Self::Gateway(why),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        METRICS.console_failures.get_or_create(&ConsoleLabels { reason: self.label() }).inc();
        match &self {
            Self::Web(AuthError::Cluster(error)) => warn!(error, "the Kubernetes API does not answer"),
            Self::Database(error) => warn!(%error, "no history"),
            Self::Gateway(error) => warn!(%error, "a session cannot be followed"),
            Self::Recordings(error) => warn!(%error, "no recording"),
            Self::Web(AuthError::CookieCipher(error)) => warn!(%error, "nobody can sign in with a browser"),
            _ => {}
        }
        let mut response = (self.status(), Json(Problem { error: self.to_string() })).into_response();
        if self.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
