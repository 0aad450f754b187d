//! The JSON objects of the API. Open and past sessions have the same form.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{BastionSession, BastionTarget};
use crate::audit::{PageKey, SessionRecord};
use crate::gateway::WebTerminalBlocker;

/// One session, open or past. Fields are named as in the audit database. Times are UTC, in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The uid of the BastionSession.
    pub session_id: String,
    /// The name of the BastionSession.
    pub name: String,
    /// The name of the BastionUser.
    pub user: String,
    /// The Kubernetes user name whose rights were checked.
    pub subject: String,
    /// The Kubernetes groups whose rights were checked.
    pub groups: Vec<String>,
    /// The name of the BastionTarget.
    pub target: String,
    /// The login name on the target.
    pub login: String,
    /// `SSH` or `Web`.
    pub protocol: String,
    /// The client's IP address.
    pub client_address: String,
    /// The client's TCP port.
    pub client_port: i32,
    /// The client's identification string, such as `SSH-2.0-OpenSSH_9.9`.
    pub client_software: Option<String>,
    /// The name of the gateway's Pod.
    pub gateway: String,
    /// `active`, `closed`, `timeout` or `terminated`.
    pub status: String,
    /// Why the session ended, in one word, such as `AdminTerminated`.
    pub reason: Option<String>,
    /// Why the session ended, in a sentence.
    pub message: Option<String>,
    /// When the session started, after the sign-in.
    pub start_time: String,
    /// The last known activity, if no gateway observed the end.
    pub last_seen_time: Option<String>,
    /// When the session ended.
    pub end_time: Option<String>,
    /// The time from start to end, in seconds.
    pub duration_seconds: Option<f64>,
    /// The exit status of the last command or shell.
    pub exit_code: Option<i64>,
    /// The signal that killed the last command or shell, without `SIG`.
    pub exit_signal: Option<String>,
    /// Bytes that the user sent to the target.
    pub bytes_in: Option<i64>,
    /// Bytes that the target sent to the user.
    pub bytes_out: Option<i64>,
    /// The Kubernetes user who ended the session.
    pub terminated_by: Option<String>,
    /// The request to end the session; absent in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// The time limits of the session; absent in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The mode, location and result of the recording.
    #[schema(value_type = Option<Object>)]
    pub recording: Option<Value>,
}

/// The time limits of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// The session ends after this many seconds without input.
    pub idle_seconds: Option<i32>,
    /// The session ends this many seconds after its start.
    pub max_seconds: Option<i32>,
}

/// A request to end a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Termination {
    /// The Kubernetes user who sent the request.
    pub requested_by: String,
    /// The reason that this user gave.
    pub reason: Option<String>,
}

impl From<&BastionSession> for Session {
    fn from(session: &BastionSession) -> Self {
        let termination = session.spec.termination.clone();
        let termination = termination.map(|it| Termination { requested_by: it.requested_by, reason: it.reason });
        let limits = session.spec.limits.unwrap_or_default();
        let limits = Limits { idle_seconds: limits.idle_seconds, max_seconds: limits.max_seconds };
        Self { termination, limits: Some(limits), ..SessionRecord::of(session).into() }
    }
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 285 years")]
        let seconds = |micros: i64| micros as f64 / 1_000_000.0;
        Self {
            session_id: record.session_id,
            name: record.name,
            user: record.user_name,
            subject: record.user_subject,
            groups: serde_json::from_str(&record.user_groups).unwrap_or_default(),
            target: record.target,
            login: record.login,
            protocol: record.protocol,
            client_address: record.client_address,
            client_port: record.client_port,
            client_software: record.client_software,
            gateway: record.gateway_name,
            status: record.status,
            reason: record.reason,
            message: record.message,
            start_time: rfc3339(record.start_time),
            last_seen_time: record.last_seen_time.map(rfc3339),
            end_time: record.end_time.map(rfc3339),
            duration_seconds: record.duration_micros.map(seconds),
            exit_code: record.exit_code,
            exit_signal: record.exit_signal,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            terminated_by: record.terminated_by,
            termination: None,
            limits: None,
            recording: record.recording.and_then(|text| serde_json::from_str(&text).ok()),
        }
    }
}

fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// One page of a list of sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// The sessions: of the cluster by name, of the history newest first.
    pub sessions: Vec<Session>,
    /// The parameter `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl SessionPage {
    /// Returns the first `limit` records as a page. Pass one record more, if there is one, to show that a page follows.
    pub fn of(mut records: Vec<SessionRecord>, limit: usize) -> Self {
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|last| write_key(&PageKey::from(last)));
        Self { sessions: records.into_iter().map(Session::from).collect(), next }
    }
}

/// Encodes the key of a page: `START_TIME.UID`.
fn write_key(key: &PageKey) -> String {
    format!("{}.{}", key.start_time, key.session_id)
}

/// Decodes a text that [`write_key`] wrote.
pub fn read_key(text: &str) -> Option<PageKey> {
    let (start_time, session_id) = text.split_once('.').filter(|(_, id)| is_uid(id))?;
    Some(PageKey { start_time: start_time.parse().ok()?, session_id: session_id.to_owned() })
}

/// Returns whether a text can be the uid of an object. The database refuses some other texts, such as invalid UTF-8.
pub fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// An SSH server that users connect to through the bastion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// The name of the BastionTarget.
    pub name: String,
    /// The target's host name or IP address; null if the caller may not list targets.
    pub address: Option<String>,
    /// The target's TCP port; null if the caller may not list targets.
    pub port: Option<i32>,
    /// The login names on the target; the first is the default.
    pub logins: Vec<String>,
    /// The target groups that the target belongs to.
    pub groups: Vec<String>,
    /// A description for people.
    pub description: Option<String>,
    /// Whether the caller may connect to the target; null if the caller has no active BastionUser.
    pub may_connect: Option<bool>,
    /// The login names that the caller may connect with.
    pub may_connect_as: Vec<String>,
    /// Why the caller may open no web terminal on the target, though an SSH client may connect; null if nothing prevents it.
    #[serde(default)]
    pub web_terminal_blocker: Option<String>,
}

/// What the caller may do on a target.
#[derive(Clone, Debug, Default)]
pub struct ConnectAccess {
    /// The login names that the caller may connect with.
    pub logins: Vec<String>,
    /// Why the caller may open no web terminal.
    pub web_terminal_blocker: Option<WebTerminalBlocker>,
}

impl Target {
    /// Converts a target. `access` is `None` if the caller has no active BastionUser.
    pub fn of(target: BastionTarget, access: Option<ConnectAccess>) -> Self {
        let spec = target.spec;
        Self {
            name: target.metadata.name.unwrap_or_default(),
            address: Some(spec.address),
            port: Some(spec.port),
            logins: spec.logins.iter().map(|login| login.as_str().to_owned()).collect(),
            groups: spec.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            description: spec.description.map(|text| text.0),
            may_connect: access.as_ref().map(|access| !access.logins.is_empty()),
            web_terminal_blocker: access.as_ref().and_then(|it| it.web_terminal_blocker).map(|it| it.to_string()),
            may_connect_as: access.unwrap_or_default().logins,
        }
    }

    /// Hides the address and the logins of others, for callers who may not list targets. Returns `None` if the caller
    /// may not connect to the target.
    pub fn without_address(self) -> Option<Self> {
        let logins = self.may_connect_as.clone();
        (self.may_connect == Some(true)).then_some(Self { address: None, port: None, logins, ..self })
    }
}

/// One page of the list of targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetPage {
    /// The targets, by name.
    pub targets: Vec<Target>,
    /// The parameter `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples::{active, ended};

    #[test]
    fn sessions_are_written_as_json() {
        let session = serde_json::to_value(Session::from(&ended("a"))).unwrap();
        assert_eq!(session["start_time"], "2026-01-02T03:04:05Z");
        assert_eq!((&session["status"], &session["duration_seconds"]), (&"closed".into(), &3600.25.into()));
        assert_eq!(session["groups"], serde_json::json!(["ops", "a \"b\""]));
        let open = serde_json::to_value(Session::from(&active("a"))).unwrap();
        assert_eq!((&open["status"], &open["end_time"]), (&"active".into(), &Value::Null));
    }

    #[test]
    fn a_page_has_the_key_of_the_next_page() {
        let records = |count: usize| vec![SessionRecord::of(&ended("u-1")); count];
        assert_eq!(SessionPage::of(records(2), 2).next, None);
        let page = SessionPage::of(records(3), 2);
        assert_eq!(page.sessions.len(), 2);
        let key = PageKey::from(&records(1)[0]);
        assert_eq!(page.next.as_deref().and_then(read_key), Some(key));
        assert_eq!(SessionPage::of(vec![], 2).next, None);
        for wrong in ["", "x", "1", "x.y", "1.", "1.é"] {
            assert_eq!(read_key(wrong), None);
        }
    }
}
