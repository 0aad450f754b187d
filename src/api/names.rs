//! Names that the programs share: groups, verbs, labels, annotations, well-known objects.

/// The API group of every custom resource and virtual resource of the bastion.
pub const GROUP: &str = "bastion.dev";

/// The finalizer of a session, removed once the audit database has its final record.
pub const AUDIT_FINALIZER: &str = "bastion.dev/audit";
/// The annotation of a session with the time at which the audit database had the session's final record, in RFC 3339. It is
/// written together with the removal of [`AUDIT_FINALIZER`]. The retention counts from this time.
pub const RECORDED_AT_ANNOTATION: &str = "bastion.dev/recorded-at";

/// The type of the condition of a session that has ended. The condition has the reason and message of the status.
pub const CONDITION_ENDED: &str = "Ended";

/// The condition type of a user or target that a gateway cannot read, or could not read before.
pub const CONDITION_VALID: &str = "Valid";

/// The RBAC verb that allows a user to open a session.
pub const CONNECT_VERB: &str = "connect";

/// The label of a Lease that says which program renews the Lease: [`LEASE_OF_GATEWAY`], [`LEASE_OF_CONTROLLER`] or
/// [`LEASE_OF_AUDIT`].
pub const LEASE_LABEL: &str = "bastion.dev/lease-of";
/// The label value of a gateway instance's Lease.
pub const LEASE_OF_GATEWAY: &str = "gateway";
/// The label value of a controller's own Lease, with which it tests its watch.
pub const LEASE_OF_CONTROLLER: &str = "controller";
/// The label value of an audit program's own Lease, with the address where it serves the history.
pub const LEASE_OF_AUDIT: &str = "audit";
/// The name of the Lease that the leading audit program holds.
pub const LEADER_LEASE: &str = "bastion-audit";

/// The annotation of a gateway instance's Lease with the uid of its Pod.
pub const POD_UID_ANNOTATION: &str = "bastion.dev/pod-uid";
/// The annotation of a gateway instance's Lease with the public key that verifies the ends which the instance reports through
/// Redis: an Ed25519 key in base64. The private key is only in the memory of the gateway.
pub const END_KEY_ANNOTATION: &str = "bastion.dev/end-key";
/// The annotation of a gateway instance's Lease with the time at which a controller last vouched for the instance, because it
/// saw the instance's heartbeats in Redis.
pub const VOUCHED_ANNOTATION: &str = "bastion.dev/vouched";

/// The holder of a gateway instance's Lease after a controller has declared the instance lost.
pub const LOST_HOLDER: &str = "lost";

/// The name of the Service through which clients reach the gateways.
pub const GATEWAY_SERVICE: &str = "bastion-gateway";
/// The `HostKeyAlias` under which clients store the gateways' host key, whatever address they connect to.
pub const HOST_KEY_ALIAS: &str = "bastion-gateway";
/// The name of the ConfigMap in which the gateways publish their host key.
pub const KNOWN_HOSTS_CONFIG_MAP: &str = "bastion-known-hosts";
/// The key in [`KNOWN_HOSTS_CONFIG_MAP`] that holds a line for a known_hosts file.
pub const KNOWN_HOSTS: &str = "known_hosts";

/// Returns the name of the namespace with the Secrets of targets and users. `namespace` is the bastion's own.
pub fn credentials_namespace(namespace: &str) -> String {
    format!("{namespace}-credentials")
}
