//! `BastionSession`: one authenticated connection of a user to a target, from its start to its end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::AUDIT_FINALIZER;
use super::phase::Phase;
use super::target::{Limits, RecordingMode};
use super::text::{Group, one_line, time_pattern};
use crate::text::printable_up_to;

/// One SSH session of a user on a target. A gateway creates it when a user has signed in, and ends it when the connection
/// ends. A controller ends it when the gateway is lost. Users set only `spec.termination`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "bastion.dev",
    version = "v1alpha1",
    kind = "BastionSession",
    plural = "bastionsessions",
    shortname = "bsess",
    category = "bastion",
    namespaced,
    status = "BastionSessionStatus",
    derive = "PartialEq",
    doc = "One SSH session of a user on a target, with its start, its end and the reason of its end.",
    selectable = ".spec.user.name",
    selectable = ".spec.user.subject",
    selectable = ".spec.target",
    selectable = ".spec.gateway.instance",
    selectable = ".status.phase",
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user.name", description = "The BastionUser"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target", description = "The BastionTarget"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Active, Closed, Timeout or Terminated"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", description = "The reason of its end"),
    printcolumn(name = "Login", type_ = "string", json_path = ".spec.login", priority = 1, description = "The login name on the target"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.client.address", priority = 1, description = "The client's IP address"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway.name", priority = 1, description = "The gateway Pod that carries it"),
    printcolumn(name = "Ended", type_ = "date", json_path = ".status.endTime", priority = 1, description = "Time since its end"),
    printcolumn(name = "Age", type_ = "date", json_path = ".spec.startTime", description = "Time since its start"),
    validation = Rule::new("!has(self.spec.termination) || has(oldSelf.spec.termination) || !has(oldSelf.status) || oldSelf.status.phase == 'Active'")
        .message("this session has already ended; there is nothing to terminate")
        .field_path(".spec.termination"),
    validation = Rule::new(ENDS_ARE_FINAL)
        .message("this session has ended; how and when it ended is final")
        .field_path(".status"),
    validation = Rule::new(ENDS_AFTER_ITS_START)
        .message("a session cannot end before it starts")
        .field_path(".status.endTime")
)]
#[x_kube(
    validation = Rule::new(SPEC_IS_FINAL).message("the spec of a session is final; only spec.termination can be set"),
    validation = Rule::new("!has(oldSelf.termination) || (has(self.termination) && self.termination == oldSelf.termination)")
        .message("a termination can be requested only once, and cannot be withdrawn")
        .field_path(".termination")
)]
pub struct BastionSessionSpec {
    /// The user who signed in.
    pub user: User,
    /// The name of the BastionTarget that the session is on.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub target: String,
    /// The login name on the target.
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = one_line()))]
    pub login: String,
    /// The protocol between the client and the gateway.
    pub protocol: Protocol,
    /// The user's client.
    pub client: Client,
    /// The gateway that carries the session.
    pub gateway: Gateway,
    /// When the session started, after the user had signed in, by the gateway's clock.
    pub start_time: MicroTime,
    /// The limits of this session: the stricter of the target's and the user's limits at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How the session is recorded. Absent if the target asks for no recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<SessionRecordingPlan>,
    /// A request to end the session. It can be set once, and only while the session is Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
}

/// The CEL rule that no field of the spec changes, except `termination`. It compares field by field, because
/// `optional == optional` exceeds the API server's CEL cost budget.
const SPEC_IS_FINAL: &str = "self.user == oldSelf.user && self.target == oldSelf.target && self.login == oldSelf.login \
    && self.protocol == oldSelf.protocol && self.client == oldSelf.client && self.gateway == oldSelf.gateway \
    && self.startTime == oldSelf.startTime && has(self.limits) == has(oldSelf.limits) \
    && (!has(self.limits) || self.limits == oldSelf.limits) && has(self.recording) == has(oldSelf.recording) \
    && (!has(self.recording) || self.recording == oldSelf.recording)";

/// The CEL rule that a session's end never changes. It must be at the root of the schema. The API server skips a transition
/// rule on `.status` if the old or the new object has no status, so a patch to `{"status": null}` would reopen the session.
const ENDS_ARE_FINAL: &str = "!has(oldSelf.status) || oldSelf.status.phase == 'Active' || (has(self.status) \
    && self.status.phase == oldSelf.status.phase \
    && has(self.status.reason) == has(oldSelf.status.reason) && (!has(self.status.reason) || self.status.reason == oldSelf.status.reason) \
    && has(self.status.message) == has(oldSelf.status.message) && (!has(self.status.message) || self.status.message == oldSelf.status.message) \
    && has(self.status.endTime) == has(oldSelf.status.endTime) && (!has(self.status.endTime) || self.status.endTime == oldSelf.status.endTime) \
    && has(self.status.observedBy) == has(oldSelf.status.observedBy) && (!has(self.status.observedBy) || self.status.observedBy == oldSelf.status.observedBy) \
    && has(self.status.exitCode) == has(oldSelf.status.exitCode) && (!has(self.status.exitCode) || self.status.exitCode == oldSelf.status.exitCode))";

/// The CEL rule that no session ends before its start. It ignores an invalid start time, which an older schema may have
/// accepted, so that such a session can still end.
const ENDS_AFTER_ITS_START: &str = concat!(
    "!has(self.status) || !has(self.status.endTime) || !self.spec.startTime.matches('^",
    time_pattern!(),
    "$') || timestamp(self.status.endTime) >= timestamp(self.spec.startTime)"
);

/// The user of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The name of the BastionUser.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub name: String,
    /// The Kubernetes user name whose RBAC rights the session has.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub subject: String,
    /// The groups whose RBAC rights the user has too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub groups: Vec<Group>,
}

/// The protocol between the client and the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// An SSH client.
    SSH,
    /// The web terminal in a browser.
    Web,
}

/// The user's client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The client's IP address.
    #[schemars(length(max = 45), extend("x-kubernetes-validations" = one_line()))]
    pub address: String,
    /// The client's TCP port.
    #[schemars(range(min = 0, max = 65535))]
    pub port: i32,
    /// The client's identification string, such as `SSH-2.0-OpenSSH_9.2`.
    // It has no rule for control characters: the gateway makes it printable. A gateway of an older version does not, and its
    // sessions must not be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub software: Option<String>,
}

/// The gateway that carries a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The name of the gateway's Pod.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub name: String,
    /// The gateway instance: one run of the gateway's process. It is also the name of the Lease that the instance renews.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub instance: String,
}

/// How a session is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecordingPlan {
    /// The target's recording mode at the session's start.
    pub mode: RecordingMode,
    /// The folder of the session's recordings. It exists once something was recorded; docs/recordings.md lists its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = one_line()))]
    pub location: Option<String>,
}

/// The longest `spec.termination.reason`, in characters.
pub const MAX_REASON: usize = 512;

/// A request to end a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// Your own Kubernetes user name, as `kubectl auth whoami` prints it.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = one_line()))]
    pub requested_by: String,
    /// Why the session should end. The session's user sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_REASON), extend("x-kubernetes-validations" = one_line()))]
    pub reason: Option<String>,
    /// The program that made the request for you. Absent for `kubectl` and other clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

impl Termination {
    /// Returns a text as a reason that the schema accepts: one printable line of at most [`MAX_REASON`] characters. `None` if
    /// the text has no printable character.
    pub fn reason_of(text: &str) -> Option<String> {
        Some(printable_up_to(text, MAX_REASON)).filter(|reason| !reason.is_empty())
    }
}

/// A program that requests terminations for its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Via {
    /// The bastion's console. It has authenticated the user and checked their right.
    Console,
}

/// The state of a session, and how it ended.
// The texts have no rule for control characters: an end must not be refused for its text, even if a program of an older
// version wrote it. `Cause::message` and `SessionWriter` make the texts printable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.phase == 'Active' || (has(self.reason) && has(self.endTime))")
        .message("an ended session needs a reason and an endTime")
)]
pub struct BastionSessionStatus {
    /// The phase: Active while the session runs. Closed, Timeout and Terminated are final.
    #[serde(default)]
    pub phase: Phase,
    /// The reason of the end, in one word. docs/reference.md lists all reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The reason of the end, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The last sign of life of the gateway. Set only if no program saw the end itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_time: Option<MicroTime>,
    /// When the session ended, by the gateway's clock. If no program saw the end, this is the gateway's last sign
    /// of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
    /// The program that reported the end: the session's gateway, or a controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_by: Option<ObservedBy>,
    /// The exit status of the last shell or command. Absent if a signal killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that killed the last shell or command, without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub exit_signal: Option<String>,
    /// Bytes that the user sent to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes_in: Option<i64>,
    /// Bytes that the target sent to the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes_out: Option<i64>,
    /// The result of the session's recordings. Absent if nothing was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingResult>,
    /// The condition `Ended` is True once the phase is final. `kubectl wait --for=condition=Ended` waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub conditions: Option<Vec<Condition>>,
}

/// The result of a session's recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingResult {
    /// Whether the recordings are complete.
    pub state: RecordingState,
    /// Why the recordings are not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// The total size of the recordings, in bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// The recordings: one for each shell or command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub channels: Vec<RecordedChannel>,
}

/// The recording of one shell or command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedChannel {
    /// The recording's number, from 1. It is the name of its folder at `spec.recording.location`.
    #[schemars(range(min = 1))]
    pub number: i32,
    /// The size of the stored recording, in bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// The SHA-256 of the stored recording, in hexadecimal digits.
    #[schemars(length(max = 64))]
    pub sha256: String,
}

/// Whether a session's recordings are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordingState {
    /// Parts were still being stored when the session's end was written. The state changes to `Complete` or `Failed` within
    /// seconds, unless the gateway dies first.
    #[default]
    Unfinished,
    /// All parts are stored.
    Complete,
    /// Parts are missing.
    Failed,
}

/// The program that reported a session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObservedBy {
    /// The gateway that carried the session.
    Gateway,
    /// A controller, because the gateway could not report it.
    Controller,
}

impl BastionSession {
    /// Returns the phase. A session without a status is Active.
    pub fn phase(&self) -> Phase {
        self.status.as_ref().map_or(Phase::Active, |status| status.phase)
    }

    /// Returns whether the audit database has the session's final record: the audit finalizer is gone.
    pub fn is_in_audit_database(&self) -> bool {
        !self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == AUDIT_FINALIZER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_form_that_the_schema_accepts() {
        assert_eq!(Termination::reason_of(" two\nlines\u{9b}2J\u{fffe} ").as_deref(), Some("two lines2J"));
        assert_eq!(
            Termination::reason_of(&"\u{f6}".repeat(600)).map(|reason| reason.chars().count()),
            Some(MAX_REASON)
        );
        assert_eq!(Termination::reason_of("\n\u{1b}"), None);
    }
}
