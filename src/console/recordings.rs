//! Recordings for a player: which there are of a session, their text in parts, and where a word is shown. Whoever plays one
//! is in the audit log and, while the session's object is there, among its Events.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::Console;
use super::failure::{Failure, Refusals};
use super::query::{is_name, parse_query};
use crate::api::BastionSession;
use crate::cluster::{Right, regarding};
use crate::http::{Caller, asked};
use crate::recording;
use crate::recording::{Search, Store, StoredRecording};

/// How many pieces are on their way from the store at once.
const AHEAD: usize = 16;
/// How long a word may be.
const LONGEST_WORD: usize = 256;

/// The recordings of a session, one for each shell or command.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recordings {
    recordings: Vec<Recording>,
}

/// One recording, or as much of it as is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recording {
    /// Counted from 1 in its session.
    number: u32,
    /// Whether it was stored to its end.
    complete: bool,
    /// How long it is; nothing where it goes on, or broke off.
    milliseconds: Option<u64>,
    /// When it began.
    began: Option<String>,
    /// What it is of.
    title: Option<String>,
    /// In their order; the first is the header alone.
    pieces: Vec<Piece>,
}

/// A part of a recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct Piece {
    /// Milliseconds from the recording's beginning to its own.
    at: u64,
    /// The terminal's width as it begins.
    columns: u32,
    /// The terminal's height as it begins.
    rows: u32,
    /// How long its text is.
    bytes: u64,
}

/// Which pieces.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TextQuery {
    /// The first piece, counted from 0; that is also what it is where it is not given.
    from: Option<usize>,
    /// The piece behind the last; to the end where it is not given.
    to: Option<usize>,
}

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MatchQuery {
    /// A word, or some, whatever their case.
    #[param(min_length = 1, max_length = 256)]
    text: String,
}

/// Where it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct Matches {
    /// In the order of time, and no more than 200.
    matches: Vec<Match>,
    /// Whether there may be more.
    more: bool,
}

/// One place.
#[derive(Debug, Serialize, ToSchema)]
pub struct Match {
    /// Milliseconds since the beginning.
    at: u64,
    /// The line that it is in.
    line: String,
}

/// The recordings of a session that the store has, for who may observe it.
#[utoipa::path(get, path = "/api/v1/recordings/{session}",
    params(("session" = String, Path, description = "The name of the BastionSession")),
    responses((status = 200, body = Recordings), Refusals))]
pub async fn recordings(
    State(console): State<Console>,
    headers: HeaderMap,
    session: Result<Path<String>, PathRejection>,
) -> Result<Json<Recordings>, Failure> {
    let Path(session) = session.map_err(|rejection| Failure::Malformed(rejection.body_text()))?;
    let (caller, recording_set) = console.recording_set(&headers, &session).await?;
    let found = recording_set.recordings().await?;
    if found.is_empty() {
        return Err(Failure::Missing { what: "recording of session", name: session });
    }
    console.tell_of_playback(&caller, &session).await?;
    let recordings = stream::iter(found).map(|found| recording_set.described(found)).buffered(AHEAD);
    Ok(Json(Recordings { recordings: recordings.try_collect().await? }))
}

/// Pieces of a recording, joined: lines of asciicast v3, whose intervals count from the first piece's own beginning. All of
/// them are the recording as a file. Where the store fails in the midst of it, the answer breaks off.
#[utoipa::path(get, path = "/api/v1/recordings/{session}/{number}/text",
    params(("session" = String, Path, description = "The name of the BastionSession"),
        ("number" = u32, Path, description = "Which of its recordings"), TextQuery),
    responses((status = 200, description = "asciicast v3", content_type = "application/x-asciicast", body = String), Refusals))]
pub async fn text(
    State(console): State<Console>,
    headers: HeaderMap,
    path: Result<Path<(String, u32)>, PathRejection>,
    query: Result<Query<TextQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let (session, number) = of(path)?;
    let TextQuery { from, to } = parse_query(query)?;
    let (caller, recording_set) = console.recording_set(&headers, &session).await?;
    let found = recording_set.recording(number).await?;
    let (first, last) = (from.unwrap_or(0), to.unwrap_or(usize::MAX).min(found.pieces.len()));
    if first > last {
        return Err(Failure::Malformed(format!("from: it has {} pieces, and to comes after from", found.pieces.len())));
    }
    log(&caller, &session, number, &format!("pieces {first} to {last}"));
    let names: Vec<_> = found.pieces[first..last].iter().map(|piece| format!("{number}/{}", piece.name)).collect();
    let text = stream::iter(names).map(move |name| recording_set.clone().get(name)).buffered(AHEAD);
    let kind = [(header::CONTENT_TYPE, "application/x-asciicast")];
    let name = [(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{session}-{number}.cast\""))];
    Ok((kind, name, Body::from_stream(text)).into_response())
}

/// Where a recording shows a word.
#[utoipa::path(get, path = "/api/v1/recordings/{session}/{number}/matches",
    params(("session" = String, Path, description = "The name of the BastionSession"),
        ("number" = u32, Path, description = "Which of its recordings"), MatchQuery),
    responses((status = 200, body = Matches), Refusals))]
pub async fn matches(
    State(console): State<Console>,
    headers: HeaderMap,
    path: Result<Path<(String, u32)>, PathRejection>,
    query: Result<Query<MatchQuery>, QueryRejection>,
) -> Result<Json<Matches>, Failure> {
    let (session, number) = of(path)?;
    let MatchQuery { text } = parse_query(query)?;
    if text.is_empty() || text.len() > LONGEST_WORD {
        return Err(Failure::Malformed(format!("text: write a word of 1 to {LONGEST_WORD} bytes")));
    }
    let (caller, recording_set) = console.recording_set(&headers, &session).await?;
    let found = recording_set.recording(number).await?;
    log(&caller, &session, number, "search");
    let _place = console.exports.clone().try_acquire_owned().map_err(|_| Failure::TooMany)?;
    let places: Vec<_> = found.pieces.into_iter().map(|piece| (piece.at, format!("{number}/{}", piece.name))).collect();
    let read = stream::iter(places).map(|(at, name)| {
        let recording_set = recording_set.clone();
        async move { Ok::<_, Failure>((at, recording_set.get(name).await?)) }
    });
    let (mut read, mut search, mut more) = (read.buffered(AHEAD), Search::new(&text), false);
    while let Some((at, text)) = read.try_next().await? {
        if !search.read(at, &text) {
            more = true;
            break;
        }
    }
    let matches = search.found().into_iter().map(|found| Match { at: found.at, line: found.line }).collect();
    Ok(Json(Matches { matches, more }))
}

fn of(path: Result<Path<(String, u32)>, PathRejection>) -> Result<(String, u32), Failure> {
    path.map(|Path(of)| of).map_err(|rejection| Failure::Malformed(rejection.body_text()))
}

/// The recordings of one session.
#[derive(Clone)]
struct RecordingSet {
    store: Store,
    folder: String,
}

impl Console {
    /// The recordings of a session, for who may observe it.
    async fn recording_set(&self, headers: &HeaderMap, session: &str) -> Result<(Caller, RecordingSet), Failure> {
        let caller = self.caller(headers).await?;
        self.authorizer.require(&caller, Right { name: Some(session), ..Right::OBSERVE }).await?;
        let store = self.recordings.clone().ok_or(Failure::NoRecordings)?;
        if !is_name(session) || session.starts_with('.') {
            return Err(Failure::no_session(session));
        }
        Ok((caller, RecordingSet { store, folder: format!("{}/{session}", self.namespace) }))
    }

    /// Has it stand among the session's Events that somebody has opened its recordings.
    async fn tell_of_playback(&self, caller: &Caller, session: &str) -> Result<(), Failure> {
        info!(target: "audit", session, who = caller.name, operation = "recordings_opened", "audit");
        let api: Api<BastionSession> = Api::namespaced(self.client.clone(), &self.namespace);
        if let Some(found) = asked(api.get_opt(session)).await? {
            self.events.recordings_opened(regarding(&found), &caller.name);
        }
        Ok(())
    }
}

/// A line of the audit log.
fn log(caller: &Caller, session: &str, number: u32, what: &str) {
    info!(target: "audit", session, who = caller.name, operation = "recording_read", number, what, "audit");
}

impl RecordingSet {
    async fn recordings(&self) -> Result<Vec<StoredRecording>, Failure> {
        Ok(recording::recordings(&self.store, &self.folder).await?)
    }

    async fn recording(&self, number: u32) -> Result<StoredRecording, Failure> {
        let found = self.recordings().await?.into_iter().find(|found| found.number == number);
        found.ok_or_else(|| Failure::Missing { what: "recording", name: number.to_string() })
    }

    /// What is in an object of the session's folder.
    async fn get(self, name: String) -> Result<bytes::Bytes, recording::Failure> {
        self.store.get(&format!("{}/{name}", self.folder)).await
    }

    /// A recording with what its header and its manifest say.
    async fn described(&self, found: StoredRecording) -> Result<Recording, Failure> {
        let StoredRecording { number, complete, pieces } = found;
        let header = match pieces.first() {
            Some(first) => json(&self.clone().get(format!("{number}/{}", first.name)).await?),
            None => Value::Null,
        };
        let manifest =
            if complete { json(&self.clone().get(format!("{number}/manifest.json")).await?) } else { Value::Null };
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

/// The first line, if it is JSON.
fn json(text: &[u8]) -> Value {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).unwrap_or_default()
}
