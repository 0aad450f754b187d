//! Serves recordings to a player: lists them, returns their pieces, and searches them.
//!
//! Each access is written to the audit log. Opening a session's recordings also creates an Event if its object still exists.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::query::{is_name, parse_query, read_path};
use crate::api::BastionSession;
use crate::cluster::regarding;
use crate::http::{Caller, with_api_timeout};
use crate::recording::{self, Search, Store, StoredRecording};

/// How many objects are read from the store at once.
const READ_AHEAD: usize = 16;
/// The maximum length of a search text, in bytes.
const MAX_SEARCH_BYTES: usize = 256;

/// The recordings of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recordings {
    /// The recordings, one for each shell or command.
    recordings: Vec<Recording>,
}

/// The stored part of one recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recording {
    /// The recording's number in its session, from 1.
    number: u32,
    /// Whether the whole recording is stored.
    complete: bool,
    /// The recording's length in milliseconds; null if it is incomplete.
    milliseconds: Option<u64>,
    /// When the recording began: RFC 3339, UTC.
    began: Option<String>,
    /// The recorded shell or command.
    title: Option<String>,
    /// The pieces, in order. The first has only the header.
    pieces: Vec<Piece>,
}

/// A stored part of a recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct Piece {
    /// Milliseconds from the start of the recording to the start of the piece.
    at: u64,
    /// The terminal's width at the start of the piece, in columns.
    columns: u32,
    /// The terminal's height at the start of the piece, in rows.
    rows: u32,
    /// The size of the piece, in bytes.
    bytes: u64,
}

/// Selects pieces of a recording.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TextQuery {
    /// The index of the first piece, from 0. The default is 0.
    from: Option<usize>,
    /// The index after the last piece. The default is the number of pieces.
    to: Option<usize>,
}

/// A search in a recording.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MatchQuery {
    /// The text to find, 1 to 256 bytes. Case does not matter.
    #[param(min_length = 1, max_length = 256)]
    text: String,
}

/// The matches of a search.
#[derive(Debug, Serialize, ToSchema)]
pub struct Matches {
    /// The matches by time, 200 at most.
    matches: Vec<Match>,
    /// Whether the recording may have more matches.
    more: bool,
}

/// One match of a search.
#[derive(Debug, Serialize, ToSchema)]
pub struct Match {
    /// Milliseconds since the start of the recording.
    at: u64,
    /// The terminal line that contains the text.
    line: String,
}

/// Returns the stored recordings of a session. Requires the right to observe it.
#[utoipa::path(get, path = "/api/v1/recordings/{session}",
    params(("session" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Recordings), ErrorResponses))]
pub async fn recordings(
    State(console): State<Console>,
    request: ClientRequest,
    session: Result<Path<String>, PathRejection>,
) -> Result<Json<Recordings>, ApiError> {
    let session = read_path(session)?;
    let (caller, recording_set) = console.recording_set(&request, &session).await?;
    let found = recording_set.recordings().await?;
    if found.is_empty() {
        return Err(ApiError::NotFound { kind: "recording of session", name: session });
    }
    console.report_playback(&caller, &session).await?;
    let recordings = stream::iter(found).map(|found| recording_set.describe(found)).buffered(READ_AHEAD);
    Ok(Json(Recordings { recordings: recordings.try_collect().await? }))
}

/// Returns pieces of a recording as lines of asciicast v3. Intervals count from the start of the first returned piece. All
/// pieces together are a complete asciicast file. The response breaks off if the store fails.
#[utoipa::path(get, path = "/api/v1/recordings/{session}/{number}/text",
    params(("session" = String, Path, description = "The name of the BastionSession"),
        ("number" = u32, Path, description = "The recording's number in its session, from 1"), TextQuery),
    responses((status = 200, description = "asciicast v3", content_type = "application/x-asciicast", body = String), ErrorResponses))]
pub async fn text(
    State(console): State<Console>,
    request: ClientRequest,
    path: Result<Path<(String, u32)>, PathRejection>,
    query: Result<Query<TextQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (session, number) = read_path(path)?;
    let TextQuery { from, to } = parse_query(query)?;
    let (caller, recording_set) = console.recording_set(&request, &session).await?;
    let found = recording_set.recording(number).await?;
    let (first, last) = (from.unwrap_or(0), to.unwrap_or(usize::MAX).min(found.segments.len()));
    if first > last {
        let count = found.segments.len();
        return Err(ApiError::Malformed(format!("from: the recording has {count} pieces; from must not exceed to")));
    }
    log_access(&caller, &session, number, &format!("pieces {first} to {last}"));
    let names: Vec<_> = found.segments[first..last].iter().map(|piece| format!("{number}/{}", piece.name)).collect();
    let text = stream::iter(names).map(move |name| recording_set.clone().get(name)).buffered(READ_AHEAD);
    let kind = [(header::CONTENT_TYPE, "application/x-asciicast")];
    let name = [(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{session}-{number}.cast\""))];
    Ok((kind, name, Body::from_stream(text)).into_response())
}

/// Searches a recording for a text that its terminal shows.
#[utoipa::path(get, path = "/api/v1/recordings/{session}/{number}/matches",
    params(("session" = String, Path, description = "The name of the BastionSession"),
        ("number" = u32, Path, description = "The recording's number in its session, from 1"), MatchQuery),
    responses((status = 200, body = Matches), ErrorResponses))]
pub async fn matches(
    State(console): State<Console>,
    request: ClientRequest,
    path: Result<Path<(String, u32)>, PathRejection>,
    query: Result<Query<MatchQuery>, QueryRejection>,
) -> Result<Json<Matches>, ApiError> {
    let (session, number) = read_path(path)?;
    let MatchQuery { text } = parse_query(query)?;
    if text.is_empty() || text.len() > MAX_SEARCH_BYTES {
        return Err(ApiError::Malformed(format!("text: write 1 to {MAX_SEARCH_BYTES} bytes")));
    }
    let (caller, recording_set) = console.recording_set(&request, &session).await?;
    let found = recording_set.recording(number).await?;
    log_access(&caller, &session, number, "search");
    let _slot = console.limits.export(&caller)?;
    let names: Vec<_> =
        found.segments.into_iter().map(|piece| (piece.at, format!("{number}/{}", piece.name))).collect();
    let pieces = stream::iter(names).map(|(at, name)| {
        let recording_set = recording_set.clone();
        async move { Ok::<_, ApiError>((at, recording_set.get(name).await?)) }
    });
    let (mut pieces, mut search, mut more) = (pieces.buffered(READ_AHEAD), Search::new(&text), false);
    while let Some((at, text)) = pieces.try_next().await? {
        if !search.read(at, &text) {
            more = true;
            break;
        }
    }
    let matches = search.found().into_iter().map(|found| Match { at: found.at, line: found.line }).collect();
    Ok(Json(Matches { matches, more }))
}

/// The recordings of one session.
#[derive(Clone)]
struct RecordingSet {
    store: Store,
    folder: String,
}

impl Console {
    /// Returns the recordings of a session if the caller may observe it.
    async fn recording_set(&self, request: &ClientRequest, session: &str) -> Result<(Caller, RecordingSet), ApiError> {
        let caller = self.caller(request).await?;
        self.require_observe(&caller, session).await?;
        let store = self.recordings.clone().ok_or(ApiError::NoRecordings)?;
        if !is_name(session) || session.starts_with('.') {
            return Err(ApiError::no_session(session));
        }
        Ok((caller, RecordingSet { store, folder: format!("{}/{session}", self.cluster.namespace) }))
    }

    /// Reports in the audit log, and as an Event of the session, that the caller opened its recordings.
    async fn report_playback(&self, caller: &Caller, session: &str) -> Result<(), ApiError> {
        info!(target: "audit", session, who = caller.name, operation = "recordings_opened", "audit");
        let api: Api<BastionSession> = self.cluster.api();
        if let Some(found) = with_api_timeout(api.get_opt(session)).await? {
            self.cluster.events.recordings_opened(regarding(&found), &caller.name);
        }
        Ok(())
    }
}

/// Writes an access to a recording into the audit log.
fn log_access(caller: &Caller, session: &str, number: u32, what: &str) {
    info!(target: "audit", session, who = caller.name, operation = "recording_read", number, what, "audit");
}

impl RecordingSet {
    async fn recordings(&self) -> Result<Vec<StoredRecording>, ApiError> {
        Ok(recording::list_recordings(&self.store, &self.folder).await?)
    }

    async fn recording(&self, number: u32) -> Result<StoredRecording, ApiError> {
        let found = self.recordings().await?.into_iter().find(|found| found.number == number);
        found.ok_or_else(|| ApiError::NotFound { kind: "recording", name: number.to_string() })
    }

    /// Reads an object in the session's folder.
    async fn get(self, name: String) -> Result<bytes::Bytes, recording::RecordingError> {
        self.store.get(&format!("{}/{name}", self.folder)).await
    }

    /// Adds to a recording the data of its header and its manifest.
    async fn describe(&self, found: StoredRecording) -> Result<Recording, ApiError> {
        let StoredRecording { number, complete, segments: pieces } = found;
        let header = match pieces.first() {
            Some(first) => first_line(&self.clone().get(format!("{number}/{}", first.name)).await?),
            None => Value::Null,
        };
        let manifest = if complete {
            first_line(&self.clone().get(format!("{number}/manifest.json")).await?)
        } else {
            Value::Null
        };
        let began = header["timestamp"].as_i64().and_then(|second| Timestamp::from_second(second).ok());
        let pieces =
            pieces.into_iter().map(|it| Piece { at: it.at, columns: it.columns, rows: it.rows, bytes: it.bytes });
        Ok(Recording {
            number,
            complete,
            milliseconds: manifest["milliseconds"].as_u64(),
            began: began.map(|time| time.to_string()),
            title: header["title"].as_str().map(str::to_owned),
            pieces: pieces.collect(),
        })
    }
}

/// Parses the first line as JSON; null if it is none.
fn first_line(text: &[u8]) -> Value {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).unwrap_or_default()
}
