//! The messages of the feed. Deltas are serialized once for all pages; each page only adds its sequence number.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::state::{Change, Delta};
use crate::console::access::Visibility;
use crate::console::activity::{Activity, Reading};
use crate::console::view::Session;

/// The maximum number of sessions in one message of a snapshot, which bounds what a slow page buffers.
const PART_SIZE: usize = 500;

/// A serialized delta without its sequence number.
#[derive(Clone, Debug)]
pub struct EncodedDelta {
    /// The Kubernetes user name of the session's user.
    pub subject: String,
    /// The message after its sequence number.
    rest: String,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session_id: &'a str,
    timestamp: String,
    data: &'a Session,
}

impl EncodedDelta {
    /// Serializes a delta with a timestamp.
    pub fn new(delta: &Delta, now: Timestamp) -> Self {
        let kind = match delta.change {
            Change::Start => "session_start",
            Change::Update => "session_update",
            Change::End => "session_end",
        };
        let session = delta.session.as_ref();
        let message = Message { kind, session_id: &session.session_id, timestamp: now.to_string(), data: session };
        let text = serde_json::to_string(&message).unwrap_or_default();
        Self { subject: session.subject.clone(), rest: text.trim_start_matches('{').to_owned() }
    }

    /// Returns the message for a page to which this is delta number `sequence` since its snapshot.
    pub fn numbered(&self, sequence: u64) -> Utf8Bytes {
        format!("{{\"sequence\":{sequence},{}", self.rest).into()
    }
}

/// Returns the messages of a snapshot, at least one. The deltas that follow are numbered from 1. The messages name the user
/// they are limited to, so that a page does not mistake hidden sessions for ended ones.
pub fn snapshot(sessions: &[Arc<Session>], live: bool, visibility: &Visibility, now: Timestamp) -> Arc<[Utf8Bytes]> {
    let subject = match visibility {
        Visibility::All => None,
        Visibility::Own(subject) => Some(subject),
    };
    let parts = sessions.len().div_ceil(PART_SIZE).max(1);
    let part = |number: usize| {
        let from = (number * PART_SIZE).min(sessions.len());
        let sessions: Vec<&Session> = sessions[from..].iter().take(PART_SIZE).map(Arc::as_ref).collect();
        json!({"type": "snapshot", "sequence": 0, "timestamp": now.to_string(),
            "data": {"live": live, "subject": subject, "part": number + 1, "parts": parts, "sessions": sessions}})
    };
    (0..parts).map(|number| part(number).to_string().into()).collect()
}

/// Returns a heartbeat with the number of deltas so far.
pub fn heartbeat(sequence: u64, now: Timestamp) -> Utf8Bytes {
    json!({"type": "heartbeat", "sequence": sequence, "timestamp": now.to_string()}).to_string().into()
}

/// Returns the message that the page may be outdated until the next snapshot.
pub fn stale(sequence: u64, now: Timestamp) -> Utf8Bytes {
    json!({"type": "stale", "sequence": sequence, "timestamp": now.to_string()}).to_string().into()
}

/// Returns the message with the activity of sessions, by name.
pub fn activity(sequence: u64, readings: &BTreeMap<String, Reading>, now: Timestamp) -> Utf8Bytes {
    let activity: BTreeMap<_, Activity> =
        readings.iter().map(|(name, reading)| (name, reading.activity(now))).collect();
    json!({"type": "activity", "sequence": sequence, "timestamp": now.to_string(), "data": activity}).to_string().into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::audit::samples::{active, ended};

    #[test]
    fn a_delta_has_its_sequence_number_and_the_session() {
        let delta = Delta { change: Change::End, session: Arc::new(Session::from(&ended("a"))) };
        let encoded = EncodedDelta::new(&delta, "2026-01-02T04:04:06Z".parse().unwrap());
        let message: Value = serde_json::from_str(&encoded.numbered(7)).unwrap();
        assert_eq!(message["sequence"], 7);
        assert_eq!((&message["type"], &message["session_id"]), (&json!("session_end"), &json!("a")));
        assert_eq!(message["timestamp"], "2026-01-02T04:04:06Z");
        let data = &message["data"];
        assert_eq!((&data["session_id"], &data["status"]), (&json!("a"), &json!("closed")));
        assert_eq!((&data["reason"], &data["end_time"]), (&json!("UserExit"), &json!("2026-01-02T04:04:05.25Z")));
    }

    #[test]
    fn a_snapshot_names_the_user_it_is_limited_to() {
        let messages = snapshot(&[], true, &Visibility::Own("alice".to_owned()), Timestamp::UNIX_EPOCH);
        let message: Value = serde_json::from_str(&messages[0]).unwrap();
        assert_eq!(message["data"]["subject"], "alice");
    }

    #[test]
    fn the_parts_of_a_snapshot_are_complete() {
        for (count, parts) in [(0, 1), (1, 1), (500, 1), (501, 2), (1200, 3)] {
            let sessions: Vec<_> = (0..count).map(|it| Arc::new(Session::from(&active(&it.to_string())))).collect();
            let messages = snapshot(&sessions, true, &Visibility::All, Timestamp::UNIX_EPOCH);
            assert_eq!(messages.len(), parts);
            let mut found = Vec::new();
            for (number, message) in messages.iter().enumerate() {
                let message: Value = serde_json::from_str(message).unwrap();
                assert_eq!(message["data"]["subject"], Value::Null);
                assert_eq!((&message["data"]["part"], &message["data"]["parts"]), (&json!(number + 1), &json!(parts)));
                let ids = message["data"]["sessions"].as_array().unwrap().iter();
                found.extend(ids.map(|it| it["session_id"].as_str().unwrap().to_owned()));
            }
            assert_eq!(found, (0..count).map(|it| it.to_string()).collect::<Vec<_>>());
        }
    }
}
