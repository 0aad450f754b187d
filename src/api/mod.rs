//! The Kubernetes API of the bastion: group `bastion.dev`, version `v1alpha1`.

mod crds;
mod credentials;
mod legacy;
mod phase;
mod session;
mod target;
mod text;
mod user;

pub use crds::{crds, crds_yaml};
pub use credentials::{Credentials, PasswordKeyRef, SecretKeyRef};
pub use legacy::LegacyAlgorithm;
pub use phase::{Phase, Reason};
pub use session::{
    BastionSession, BastionSessionSpec, BastionSessionStatus, Client, Gateway, MAX_REASON, ObservedBy, Protocol,
    RecordedChannel, RecordingResult, RecordingState, SessionRecordingPlan, Termination, User,
};
pub use target::{Allow, BastionTarget, BastionTargetSpec, Limits, RecordingMode};
pub use text::{Group, HostKeyLine, KeyLine, Line, Login, UserKeyLine};
pub use user::{BastionUser, BastionUserSpec, Factor, SecretValueRef};

/// The API group of every custom resource and virtual resource of the bastion.
pub const GROUP: &str = "bastion.dev";

/// Held by a session until its record is in the audit database.
pub const AUDIT_FINALIZER: &str = "bastion.dev/audit";

/// The condition of a session that has ended; its reason and message are the session's own.
pub const CONDITION_ENDED: &str = "Ended";

/// The verb that lets a person open a session, asked of Kubernetes RBAC.
pub const CONNECT_VERB: &str = "connect";

/// Labels a Lease of the bastion with the program that renews it: [`LEASE_OF_GATEWAY`] or [`LEASE_OF_CONTROLLER`].
pub const LEASE_LABEL: &str = "bastion.dev/lease-of";
/// The Lease of one gateway instance.
pub const LEASE_OF_GATEWAY: &str = "gateway";
/// The Lease by which a controller checks that its own watch works.
pub const LEASE_OF_CONTROLLER: &str = "controller";
/// The Lease that the leading controller holds.
pub const LEADER_LEASE: &str = "bastion-controller";

/// On the Lease of a gateway instance: the uid of its Pod.
pub const POD_UID_ANNOTATION: &str = "bastion.dev/pod-uid";
/// On an instance's Lease: when a controller last vouched for the instance, which it hears through Redis.
pub const VOUCHED_ANNOTATION: &str = "bastion.dev/vouched";

/// The holder of a gateway instance's Lease once a controller has declared the instance lost.
pub const LOST_HOLDER: &str = "lost";

/// The Service through which clients reach the gateways.
pub const GATEWAY_SERVICE: &str = "bastion-gateway";
/// The name by which clients know the gateways' host key, wherever they reach them.
pub const HOST_KEY_ALIAS: &str = "bastion-gateway";
/// The ConfigMap in which the gateways publish their host key.
pub const KNOWN_HOSTS_CONFIG_MAP: &str = "bastion-known-hosts";
/// The key in it of the line for a known_hosts file.
pub const KNOWN_HOSTS: &str = "known_hosts";

/// Secrets that targets refer to live in this namespace, beside the bastion's own.
pub fn credentials_namespace(namespace: &str) -> String {
    format!("{namespace}-credentials")
}
