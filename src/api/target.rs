//! `BastionTarget`: a server that users reach through the bastion.

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::legacy::LegacyAlgorithm;
use super::text::{Group, HostKeyLine, Line, Login};
use super::validated::Validated;

/// A server that users reach through the bastion. A user needs the RBAC verb `connect` on `bastiontargets`, on
/// `bastiontargets/<login>`, or on `bastiontargetgroups/<group>`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "bastion.dev",
    version = "v1alpha1",
    kind = "BastionTarget",
    plural = "bastiontargets",
    shortname = "btgt",
    category = "bastion",
    namespaced,
    status = "BastionTargetStatus",
    derive = "PartialEq",
    doc = "A server that users reach through the bastion: its address, host keys, logins, and what users may do on it.",
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".spec.address",
        description = "Host name or IP address"
    ),
    printcolumn(
        name = "Port",
        type_ = "integer",
        json_path = ".spec.port",
        description = "TCP port of its SSH server"
    ),
    printcolumn(
        name = "Logins",
        type_ = "string",
        json_path = ".spec.logins",
        description = "Login names that may be used"
    ),
    printcolumn(
        name = "Groups",
        type_ = "string",
        json_path = ".spec.groups",
        priority = 1,
        description = "Target groups that it belongs to"
    ),
    printcolumn(
        name = "Description",
        type_ = "string",
        json_path = ".spec.description",
        priority = 1,
        description = "One line about the target"
    ),
    printcolumn(
        name = "Legacy",
        type_ = "string",
        json_path = ".spec.legacyAlgorithms",
        priority = 1,
        description = "Legacy algorithms that are offered to it"
    ),
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Valid')].status",
        priority = 1,
        description = "False if a gateway cannot read it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BastionTargetSpec {
    /// One line about the target. The menu shows it, and its search finds the target by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Line>,
    /// Host name or IP address of the target's SSH server.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("isIP(self) || self.matches('^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*[.]?$')")
        .message("must be an IP address or a host name, without a port; the port goes into spec.port"))]
    pub address: String,
    /// TCP port of the target's SSH server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The target's host keys, as `ssh-keyscan` prints them, but without the host name. The gateway refuses any other key. A
    /// line that begins with `@cert-authority ` is the key of a certificate authority. Its host certificates are accepted if
    /// they are valid now and name `address` as a principal. If `address` is an IP address, they must name the target.
    #[schemars(length(min = 1, max = 16))]
    pub host_keys: Vec<HostKeyLine>,
    /// Login names that users may use on the target. The first is the default.
    #[schemars(length(min = 1, max = 64))]
    pub logins: Vec<Login>,
    /// The groups that the target belongs to. RBAC grants `connect` on `bastiontargetgroups/<group>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub groups: Vec<Group>,
    /// The credentials with which the gateway signs in to the target.
    pub credentials: Credentials,
    /// Legacy algorithms that are offered to this target after the modern ones, by their names in the SSH protocol. Use them
    /// only for a target that supports no modern algorithm and cannot be updated. Their use is logged and counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 22), extend("x-kubernetes-list-type" = "set"))]
    pub legacy_algorithms: Vec<LegacyAlgorithm>,
    /// What users may do on the target.
    #[serde(default)]
    pub allow: Allow,
    /// Whether terminal output of sessions on the target is recorded. Input is not recorded, except for its echo.
    #[serde(default)]
    pub recording: RecordingMode,
    /// Time limits of sessions on the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The status of a BastionTarget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BastionTargetStatus {
    /// The condition `Valid` is False while a gateway cannot read the target, and True once it can again. While it is False,
    /// nobody can connect to the target. The message names the field. A target that could always be read has no condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

impl Validated for BastionTarget {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

const fn default_port() -> i32 {
    22
}

/// What users may do on a target. The gateway refuses everything that is not listed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own in the API")]
pub struct Allow {
    /// An interactive shell.
    pub shell: bool,
    /// A command on the `ssh` command line. rsync and git need it.
    pub exec: bool,
    /// The sftp subsystem. scp needs it.
    pub sftp: bool,
    /// Connections through the target: `ssh -L`, `-D` and `-W`. The target's network and its sshd limit the destinations.
    pub local_forward: bool,
    /// Listening ports on the target that lead to the user: `ssh -R`. The target's sshd limits the ports.
    pub remote_forward: bool,
    /// Use of the user's SSH agent on the target: `ssh -A`. While the session lasts, root on the target can use it too.
    pub agent_forward: bool,
    /// Web terminals. A user signs in there without a key, so `verify-required`, `command=` and `no-pty` of the user's keys have
    /// no effect. If absent, only users without such restrictions may open web terminals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<bool>,
}

impl Allow {
    /// What a target without `spec.allow` allows.
    pub const DEFAULT: Self = Self {
        shell: true,
        exec: true,
        sftp: true,
        local_forward: false,
        remote_forward: false,
        agent_forward: false,
        web: None,
    };
}

impl Default for Allow {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether shells and commands with a terminal are recorded. Commands without a terminal and sftp are not recorded. The audit
/// log lists those commands, and the files that were read, written or changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordingMode {
    /// Nothing is recorded.
    #[default]
    Off,
    /// Sessions are recorded. A session continues if its recording fails.
    BestEffort,
    /// Sessions are recorded. A session whose recording fails is refused or ended.
    Required,
}

/// The time limits of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Seconds without input from the user after which the session ends. Output does not count as activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub idle_seconds: Option<i32>,
    /// Seconds after which the session ends, counted from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_seconds: Option<i32>,
}

impl Limits {
    /// Returns the stricter of two limits, field by field.
    pub fn stricter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
        let least = |one: Option<i32>, other: Option<i32>| one.into_iter().chain(other).min();
        Some(Self {
            idle_seconds: least(one.idle_seconds, other.idle_seconds),
            max_seconds: least(one.max_seconds, other.max_seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_limits_holds() {
        let limits = |idle_seconds, max_seconds| Some(Limits { idle_seconds, max_seconds });
        assert_eq!(Limits::stricter(None, None), None);
        assert_eq!(Limits::stricter(limits(Some(5), None), None), limits(Some(5), None));
        assert_eq!(Limits::stricter(None, limits(None, Some(7))), limits(None, Some(7)));
        assert_eq!(Limits::stricter(limits(Some(5), Some(9)), limits(Some(6), Some(7))), limits(Some(5), Some(7)));
        assert_eq!(Limits::stricter(limits(None, Some(9)), limits(Some(6), None)), limits(Some(6), Some(9)));
    }
}
