//! The Events of one session, oldest first: the timeline of its life.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use utoipa::ToSchema;

use super::Console;
use super::failure::{Failure, Refusals};
use super::query::read_path;
use crate::http::asked;

/// A session has a handful; of recordings that are opened all day no more than this is shown.
const MOST: u32 = 200;

/// The Events of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Timeline {
    events: Vec<Happening>,
}

/// One Event.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Happening {
    /// When it happened last, in RFC 3339, UTC.
    time: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    kind: String,
    /// What, in one word.
    reason: String,
    /// What, in a sentence.
    message: String,
    /// How often.
    count: i32,
}

/// The Events of one session that the cluster still has: the caller's own session, or any that they may get.
#[utoipa::path(get, path = "/api/v1/sessions/{name}/events",
    params(("name" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Timeline), Refusals))]
pub async fn events(
    State(console): State<Console>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Timeline>, Failure> {
    let caller = console.caller(&headers).await?;
    let session = console.seen_by(&caller, read_path(name)?).await?;
    let api: Api<Event> = Api::namespaced(console.client, &console.namespace);
    let of_it = format!("regarding.uid={}", session.uid().unwrap_or_default());
    let found = asked(api.list(&ListParams::default().fields(&of_it).limit(MOST))).await?;
    let mut events: Vec<_> = found.items.into_iter().map(Happening::from).collect();
    events.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(Json(Timeline { events }))
}

impl From<Event> for Happening {
    fn from(event: Event) -> Self {
        let (last, count) = match event.series {
            Some(series) => (Some(series.last_observed_time.0), series.count),
            None => (event.event_time.map(|time| time.0), 1),
        };
        let time = last.or_else(|| event.metadata.creation_timestamp.map(|time| time.0));
        Self {
            // Of one width, so that the text sorts as the time does.
            time: format!("{:.6}", time.unwrap_or(Timestamp::UNIX_EPOCH)),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.note.unwrap_or_default(),
            count,
        }
    }
}
