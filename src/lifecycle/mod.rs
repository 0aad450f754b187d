//! The life of a session as pure functions: they do no I/O, and callers pass in the time.

mod controller_decision;
mod credentials;
mod election;
mod end;
mod failure_detector;
mod fence;
mod idle_and_time_limits;
mod network;
mod pods;
mod requested_end;
mod target_lost;
mod timeouts;

pub use controller_decision::{Action, InstanceState, Situation, decide, decide_active};
pub use credentials::CredentialWatch;
pub use election::{Election, ElectionStep, LEADER_LEASE_DURATION, LEADER_RENEW_DEADLINE, LEADER_RETRY_PERIOD};
pub use end::{Cause, End, Exit, PeerSide};
pub use failure_detector::{FailureDetector, LeaseVersion, ObservedLease};
pub use fence::Fence;
pub use idle_and_time_limits::{LimitWatch, Verdict};
pub use network::{NetworkWatch, TcpHealth, TcpPath};
pub use pods::{GatewayContainer, Pods};
pub use requested_end::{requested_end, termination_cause};
pub use target_lost::{TargetConnections, TargetWatch};
pub use timeouts::*;
