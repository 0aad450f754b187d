//! The Events of one session, oldest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use utoipa::ToSchema;

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::query::read_path;
use crate::cluster::{Guarded, split};
use crate::http::with_api_timeout;

/// A session usually has a few Events. Each playback of its recordings adds one.
const MAX_EVENTS: u32 = 200;

/// The Events of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Timeline {
    /// The Events, oldest first, 200 at most.
    events: Vec<SessionEvent>,
}

/// One Event.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionEvent {
    /// When the Event last occurred: RFC 3339, UTC.
    time: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    kind: String,
    /// The event in one word, such as `Started`.
    reason: String,
    /// The event in a sentence.
    message: String,
    /// How often the Event occurred.
    count: i32,
}

/// Returns the Events of one session that the cluster still has. Callers may read those of their own sessions, and of others
/// with the right to get them.
#[utoipa::path(get, path = "/api/v1/sessions/{name}/events",
    params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Timeline), ErrorResponses))]
pub async fn events(
    State(console): State<Console>,
    request: ClientRequest,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Timeline>, ApiError> {
    let caller = console.caller(&request).await?;
    let session = console.visible_session(&caller, read_path(name)?).await?;
    let api: Api<Guarded<Event>> = console.cluster.api();
    let selector = format!("regarding.uid={}", session.uid().unwrap_or_default());
    let found = with_api_timeout(api.list(&ListParams::default().fields(&selector).limit(MAX_EVENTS))).await?;
    // Anybody who may write Events can write one that this program cannot read.
    let (readable, _) = split(found);
    let mut events: Vec<_> =
        readable.into_iter().map(|event| SessionEvent::from(Arc::unwrap_or_clone(event))).collect();
    events.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(Json(Timeline { events }))
}

impl From<Event> for SessionEvent {
    fn from(event: Event) -> Self {
        let (last, count) = match event.series {
            Some(series) => (Some(series.last_observed_time.0), series.count),
            None => (event.event_time.map(|time| time.0), 1),
        };
        let time = last.or_else(|| event.metadata.creation_timestamp.map(|time| time.0));
        Self {
            // A fixed number of digits makes the text sort like the time.
            time: format!("{:.6}", time.unwrap_or(Timestamp::UNIX_EPOCH)),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.note.unwrap_or_default(),
            count,
        }
    }
}
