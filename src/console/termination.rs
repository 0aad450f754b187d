//! Ending a session from the console, in the name of who asks.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde::Deserialize;
use serde_json::json;
use tracing::info;
use utoipa::ToSchema;

use super::Console;
use super::failure::{Failure, Refusals};
use super::query::{is_name, read_path};
use super::view::Session;
use crate::api::{BastionSession, MAX_REASON, Phase, Termination};
use crate::cluster::{Right, code};
use crate::http::{Caller, asked};

/// An end that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Why; the session's user reads it.
    #[schema(max_length = 512)]
    reason: Option<String>,
}

/// Asks for the end of a session: the caller's own, or any that they may patch. It ends a moment later, as Terminated for
/// AdminTerminated, and the caller's own as Closed for ApiClosed. One whose end somebody has asked for already is answered as
/// it is.
#[utoipa::path(post, path = "/api/v1/sessions/{name}/termination", request_body = EndRequest,
    params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Session), (status = 409, description = "It has ended already", body = super::Problem),
        (status = 422, description = "The API server takes no end of it; the answer says why", body = super::Problem), Refusals))]
pub async fn terminate(
    State(console): State<Console>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
    body: Result<Json<EndRequest>, JsonRejection>,
) -> Result<Json<Session>, Failure> {
    console.origins.check_write(&headers)?;
    let caller = console.caller(&headers).await?;
    let name = read_path(name)?;
    let Json(request) = body.map_err(|rejection| Failure::Malformed(rejection.body_text()))?;
    if request.reason.as_ref().is_some_and(|reason| reason.trim().chars().count() > MAX_REASON) {
        return Err(Failure::Malformed(format!("reason: write {MAX_REASON} characters at most")));
    }
    let reason = request.reason.as_deref().and_then(Termination::reason_of);
    let session = console.to_be_ended(&caller, &name).await?;
    if session.spec.termination.is_some() {
        return Ok(Json(Session::from(&session)));
    }
    let asked = console.ask_for_end(&caller, &session, reason).await?;
    info!(session = name, who = caller.name, "its end was asked for");
    Ok(Json(Session::from(&asked)))
}

impl Console {
    /// The session, if the caller may end it and it has not ended.
    async fn to_be_ended(&self, caller: &Caller, name: &str) -> Result<BastionSession, Failure> {
        let found = if is_name(name) { asked(self.sessions().get_opt(name)).await? } else { None };
        if found.as_ref().is_none_or(|session| session.spec.user.subject != caller.name) {
            self.authorizer
                .require(caller, Right { name: Some(name), ..Right::to("patch", "bastionsessions") })
                .await?;
        }
        let session = found.ok_or_else(|| Failure::no_session(name))?;
        if session.phase() == Phase::Active { Ok(session) } else { Err(Failure::ended(&session)) }
    }

    async fn ask_for_end(
        &self,
        caller: &Caller,
        session: &BastionSession,
        reason: Option<String>,
    ) -> Result<BastionSession, Failure> {
        let name = session.name_any();
        let termination = json!({"requestedBy": caller.name, "reason": reason, "via": "Console"});
        // The uid: it is this session, and no later one of its name, that the caller has seen.
        let patch = json!({"metadata": {"uid": session.uid()}, "spec": {"termination": termination}});
        let (sessions, params) = (self.sessions(), PatchParams::default());
        let answer = asked(async {
            match sessions.patch(&name, &params, &Patch::Merge(patch)).await {
                Ok(session) => Ok(Ok(session)),
                Err(error) if matches!(code(&error), Some(400 | 403 | 404 | 409 | 422)) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        });
        let refused = match answer.await? {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        // It has ended meanwhile, or somebody else was faster; or it cannot be asked for so.
        let now = asked(self.sessions().get_opt(&name)).await?.filter(|now| now.uid() == session.uid());
        let now = now.ok_or_else(|| Failure::no_session(&name))?;
        match now.spec.termination {
            _ if now.phase() != Phase::Active => Err(Failure::ended(&now)),
            Some(_) => Ok(now),
            None => Err(Failure::NotAsked { name, why: refusal(&refused) }),
        }
    }

    fn sessions(&self) -> Api<BastionSession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// What the API server said.
fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.chars().take(512).collect(),
        other => other.to_string(),
    }
}
