//! Ends that a gateway cannot write, because it does not reach the API server. It reports them through Redis, and a controller
//! writes them.
//!
//! Each report is signed with a key of the gateway instance. The public key is in the instance's Lease, which only that gateway
//! and the controllers write, so that write access to Redis alone ends no session.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use redis::pipe;
use serde::{Deserialize, Serialize};

use super::client::{RedisClient, RedisError};
use crate::api::{ObservedBy, RecordingResult};
use crate::lifecycle::{Cause, End};

/// How long Redis keeps a report that is not repeated, in milliseconds.
const KEY_TTL_MS: u64 = 60_000;
/// The longest report, in bytes. An end with the results of 64 recordings has 12 KiB.
const MAX_REPORT: usize = 16 * 1024;
/// The length of an Ed25519 signature, in bytes.
const SIGNATURE: usize = 64;
/// The prefix of every signed text, so that no signature is valid for another purpose.
const CONTEXT: &[u8] = b"bastion.dev/reported-end\0";

/// The report of a session's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The gateway instance that reports the end.
    instance: String,
    /// The uid of the session.
    session: String,
    cause: Cause,
    time: MicroTime,
    last_seen: Option<MicroTime>,
    bytes: Option<(u64, u64)>,
    recording: Option<RecordingResult>,
}

/// Signs the reports of one gateway instance.
#[derive(Debug)]
pub struct EndSigner {
    instance: String,
    key: Ed25519KeyPair,
}

impl EndSigner {
    /// Creates a signer with a new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(instance: &str) -> Result<Self, Unspecified> {
        Ok(Self { instance: instance.to_owned(), key: Ed25519KeyPair::generate()? })
    }

    /// Returns the public key in base64.
    pub fn public_key(&self) -> String {
        BASE64_STANDARD.encode(self.key.public_key())
    }

    /// Returns the signed report that the session with this uid has ended. `None` if it is longer than [`MAX_REPORT`].
    pub fn sign(&self, uid: &str, end: &End) -> Option<Vec<u8>> {
        let report = Report {
            instance: self.instance.clone(),
            session: uid.to_owned(),
            cause: end.cause.clone(),
            time: MicroTime(end.time),
            last_seen: end.last_seen.map(MicroTime),
            bytes: end.bytes,
            recording: end.recording.clone(),
        };
        let text = serde_json::to_vec(&report).ok()?;
        let signature = self.key.sign(&signed_bytes(&text));
        Some([signature.as_ref(), &text].concat()).filter(|report| report.len() <= MAX_REPORT)
    }
}

/// The facts of a session's object that a report must agree with.
#[derive(Clone, Copy, Debug)]
pub struct ReportedSession<'a> {
    /// The uid of the object.
    pub uid: &'a str,
    /// `spec.gateway.instance`.
    pub instance: &'a str,
    /// `spec.startTime`, if it can be read.
    pub start: Option<Timestamp>,
    /// The public key in the instance's Lease.
    pub key: &'a str,
}

/// Why a report is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The signature was not made with the key in the instance's Lease.
    #[error("it is not signed by the session's gateway")]
    Signature,
    /// The report cannot be decoded. A newer gateway may have written it.
    #[error("it cannot be read")]
    Unreadable,
    /// The report is about another session, or comes from another instance.
    #[error("it is about another session")]
    OtherSession,
    /// The end is before the start of the session.
    #[error("the session had not started at that time")]
    TooEarly,
}

impl ReportError {
    /// Returns the label `cause` in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Unreadable => "unreadable",
            Self::OtherSession => "other_session",
            Self::TooEarly => "too_early",
        }
    }
}

/// Returns the end in a report, if it is signed by the gateway of `session` and agrees with it.
///
/// # Errors
/// The report is refused.
pub fn verify(report: &[u8], session: ReportedSession<'_>) -> Result<End, ReportError> {
    let (signature, text) = report.split_at_checked(SIGNATURE).ok_or(ReportError::Signature)?;
    let key = BASE64_STANDARD.decode(session.key).map_err(|_| ReportError::Signature)?;
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(&signed_bytes(text), signature).map_err(|_| ReportError::Signature)?;
    let report: Report = serde_json::from_slice(text).map_err(|_| ReportError::Unreadable)?;
    if report.session != session.uid || report.instance != session.instance {
        return Err(ReportError::OtherSession);
    }
    if session.start.is_some_and(|start| report.time.0 < start) {
        return Err(ReportError::TooEarly);
    }
    Ok(End {
        cause: report.cause,
        time: report.time.0,
        last_seen: report.last_seen.map(|time| time.0),
        observed_by: ObservedBy::Controller,
        bytes: report.bytes,
        recording: report.recording,
    })
}

/// Stores reports, each under the uid of its session.
///
/// # Errors
/// Redis failed or did not answer in time.
pub async fn write(redis: &RedisClient, reports: &[(String, Vec<u8>)]) -> Result<(), RedisError> {
    let mut set = pipe();
    for (uid, report) in reports {
        set.cmd("SET").arg(key(uid)).arg(report.as_slice()).arg("PX").arg(KEY_TTL_MS).ignore();
    }
    redis.query("report", &set).await
}

/// Reads the reports about the sessions with these uids, at most [`MAX_REPORT`] bytes of each. A missing report is empty.
///
/// # Errors
/// Redis failed or did not answer in time.
pub async fn read(redis: &RedisClient, uids: &[&str]) -> Result<Vec<Vec<u8>>, RedisError> {
    let mut get = pipe();
    for uid in uids {
        // Another writer to Redis could store a value of any length.
        get.cmd("GETRANGE").arg(key(uid)).arg(0).arg(MAX_REPORT - 1);
    }
    redis.query("reports", &get).await
}

fn signed_bytes(text: &[u8]) -> Vec<u8> {
    [CONTEXT, text].concat()
}

fn key(uid: &str) -> String {
    format!("end:{uid}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::api::RecordedChannel;
    use crate::lifecycle::{Exit, PeerSide};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn end(cause: Cause) -> End {
        End::observed(cause, at(10), (1, 2))
    }

    /// Verifies a report about the session `a` of the instance `gw-1`, which started at second `start`.
    fn verified(report: &[u8], key: &str, uid: &str, instance: &str, start: i64) -> Result<End, ReportError> {
        verify(report, ReportedSession { uid, instance, start: Some(at(start)), key })
    }

    #[rstest]
    #[case::exit(Cause::UserExit(Exit { code: Some(3), signal: Some("KILL".into()) }))]
    #[case::client_gone(Cause::ClientDisconnected { with_channels: true })]
    #[case::tab(Cause::TabClosed)]
    #[case::closed(Cause::ApiClosed { reason: None })]
    #[case::terminated(Cause::Terminated { by: "ops".into(), reason: Some("维护".into()) })]
    #[case::unreachable(Cause::TargetUnreachable { detail: "d".into(), user_message: "u".into() })]
    #[case::idle(Cause::IdleTimeout(Duration::from_mins(1)))]
    #[case::network(Cause::NetworkLost(PeerSide::Target))]
    #[case::revoked(Cause::AccessRevoked("disabled".into()))]
    #[case::cut_off(Cause::CutOff)]
    fn a_signed_end_round_trips(#[case] cause: Cause) {
        let signer = EndSigner::new("gw-1").unwrap();
        let recording =
            RecordingResult { channels: vec![RecordedChannel::default(); 64], ..RecordingResult::default() };
        let end = End { recording: Some(recording), ..end(cause) };
        let report = signer.sign("a", &end).unwrap();
        let expected = End { observed_by: ObservedBy::Controller, ..end };
        assert_eq!(verified(&report, &signer.public_key(), "a", "gw-1", 10), Ok(expected));
    }

    #[test]
    fn a_report_is_refused_that_the_object_does_not_bear_out() {
        let (signer, other) = (EndSigner::new("gw-1").unwrap(), EndSigner::new("gw-1").unwrap());
        let report = signer.sign("a", &end(Cause::TabClosed)).unwrap();
        let key = signer.public_key();
        let refusal =
            |report: &[u8], key: &str, uid, instance, start| verified(report, key, uid, instance, start).unwrap_err();
        assert_eq!(refusal(&report, &other.public_key(), "a", "gw-1", 0), ReportError::Signature, "another key");
        assert_eq!(refusal(&report, "", "a", "gw-1", 0), ReportError::Signature, "no key");
        assert_eq!(refusal(&report[..20], &key, "a", "gw-1", 0), ReportError::Signature, "cut short");
        let mut changed = report.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(refusal(&changed, &key, "a", "gw-1", 0), ReportError::Signature, "changed");
        assert_eq!(refusal(&report, &key, "b", "gw-1", 0), ReportError::OtherSession);
        assert_eq!(refusal(&report, &key, "a", "gw-2", 0), ReportError::OtherSession);
        assert_eq!(refusal(&report, &key, "a", "gw-1", 11), ReportError::TooEarly);
        let newer = br#"{"instance":"gw-1","session":"a","cause":{"type":"new"}}"#;
        let signature = signer.key.sign(&signed_bytes(newer));
        let newer = [signature.as_ref(), newer].concat();
        assert_eq!(refusal(&newer, &key, "a", "gw-1", 0), ReportError::Unreadable);
    }

    #[test]
    fn a_report_that_is_too_long_is_not_made() {
        let signer = EndSigner::new("gw-1").unwrap();
        assert_eq!(signer.sign("a", &end(Cause::AccessRevoked("x".repeat(MAX_REPORT)))), None);
    }
}
