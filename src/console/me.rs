//! Who asks, and what they may: what the page shows as enabled, and why not what it does not.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::Console;
use super::failure::{Failure, Refusals};
use super::user_index::Stands;
use crate::cluster::Right;
use crate::http::Caller;

/// Who asks, and what they may.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The Kubernetes user name.
    user: String,
    /// The Kubernetes groups.
    groups: Vec<String>,
    /// Until when they are signed in; nothing where they sent a token.
    expires: Option<String>,
    /// The BastionUser who stands for them; nothing where none does, or more than one.
    bastion_user: Option<String>,
    /// The namespace of the bastion.
    namespace: String,
    /// Where the terminal is, where that is not on this host.
    terminal_origin: Option<String>,
    /// What they may.
    rights: Rights,
}

/// What somebody may, as `kubectl auth can-i` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rights {
    /// To see the sessions of others, open ones and past ones; who may not sees their own.
    list_sessions: Answer,
    /// To end sessions of others; everybody may end their own.
    terminate_sessions: Answer,
    /// To see all targets; who may not sees those that they may connect to.
    list_targets: Answer,
    /// To see what was.
    history: Answer,
    /// To follow sessions of others, and to play recordings.
    observe: Answer,
    /// To have sessions; which targets are theirs is said with each target.
    connect: Answer,
    /// To see how the bastion is.
    overview: Answer,
}

/// Whether somebody may do something.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answer {
    /// Whether.
    allowed: bool,
    /// What they lack.
    reason: Option<String>,
}

impl Answer {
    fn lacking(reason: Option<String>) -> Self {
        Self { allowed: reason.is_none(), reason }
    }
}

/// Who the caller is, and what they may.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me), Refusals))]
pub async fn me(State(console): State<Console>, headers: HeaderMap) -> Result<Json<Me>, Failure> {
    let caller = console.caller(&headers).await?;
    let stands = console.user_index.standing_for(&caller.name).await?;
    let origin = console.terminal_origin.as_ref().map(|url| url.origin().ascii_serialization());
    Ok(Json(Me {
        user: caller.name.clone(),
        groups: caller.groups().to_vec(),
        expires: caller.signed_in_until.map(|it| it.to_string()),
        bastion_user: stands.one().map(|user| user.name_any()),
        namespace: console.namespace.clone(),
        terminal_origin: origin,
        rights: Box::pin(console.rights(&caller, &stands)).await?,
    }))
}

impl Console {
    async fn rights(&self, caller: &Caller, stands: &Stands) -> Result<Rights, Failure> {
        let may = async |right| match self.authorizer.require(caller, right).await {
            Ok(()) => Ok(Answer::lacking(None)),
            Err(forbidden @ Failure::Forbidden { .. }) => Ok(Answer::lacking(Some(forbidden.to_string()))),
            Err(failure) => Err(failure),
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
            history: Answer::lacking(self.store().err().map(|failure| failure.to_string())),
            observe,
            connect: Answer::lacking(stands.lack(&caller.name, Timestamp::now())),
        })
    }
}
