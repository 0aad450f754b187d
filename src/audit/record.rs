//! A session as a row of the audit database.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;

use crate::api::{BastionSession, BastionSessionSpec, Group, Protocol, Reason, RecordingResult};

/// One session as a row of `session_records`. Times are microseconds since the epoch, UTC.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The uid of the `BastionSession`.
    pub session_id: String,
    /// The namespace of the `BastionSession`.
    pub namespace: String,
    /// The name of the `BastionSession`.
    pub name: String,
    /// The name of the `BastionUser`.
    pub user_name: String,
    /// The Kubernetes user name whose rights were checked.
    pub user_subject: String,
    /// The Kubernetes groups whose rights were checked, as a JSON array of strings.
    pub user_groups: String,
    /// The name of the `BastionTarget`.
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
    pub gateway_name: String,
    /// The gateway instance. Each start of a gateway is a new instance.
    pub gateway_instance: String,
    /// `active`, `closed`, `timeout` or `terminated`.
    pub status: String,
    /// Why the session ended, in one word.
    pub reason: Option<String>,
    /// Why the session ended, in a sentence.
    pub message: Option<String>,
    /// When the session started, after the sign-in.
    pub start_time: i64,
    /// The last known activity, if no gateway observed the end.
    pub last_seen_time: Option<i64>,
    /// When the session ended.
    pub end_time: Option<i64>,
    /// The time from start to end, in microseconds; never negative.
    pub duration_micros: Option<i64>,
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
    /// The recording as a JSON object: `mode`, `location` and the fields of `status.recording`.
    pub recording: Option<String>,
    /// Whether the session has ended. A final row never becomes active again.
    pub is_final: bool,
    /// When the `BastionSession` last changed, by the API server's clock, in whole seconds.
    pub updated_at: i64,
}

impl SessionRecord {
    /// Converts a session into a row. The same session always yields the same row.
    pub fn of(session: &BastionSession) -> Self {
        let BastionSessionSpec { user, target, login, protocol, client, gateway, start_time, .. } = &session.spec;
        let meta = &session.metadata;
        let status = session.status.clone().unwrap_or_default();
        let start_time = micros(start_time);
        let end_time = status.end_time.as_ref().map(micros);
        Self {
            // Every object of the API server has a uid, a namespace and a name.
            session_id: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            user_name: user.name.clone(),
            user_subject: user.subject.clone(),
            user_groups: user.groups.iter().map(Group::as_str).collect::<serde_json::Value>().to_string(),
            target: target.clone(),
            login: login.clone(),
            protocol: protocol_name(*protocol).to_owned(),
            client_address: client.address.clone(),
            client_port: client.port,
            client_software: client.software.clone(),
            gateway_name: gateway.name.clone(),
            gateway_instance: gateway.instance.clone(),
            status: status.phase.record_name().to_owned(),
            terminated_by: terminated_by(&session.spec, status.reason.as_deref()),
            reason: status.reason,
            message: status.message,
            start_time,
            last_seen_time: status.last_seen_time.as_ref().map(micros),
            end_time,
            duration_micros: end_time.map(|end| end.saturating_sub(start_time).max(0)),
            exit_code: status.exit_code,
            exit_signal: status.exit_signal,
            bytes_in: status.bytes_in,
            bytes_out: status.bytes_out,
            recording: recording(&session.spec, status.recording.as_ref()),
            is_final: status.phase.is_final(),
            updated_at: last_change(meta).or(end_time).unwrap_or(start_time),
        }
    }
}

fn micros(time: &MicroTime) -> i64 {
    time.0.as_microsecond()
}

const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::SSH => "SSH",
        Protocol::Web => "Web",
    }
}

/// Returns the user who requested the termination, if the session ended because of that request.
fn terminated_by(spec: &BastionSessionSpec, reason: Option<&str>) -> Option<String> {
    let requested = [Reason::AdminTerminated, Reason::ApiClosed].iter().any(|it| reason == Some(it.as_str()));
    spec.termination.as_ref().filter(|_| requested).map(|termination| termination.requested_by.clone())
}

fn recording(spec: &BastionSessionSpec, result: Option<&RecordingResult>) -> Option<String> {
    let mut recording = serde_json::to_value(spec.recording.as_ref()?).ok()?;
    if let (Some(recording), Some(Ok(Value::Object(result)))) =
        (recording.as_object_mut(), result.map(serde_json::to_value))
    {
        recording.extend(result);
    }
    Some(recording.to_string())
}

/// Returns the time of the last change by any field manager.
fn last_change(meta: &ObjectMeta) -> Option<i64> {
    let entries = meta.managed_fields.iter().flatten();
    entries.filter_map(|entry| entry.time.as_ref()).map(|time| time.0.as_microsecond()).max()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{Phase, Termination};
    use crate::audit::samples::{active, ended, session};

    /// 2026-01-02T03:04:05Z.
    const START: i64 = 1_767_323_045_000_000;
    const SECOND: i64 = 1_000_000;

    #[test]
    fn an_active_session_becomes_a_row() {
        let record = SessionRecord {
            session_id: "u1".into(),
            namespace: "bastion-system".into(),
            name: "alice-web-1-u1".into(),
            user_name: "alice".into(),
            user_subject: "bastion:alice".into(),
            user_groups: r#"["ops","a \"b\""]"#.into(),
            target: "web-1".into(),
            login: "root".into(),
            protocol: "SSH".into(),
            client_address: "192.0.2.7".into(),
            client_port: 50022,
            client_software: Some("SSH-2.0-OpenSSH_9.2".into()),
            gateway_name: "bastion-gateway-0".into(),
            gateway_instance: "bastion-gateway-0-abcdefghij".into(),
            status: "active".into(),
            reason: None,
            message: None,
            start_time: START,
            last_seen_time: None,
            end_time: None,
            duration_micros: None,
            exit_code: None,
            exit_signal: None,
            bytes_in: None,
            bytes_out: None,
            terminated_by: None,
            recording: None,
            is_final: false,
            updated_at: START + 3601 * SECOND,
        };
        assert_eq!(SessionRecord::of(&active("u1")), record);
        // A session without a status is active.
        assert_eq!(SessionRecord::of(&BastionSession { status: None, ..active("u1") }), record);
    }

    #[test]
    fn an_ended_session_becomes_a_final_row() {
        let expected = SessionRecord {
            status: "closed".into(),
            reason: Some("UserExit".into()),
            message: Some("the user left".into()),
            end_time: Some(START + 3600 * SECOND + 250_000),
            duration_micros: Some(3600 * SECOND + 250_000),
            exit_code: Some(3),
            bytes_in: Some(10),
            bytes_out: Some(20),
            is_final: true,
            ..SessionRecord::of(&active("u1"))
        };
        assert_eq!(SessionRecord::of(&ended("u1")), expected);
    }

    #[test]
    fn a_lost_session_ends_at_its_last_activity() {
        let seen = "2026-01-02T03:04:15.000001Z";
        let status = json!({ "phase": "Timeout", "reason": "GatewayLost", "lastSeenTime": seen, "endTime": seen,
            "observedBy": "Controller", "exitSignal": "KILL" });
        let record = SessionRecord::of(&session("u1", status));
        assert_eq!(record.last_seen_time, Some(START + 10_000_001));
        assert_eq!(record.end_time, record.last_seen_time);
        assert_eq!(record.duration_micros, Some(10_000_001));
        assert_eq!(record.exit_signal.as_deref(), Some("KILL"));
    }

    #[test]
    fn every_phase_has_a_status() {
        for phase in Phase::ALL {
            let record = SessionRecord::of(&session("u1", json!({ "phase": phase.as_str() })));
            assert_eq!((record.status.as_str(), record.is_final), (phase.record_name(), phase.is_final()));
        }
    }

    #[test]
    fn a_web_session_without_groups_becomes_a_row() {
        let mut session = active("u1");
        session.spec.protocol = Protocol::Web;
        session.spec.user.groups.clear();
        session.spec.client.software = None;
        let record = SessionRecord::of(&session);
        assert_eq!((record.protocol.as_str(), record.user_groups.as_str()), ("Web", "[]"));
        assert_eq!(record.client_software, None);
    }

    #[rstest]
    #[case::terminated(json!({ "phase": "Terminated", "reason": "AdminTerminated" }), Some("bob"))]
    #[case::closed_by_its_user(json!({ "phase": "Closed", "reason": "ApiClosed" }), Some("bob"))]
    #[case::ended_for_another_reason(json!({ "phase": "Closed", "reason": "UserExit" }), None)]
    #[case::still_active(json!({ "phase": "Active" }), None)]
    fn terminated_by_names_the_requester(#[case] status: Value, #[case] expected: Option<&str>) {
        let mut session = session("u1", status);
        session.spec.termination = Some(Termination { requested_by: "bob".into(), reason: None, via: None });
        assert_eq!(SessionRecord::of(&session).terminated_by.as_deref(), expected);
        // `kubectl delete` leaves no user name.
        session.spec.termination = None;
        assert_eq!(SessionRecord::of(&session).terminated_by, None);
    }

    #[test]
    fn a_row_has_the_recording() {
        let mut session = session(
            "u1",
            json!({ "phase": "Closed", "reason": "UserExit", "recording": { "state": "Complete", "bytes": 7,
                "channels": [{ "number": 1, "bytes": 7, "sha256": "00ff" }] } }),
        );
        session.spec.recording = serde_json::from_value(json!({ "mode": "Required", "location": "s3://b/s" })).unwrap();
        let recording = SessionRecord::of(&session).recording.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        let expected = json!({ "mode": "Required", "location": "s3://b/s", "state": "Complete", "bytes": 7,
            "channels": [{ "number": 1, "bytes": 7, "sha256": "00ff" }] });
        assert_eq!(recording, Some(expected));
        // After a gateway died, the status has no recording, but the row still has its location.
        session.status = None;
        let recording = SessionRecord::of(&session).recording;
        assert_eq!(recording.as_deref(), Some(r#"{"location":"s3://b/s","mode":"Required"}"#));
    }

    #[test]
    fn a_duration_is_never_negative() {
        let status = json!({ "phase": "Closed", "reason": "UserExit", "endTime": "2020-01-01T00:00:00.000000Z" });
        assert_eq!(SessionRecord::of(&session("u1", status)).duration_micros, Some(0));
    }

    #[test]
    fn without_managed_fields_the_last_change_is_the_end() {
        let updated_at = |mut session: BastionSession| {
            session.metadata.managed_fields = None;
            SessionRecord::of(&session).updated_at
        };
        assert_eq!(updated_at(active("u1")), START);
        assert_eq!(updated_at(ended("u1")), START + 3600 * SECOND + 250_000);
    }
}
