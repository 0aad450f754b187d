//! What the API says of things, in JSON: the same form for a session that is open and for one of years ago.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{BastionSession, BastionTarget};
use crate::audit::{PageKey, SessionRecord};

/// One session, as it is or was; the names are those of the audit database. Times are UTC, in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The uid of the BastionSession.
    pub session_id: String,
    /// The name of the BastionSession.
    pub name: String,
    /// The name of the BastionUser.
    pub user: String,
    /// The Kubernetes user name in which rights were asked.
    pub subject: String,
    /// The groups in which rights were asked.
    pub groups: Vec<String>,
    /// The name of the BastionTarget.
    pub target: String,
    /// The login name on the target.
    pub login: String,
    /// `SSH` or `Web`.
    pub protocol: String,
    /// The IP address that the user came from.
    pub client_address: String,
    /// The TCP port that the user came from.
    pub client_port: i32,
    /// What the client said that it is.
    pub client_software: Option<String>,
    /// The gateway's Pod.
    pub gateway: String,
    /// `active`, `closed`, `timeout` or `terminated`.
    pub status: String,
    /// Why it ended, in one word.
    pub reason: Option<String>,
    /// Why it ended, in a sentence.
    pub message: Option<String>,
    /// When the user had signed in.
    pub start_time: String,
    /// The last sign of life, where nobody saw the end itself.
    pub last_seen_time: Option<String>,
    /// When it ended.
    pub end_time: Option<String>,
    /// From start to end.
    pub duration_seconds: Option<f64>,
    /// The exit status of the last command or shell.
    pub exit_code: Option<i64>,
    /// The signal that killed the last command or shell, without SIG.
    pub exit_signal: Option<String>,
    /// Bytes that the user sent to the target.
    pub bytes_in: Option<i64>,
    /// Bytes that the target sent to the user.
    pub bytes_out: Option<i64>,
    /// The Kubernetes user who asked for the end.
    pub terminated_by: Option<String>,
    /// The end that was asked for, as the cluster has it; the history does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// What ends it by itself, as the cluster has it; the history does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How and where it was recorded, and what became of it.
    #[schema(value_type = Option<Object>)]
    pub recording: Option<Value>,
}

/// What ends a session by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Seconds without input.
    pub idle_seconds: Option<i32>,
    /// Seconds since its start.
    pub max_seconds: Option<i32>,
}

/// An end that somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Termination {
    /// The Kubernetes user who asks.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<&BastionSession> for Session {
    fn from(session: &BastionSession) -> Self {
        let asked = session.spec.termination.clone();
        let termination = asked.map(|it| Termination { requested_by: it.requested_by, reason: it.reason });
        let limits = session.spec.limits.unwrap_or_default();
        let limits = Limits { idle_seconds: limits.idle_seconds, max_seconds: limits.max_seconds };
        Self { termination, limits: Some(limits), ..SessionRecord::of(session).into() }
    }
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a session does not last for 285 years")]
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
            start_time: moment(record.start_time),
            last_seen_time: record.last_seen_time.map(moment),
            end_time: record.end_time.map(moment),
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

fn moment(micros: i64) -> String {
    Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// Some of the sessions that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// Of the cluster, in the order of their names; of the history, newest first.
    pub sessions: Vec<Session>,
    /// Where the next page begins, as the parameter `after`; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl SessionPage {
    /// A page of history, of which one more was read than `limit`, to see whether there are more.
    pub fn of(mut records: Vec<SessionRecord>, limit: usize) -> Self {
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|last| write_key(&PageKey::from(last)));
        Self { sessions: records.into_iter().map(Session::from).collect(), next }
    }
}

/// The key of a page as text.
fn write_key(key: &PageKey) -> String {
    format!("{}.{}", key.start_time, key.session_id)
}

/// The key in a text that [`write_key`] wrote.
pub fn read_key(text: &str) -> Option<PageKey> {
    let (start_time, session_id) = text.split_once('.').filter(|(_, id)| is_id(id))?;
    Some(PageKey { start_time: start_time.parse().ok()?, session_id: session_id.to_owned() })
}

/// Whether something can be the uid of an object. The database has no words for what cannot.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A server that users may be let connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// The name of the BastionTarget.
    pub name: String,
    /// Its host name or address; nothing for those who may not list targets.
    pub address: Option<String>,
    /// Its port; nothing for those who may not list targets.
    pub port: Option<i32>,
    /// The logins that users may ask for; the first is the usual one.
    pub logins: Vec<String>,
    /// The groups of targets that it is in.
    pub groups: Vec<String>,
    /// What it is.
    pub description: Option<String>,
    /// Whether the caller may connect to it; nothing where no BastionUser who may sign in stands for them.
    pub may_connect: Option<bool>,
    /// The logins under which they may.
    pub may_connect_as: Vec<String>,
}

impl Target {
    /// A target, to which the caller may connect under these logins, if anybody can tell.
    pub fn of(target: BastionTarget, may_connect_as: Option<Vec<String>>) -> Self {
        let spec = target.spec;
        Self {
            name: target.metadata.name.unwrap_or_default(),
            address: Some(spec.address),
            port: Some(spec.port),
            logins: spec.logins.iter().map(|login| login.as_str().to_owned()).collect(),
            groups: spec.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            description: spec.description.map(|text| text.0),
            may_connect: may_connect_as.as_ref().map(|logins| !logins.is_empty()),
            may_connect_as: may_connect_as.unwrap_or_default(),
        }
    }

    /// For somebody who may not list targets: one that they may connect to, with what is theirs to know of it.
    pub fn without_address(self) -> Option<Self> {
        let logins = self.may_connect_as.clone();
        (self.may_connect == Some(true)).then_some(Self { address: None, port: None, logins, ..self })
    }
}

/// Targets of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetPage {
    /// In the order of their names.
    pub targets: Vec<Target>,
    /// Where the next page begins, as the parameter `after`; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples::{active, ended};

    #[test]
    fn a_session_in_json() {
        let session = serde_json::to_value(Session::from(&ended("a"))).unwrap();
        assert_eq!(session["start_time"], "2026-01-02T03:04:05Z");
        assert_eq!((&session["status"], &session["duration_seconds"]), (&"closed".into(), &3600.25.into()));
        assert_eq!(session["groups"], serde_json::json!(["ops", "a \"b\""]));
        let open = serde_json::to_value(Session::from(&active("a"))).unwrap();
        assert_eq!((&open["status"], &open["end_time"]), (&"active".into(), &Value::Null));
    }

    #[test]
    fn a_page_says_where_the_next_begins_if_there_is_one() {
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
