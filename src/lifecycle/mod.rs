//! The life of a session as pure functions: they do no I/O, and callers pass in the time.

mod credentials;
mod decide;
mod election;
mod end;
mod failure_detector;
mod fence;
mod limits;
mod network;
mod pods;
mod requested_end;
mod target_watch;
mod timeouts;

pub use credentials::CredentialWatch;
pub use decide::{Action, InstanceState, Situation, decide, decide_active};
pub use election::{Election, ElectionStep, LEADER_LEASE_DURATION, LEADER_RENEW_DEADLINE, LEADER_RETRY_PERIOD};
pub use end::{Cause, End, Exit, PeerSide};
pub use failure_detector::{FailureDetector, LeaseVersion, ObservedLease};
pub use fence::Fence;
pub use limits::{LimitWatch, Verdict};
pub use network::{NetworkWatch, TcpHealth, TcpPath};
pub use pods::{GatewayContainer, Pods};
pub use requested_end::{requested_end, termination_cause};
pub use target_watch::{TargetConnections, TargetWatch};
pub use timeouts::*;
