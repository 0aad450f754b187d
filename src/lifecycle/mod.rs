//! The life of a session as pure functions: no I/O, and every moment is passed in.

mod decide;
mod election;
mod end;
mod failure_detector;
mod fence;
mod limits;
mod network;
mod pods;
mod target_watch;
mod timeouts;

pub use decide::{Action, InstanceState, Situation, asked_to_end, attend, cause_of_request, decide, is_on_record};
pub use election::{CAMPAIGN_EVERY, Election, LEAD_FOR, Move, TAKE_AFTER};
pub use end::{Cause, End, Exit, PeerSide};
pub use failure_detector::{FailureDetector, LeaseSeen, Suspect};
pub use fence::Fence;
pub use limits::{LimitWatch, Verdict};
pub use network::{NetworkWatch, TcpHealth};
pub use pods::{Container, Pods};
pub use target_watch::{TargetConnections, TargetWatch};
pub use timeouts::*;
