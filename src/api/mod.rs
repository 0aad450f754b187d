//! The Kubernetes API of the bastion: the custom resources of `bastion.dev/v1alpha1`, and names that programs share.

mod crds;
mod credentials;
mod legacy;
mod names;
mod phase;
mod session;
mod target;
mod text;
mod user;
mod validated;

pub use crds::{crds, crds_yaml};
pub use credentials::{Credentials, PasswordKeyRef, SecretKeyRef};
pub use legacy::LegacyAlgorithm;
pub use names::{
    AUDIT_FINALIZER, CONDITION_ENDED, CONDITION_VALID, CONNECT_VERB, END_KEY_ANNOTATION, GATEWAY_SERVICE, GROUP,
    HOST_KEY_ALIAS, KNOWN_HOSTS, KNOWN_HOSTS_CONFIG_MAP, LEADER_LEASE, LEASE_LABEL, LEASE_OF_AUDIT,
    LEASE_OF_CONTROLLER, LEASE_OF_GATEWAY, LOST_HOLDER, POD_UID_ANNOTATION, RECORDED_AT_ANNOTATION, VOUCHED_ANNOTATION,
    credentials_namespace,
};
pub use phase::{Phase, Reason};
pub use session::{
    BastionSession, BastionSessionSpec, BastionSessionStatus, Client, Gateway, MAX_REASON, ObservedBy, Protocol,
    RecordedChannel, RecordingResult, RecordingState, SessionRecordingPlan, Termination, User,
};
pub use target::{Allow, BastionTarget, BastionTargetSpec, BastionTargetStatus, Limits, RecordingMode};
pub use text::{Group, HostKeyLine, KeyLine, Line, Login, UserKeyLine};
pub use user::{BastionUser, BastionUserSpec, BastionUserStatus, Factor, SecretValueRef};
pub use validated::Validated;
