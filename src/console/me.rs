//! The caller's identity and rights, by which the page enables and explains its controls.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::user_index::UserMatch;
use crate::cluster::Right;
use crate::http::Caller;

/// The caller's identity and rights.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The caller's Kubernetes user name.
    user: String,
    /// The caller's Kubernetes groups.
    groups: Vec<String>,
    /// When the sign-in expires; null if the request has a token.
    expires: Option<String>,
    /// The caller's BastionUser; null if there is none, or more than one.
    bastion_user: Option<String>,
    /// The namespace of the bastion.
    namespace: String,
    /// The origin of the web terminal; null if it is the console's.
    terminal_origin: Option<String>,
    /// The caller's rights.
    rights: Rights,
}

/// The caller's rights, as `kubectl auth can-i` reports them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rights {
    /// To see the sessions of all users. Without this right, callers see their own.
    list_sessions: Answer,
    /// To end the sessions of other users. Callers may always end their own.
    terminate_sessions: Answer,
    /// To see all targets. Without this right, callers see the targets that they may connect to.
    list_targets: Answer,
    /// To read the history. Every caller may read the records of their own sessions.
    history: Answer,
    /// To observe the sessions of all users, and to play recordings.
    observe: Answer,
    /// To open sessions. Each target says whether the caller may connect to it.
    connect: Answer,
    /// To read the overview.
    overview: Answer,
}

/// Whether the caller has a right.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answer {
    /// Whether the caller has the right.
    allowed: bool,
    /// What is missing; null if the caller has the right.
    reason: Option<String>,
}

impl Answer {
    fn blocked_by(reason: Option<String>) -> Self {
        Self { allowed: reason.is_none(), reason }
    }
}

/// Returns the caller's identity and rights.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me), ErrorResponses))]
pub async fn me(State(console): State<Console>, request: ClientRequest) -> Result<Json<Me>, ApiError> {
    let caller = console.caller(&request).await?;
    let bastion_user = console.auth.users.find(&caller.name).await?;
    let origin = console.terminal_origin.as_ref().map(|url| url.origin().ascii_serialization());
    Ok(Json(Me {
        user: caller.name.clone(),
        groups: caller.groups().to_vec(),
        expires: caller.signed_in_until.map(|it| it.to_string()),
        bastion_user: bastion_user.unique().map(|user| user.name_any()),
        namespace: console.cluster.namespace.clone(),
        terminal_origin: origin,
        rights: Box::pin(console.rights(&caller, &bastion_user)).await?,
    }))
}

impl Console {
    async fn rights(&self, caller: &Caller, bastion_user: &UserMatch) -> Result<Rights, ApiError> {
        let may = async |right| match self.auth.authorizer.require(caller, right).await {
            Ok(()) => Ok(Answer::blocked_by(None)),
            Err(forbidden @ ApiError::Forbidden { .. }) => Ok(Answer::blocked_by(Some(forbidden.to_string()))),
            Err(error) => Err(error),
        };
        let (list_sessions, terminate_sessions, list_targets, observe) = futures::try_join!(
            may(Right::to("list", "bastionsessions")),
            may(Right::to("patch", "bastionsessions")),
            may(Right::to("list", "bastiontargets")),
            may(Right::OBSERVE),
        )?;
        Ok(Rights {
            overview: list_sessions.clone(),
            list_sessions,
            terminate_sessions,
            list_targets,
            history: Answer::blocked_by(None),
            observe,
            connect: Answer::blocked_by(bastion_user.connect_blocker(&caller.name, Timestamp::now())),
        })
    }
}
