//! The life of one gateway instance: its Lease, its session watch, its Redis heartbeat, and pauses of the process.

pub mod activity_publisher;
mod current;
mod lifetime;
pub mod orphan_cleanup;
mod pause_detector;
mod redis_heartbeat;
mod run;
mod session_watch;

pub use current::CurrentInstance;
pub use lifetime::{Instance, InstanceConfig};
pub use pause_detector::PauseDetector;
pub use run::{run, start};
