//! The history: the sessions of the audit database, in pages and as CSV.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::{self, StreamExt, TryStreamExt, try_unfold};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;
use utoipa::IntoParams;

use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::history_client::HistoryClient;
use super::query::{limit_of, parse_query, phase_of, read_path};
use super::view::{Session, SessionPage, is_uid, read_key};
use super::{Console, csv};
use crate::audit::{HistoryFilter, PageKey};
use crate::http::Caller;
use crate::metrics::METRICS;
use crate::slots::Slot;

/// How long the reader of an export may read nothing before the export is broken off.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an export may take in all.
const EXPORT_TIMEOUT: Duration = Duration::from_mins(30);
/// How many records of an export are read at once.
const EXPORT_BATCH: u32 = 1000;

/// Selects sessions of the audit database.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The name of the BastionUser.
    user: Option<String>,
    /// The name of the BastionTarget.
    target: Option<String>,
    /// The login name on the target.
    login: Option<String>,
    /// `active`, `closed`, `timeout` or `terminated`.
    status: Option<String>,
    /// Why the session ended, such as `AdminTerminated`.
    reason: Option<String>,
    /// The client's IP address.
    client_address: Option<String>,
    /// The earliest start time, such as `2026-01-31T00:00:00Z`.
    since: Option<String>,
    /// The end of the range of start times, exclusive.
    until: Option<String>,
    /// The maximum number of sessions, 1 to 1000. The default is 100, and all for CSV.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the previous page.
    after: Option<String>,
}

/// Returns the sessions in the audit database, newest first. Callers who may not list sessions get their own.
#[utoipa::path(get, path = "/api/v1/history", params(HistoryQuery), responses((status = 200, body = SessionPage), ErrorResponses))]
pub async fn history(
    State(console): State<Console>,
    request: ClientRequest,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<SessionPage>, ApiError> {
    let caller = console.caller(&request).await?;
    let query = parse_query(query)?;
    let limit = limit_of(query.limit)?;
    // One record more than the page shows whether another page follows.
    let records = console.history.page(&caller.user(), query.filter()?, limit + 1).await?;
    Ok(Json(SessionPage::of(records, usize::try_from(limit).unwrap_or(usize::MAX))))
}

/// Returns one session from the audit database. Callers may get their own sessions, and others with the right to get them.
#[utoipa::path(get, path = "/api/v1/history/{id}", params(("id" = String, Path, description = "The uid of the BastionSession")),
    responses((status = 200, body = Session), ErrorResponses))]
pub async fn record(
    State(console): State<Console>,
    request: ClientRequest,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Session>, ApiError> {
    let caller = console.caller(&request).await?;
    let id = read_path(id)?;
    if !is_uid(&id) {
        console.auth.authorizer.require_visible(&caller, None, None).await?;
        return Err(ApiError::NotFound { kind: "record of a session", name: id });
    }
    Ok(Json(console.history.record(&caller.user(), &id).await?.into()))
}

/// Returns the sessions in the audit database as CSV (RFC 4180), newest first; all of them without `limit`. Times are UTC. The
/// response breaks off if the database fails. Callers who may not list sessions get their own.
#[utoipa::path(get, path = "/api/v1/history.csv", params(HistoryQuery),
    responses((status = 200, description = "One line per session", content_type = "text/csv", body = String), ErrorResponses))]
pub async fn csv(
    State(console): State<Console>,
    request: ClientRequest,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let caller = console.caller(&request).await?;
    let query = parse_query(query)?;
    let remaining = query.limit.map(|limit| limit_of(Some(limit))).transpose()?;
    let filter = query.filter()?;
    let slot = console.limits.export(&caller)?;
    let client = console.history.clone();
    let export = Export { client, caller, filter, remaining, has_header: false, is_done: false };
    // The first lines are read before the status is sent, so that a failing database is an error and no empty file.
    let (first, rest) = export.next().await?.unzip();
    let rest = stream::iter(rest).flat_map(|export| try_unfold(export, Export::next));
    let lines = limited_stream(stream::iter(first.map(Ok)).chain(rest), slot);
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    let name = [(header::CONTENT_DISPOSITION, "attachment; filename=\"bastion-history.csv\"")];
    Ok((kind, name, Body::from_stream(lines)).into_response())
}

/// A CSV export in progress.
struct Export {
    client: HistoryClient,
    caller: Caller,
    filter: HistoryFilter,
    /// How many records may follow; `None` without a limit.
    remaining: Option<u32>,
    has_header: bool,
    is_done: bool,
}

/// Passes a stream on and holds the slot meanwhile. The stream breaks off when its reader takes nothing for [`STALL_TIMEOUT`], or
/// not all within [`EXPORT_TIMEOUT`]: a reader must not hold one of the few slots for ever.
fn limited_stream(
    lines: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
    slot: Slot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(1);
    let passing = tokio::spawn(async move {
        let _slot = slot;
        timeout(EXPORT_TIMEOUT, pass_on(lines, sender)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    });
    // The HTTP library may ask again after the end.
    let parts = stream::unfold(Some((receiver, passing)), async |state| {
        let (mut receiver, passing) = state?;
        if let Some(bytes) = receiver.recv().await {
            return Some((Ok(bytes), Some((receiver, passing))));
        }
        // Without this error, a reader would take the part for the whole.
        let passed = passing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        passed.err().map(|error| (Err(error), None))
    });
    parts.fuse()
}

/// Sends each part of a stream. Returns when all are sent, or the reader is gone.
///
/// # Errors
/// The stream fails, or the reader takes nothing for [`STALL_TIMEOUT`].
async fn pass_on(lines: impl Stream<Item = Result<Bytes, ApiError>>, sender: mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut lines = pin!(lines);
    while let Some(bytes) = lines.try_next().await.map_err(io::Error::other)? {
        match timeout(STALL_TIMEOUT, sender.send(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                info!(seconds = STALL_TIMEOUT.as_secs(), "an export is broken off: its reader takes nothing");
                METRICS.console_exports_stalled.inc();
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
    Ok(())
}

impl Export {
    /// Returns the next lines. The column names come first.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let batch = self.remaining.map_or(EXPORT_BATCH, |remaining| remaining.min(EXPORT_BATCH));
        let records = self.client.page(&self.caller.user(), self.filter.clone(), batch).await?;
        self.remaining = self.remaining.map(|remaining| remaining - batch);
        self.is_done = records.len() < batch as usize || self.remaining == Some(0);
        self.filter.after = records.last().map(PageKey::from).or(self.filter.after);
        let mut text = if self.has_header { String::new() } else { csv::header() };
        self.has_header = true;
        for record in records {
            text.push_str(&csv::line(&Session::from(record)));
        }
        Ok(Some((text.into(), self)))
    }
}

impl HistoryQuery {
    /// Returns the filter. The audit program adds the namespace, and the subject of users who may see only their own sessions.
    fn filter(self) -> Result<HistoryFilter, ApiError> {
        let moment = |name: &str, text: Option<String>| {
            let parse = |text: String| text.parse::<Timestamp>().map(Timestamp::as_microsecond);
            let malformed = |_| ApiError::Malformed(format!("{name}: write a time such as 2026-01-31T00:00:00Z"));
            text.map(parse).transpose().map_err(malformed)
        };
        let key = |text: String| {
            read_key(&text)
                .ok_or_else(|| ApiError::Malformed("after: send `next` of the previous page unchanged".to_owned()))
        };
        Ok(HistoryFilter {
            status: self
                .status
                .map(|status| phase_of(&status).map(|phase| phase.record_name().to_owned()))
                .transpose()?,
            since: moment("since", self.since)?,
            until: moment("until", self.until)?,
            after: self.after.map(key).transpose()?,
            user: self.user,
            target: self.target,
            login: self.login,
            reason: self.reason,
            client_address: self.client_address,
            ..HistoryFilter::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::slots::Slots;

    fn query(text: &str) -> Result<HistoryFilter, ApiError> {
        let uri = format!("http://x/?{text}").parse().unwrap();
        let query = Query::<HistoryQuery>::try_from_uri(&uri);
        parse_query(query)?.filter()
    }

    fn endless() -> impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static {
        stream::repeat_with(|| Ok(Bytes::from_static(b"line\n")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_loses_its_slot() {
        let slots = Slots::new(1);
        let mut lines = Box::pin(limited_stream(endless(), slots.take("alice", 1).unwrap()));
        assert!(lines.next().await.is_some_and(|line| line.is_ok()));
        assert!(slots.take("bob", 1).is_err());
        tokio::time::sleep(2 * STALL_TIMEOUT).await;
        assert!(slots.take("bob", 1).is_ok(), "though the reader has not come back");
        let rest: Vec<_> = lines.collect().await;
        assert!(rest.last().is_some_and(Result::is_err), "the reader learns that lines are missing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_export_ends_without_an_error() {
        let slots = Slots::new(1);
        let lines = limited_stream(endless().take(5), slots.take("alice", 1).unwrap());
        assert!(lines.collect::<Vec<_>>().await.iter().all(Result::is_ok));
        assert!(slots.take("bob", 1).is_ok());
    }

    #[test]
    fn a_query_becomes_a_filter() {
        let filter = query("user=alice&status=terminated&since=1970-01-01T00:00:01Z&after=5.u-1").unwrap();
        assert_eq!(
            (filter.user.as_deref(), filter.status.as_deref(), filter.since),
            (Some("alice"), Some("terminated"), Some(1_000_000))
        );
        assert_eq!(filter.after.map(|key| key.start_time), Some(5));
    }

    #[rstest]
    #[case("since=yesterday", "since: write a time")]
    #[case("status=Closed", "status: \"Closed\" is none of active, closed, timeout, terminated")]
    #[case("after=x", "after: send")]
    #[case("usr=alice", "unknown field `usr`")]
    fn errors_name_the_parameter(#[case] text: &str, #[case] words: &str) {
        let error = query(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
