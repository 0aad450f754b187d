//! Requests the end of a session on behalf of the caller.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde::Deserialize;
use serde_json::json;
use tracing::info;
use utoipa::ToSchema;

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::query::read_path;
use super::view::Session;
use crate::api::{BastionSession, MAX_REASON, Phase, Termination};
use crate::cluster::{Right, code};
use crate::http::{Caller, with_api_timeout};

/// A request to end a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// The reason, which the session's user reads. At most 512 characters.
    #[schema(max_length = 512)]
    reason: Option<String>,
}

/// Requests the end of a session. Callers may end their own sessions, and others with the right to patch them. The gateway ends
/// the session a moment later: as Terminated with reason AdminTerminated, or the caller's own as Closed with reason ApiClosed.
/// A session whose end is already requested is returned unchanged.
#[utoipa::path(post, path = "/api/v1/sessions/{name}/termination", request_body = EndRequest,
    params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Session), (status = 409, description = "It has ended already", body = super::Problem),
        (status = 422, description = "The API server rejected the request; the error has its message", body = super::Problem), ErrorResponses))]
pub async fn terminate(
    State(console): State<Console>,
    request: ClientRequest,
    name: Result<Path<String>, PathRejection>,
    body: Result<Json<EndRequest>, JsonRejection>,
) -> Result<Json<Session>, ApiError> {
    console.auth.origins.check_write(&request.headers)?;
    let caller = console.caller(&request).await?;
    let name = read_path(name)?;
    let Json(request) = body.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    if request.reason.as_ref().is_some_and(|reason| reason.trim().chars().count() > MAX_REASON) {
        return Err(ApiError::Malformed(format!("reason: write {MAX_REASON} characters at most")));
    }
    let reason = request.reason.as_deref().and_then(Termination::reason_of);
    let session = console.session_to_end(&caller, &name).await?;
    if session.spec.termination.is_some() {
        return Ok(Json(Session::from(&session)));
    }
    let ending = console.request_end(&caller, &session, reason).await?;
    info!(session = name, who = caller.name, "requested the end of a session");
    Ok(Json(Session::from(&ending)))
}

impl Console {
    /// Returns the session if the caller may end it and it has not ended.
    async fn session_to_end(&self, caller: &Caller, name: &str) -> Result<BastionSession, ApiError> {
        let found = self.find_session(name).await?;
        if found.as_ref().is_none_or(|session| session.spec.user.subject != caller.name) {
            let right = Right { name: Some(name), ..Right::to("patch", "bastionsessions") };
            self.auth.authorizer.require(caller, right).await?;
        }
        let session = found.ok_or_else(|| ApiError::no_session(name))?;
        if session.phase() == Phase::Active { Ok(session) } else { Err(ApiError::ended(&session)) }
    }

    async fn request_end(
        &self,
        caller: &Caller,
        session: &BastionSession,
        reason: Option<String>,
    ) -> Result<BastionSession, ApiError> {
        let name = session.name_any();
        let termination = json!({"requestedBy": caller.name, "reason": reason, "via": "Console"});
        // The uid keeps a later session of the same name from being ended.
        let patch = json!({"metadata": {"uid": session.uid()}, "spec": {"termination": termination}});
        let (sessions, params) = (self.sessions(), PatchParams::default());
        let patched = with_api_timeout(async {
            match sessions.patch(&name, &params, &Patch::Merge(patch)).await {
                Ok(session) => Ok(Ok(session)),
                Err(error) if matches!(code(&error), Some(400 | 403 | 404 | 409 | 422)) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        });
        let rejection = match patched.await? {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        // The session may have ended, or another caller's request may have come first.
        let now = with_api_timeout(self.sessions().get_opt(&name)).await?.filter(|now| now.uid() == session.uid());
        let now = now.ok_or_else(|| ApiError::no_session(&name))?;
        match now.spec.termination {
            _ if now.phase() != Phase::Active => Err(ApiError::ended(&now)),
            Some(_) => Ok(now),
            None => Err(ApiError::EndRejected { name, message: message(&rejection) }),
        }
    }

    fn sessions(&self) -> Api<BastionSession> {
        self.cluster.api()
    }
}

/// Returns the API server's message, 512 characters at most.
fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.chars().take(512).collect(),
        other => other.to_string(),
    }
}
