//! `BastionTarget`: a server that users reach through the bastion.

#![allow(clippy::duplicated_attributes, reason = "each printer column has a type")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::legacy::LegacyAlgorithm;
use super::text::{Group, HostKeyLine, Login};

/// A server that users reach through the bastion. Who may is a matter of Kubernetes RBAC: verb `connect` on
/// `bastiontargets`, on `bastiontargets/<login>`, or on `bastiontargetgroups/<group>`.
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
    derive = "PartialEq",
    doc = "A server that users reach through the bastion: its address, keys, logins, and what is allowed on it.",
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
        description = "Groups of targets that it is in"
    ),
    printcolumn(
        name = "Legacy",
        type_ = "string",
        json_path = ".spec.legacyAlgorithms",
        priority = 1,
        description = "Algorithms that are offered to it beside the modern ones"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BastionTargetSpec {
    /// Host name or IP address of the target's SSH server.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("isIP(self) || self.matches('^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*[.]?$')")
        .message("must be an IP address or a host name, without a port; the port goes into spec.port"))]
    pub address: String,
    /// TCP port of the target's SSH server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The target's host keys, as `ssh-keyscan` prints them without the host name. A line that begins with
    /// `@cert-authority ` is the key of an authority instead, whose host certificates are taken if they are valid now and
    /// have `address` among their principals, or the target's name where `address` is an IP address. Any other key is
    /// refused.
    #[schemars(length(min = 1, max = 16))]
    pub host_keys: Vec<HostKeyLine>,
    /// Login names that users may use on the target. The first is taken when the user names none.
    #[schemars(length(min = 1, max = 64))]
    pub logins: Vec<Login>,
    /// Groups of targets that this one is in, for granting `connect` on `bastiontargetgroups/<group>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub groups: Vec<Group>,
    /// What the gateway signs in to the target with.
    pub credentials: Credentials,
    /// Algorithms that are offered to this target behind the modern ones, by their names in the SSH protocol: for one that
    /// has no others and cannot be updated. Their use is logged and counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 22), extend("x-kubernetes-list-type" = "set"))]
    pub legacy_algorithms: Vec<LegacyAlgorithm>,
    /// What users may do on the target.
    #[serde(default)]
    pub allow: Allow,
    /// After how long a session on the target ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

const fn default_port() -> i32 {
    22
}

/// What users may do on a target. Whatever is not named here is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own in the API")]
pub struct Allow {
    /// An interactive shell.
    pub shell: bool,
    /// A command on the `ssh` command line, and with it rsync and git.
    pub exec: bool,
    /// The sftp subsystem, which scp uses too.
    pub sftp: bool,
    /// Connections that users make from the target: `ssh -L`, `-D` and `-W`. They lead wherever the target gets and its
    /// own sshd allows.
    pub local_forward: bool,
    /// Ports on which the target listens for users: `ssh -R`. The target's own sshd decides which.
    pub remote_forward: bool,
    /// Asking the user's agent from the target: `ssh -A`. Whoever is root on the target may then ask it too, for as long as
    /// the session lasts.
    pub agent_forward: bool,
}

impl Default for Allow {
    fn default() -> Self {
        Self { shell: true, exec: true, sftp: true, local_forward: false, remote_forward: false, agent_forward: false }
    }
}

/// After how long a session ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Seconds without input from the user after which the session ends. Output does not count as activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub idle_seconds: Option<i32>,
    /// Seconds that the session may last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_seconds: Option<i32>,
}

impl Limits {
    /// The stricter of two, limit by limit.
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
    fn of_two_limits_the_stricter_holds() {
        let limits = |idle_seconds, max_seconds| Some(Limits { idle_seconds, max_seconds });
        assert_eq!(Limits::stricter(None, None), None);
        assert_eq!(Limits::stricter(limits(Some(5), None), None), limits(Some(5), None));
        assert_eq!(Limits::stricter(None, limits(None, Some(7))), limits(None, Some(7)));
        assert_eq!(Limits::stricter(limits(Some(5), Some(9)), limits(Some(6), Some(7))), limits(Some(5), Some(7)));
        assert_eq!(Limits::stricter(limits(None, Some(9)), limits(Some(6), None)), limits(Some(6), Some(9)));
    }
}
