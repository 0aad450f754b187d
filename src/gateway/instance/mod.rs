//! The life of one gateway instance: its Lease, its session watch, its Redis heartbeat, and pauses of the process.

pub mod activity_publisher;
mod comparison;
mod current;
mod end_reports;
mod lifetime;
mod pause_detector;
pub mod previous_process;
mod redis_heartbeat;
mod run;
mod session_watch;
mod stale;

pub use current::CurrentInstance;
pub use end_reports::EndReports;
pub use lifetime::{Instance, InstanceConfig};
pub use pause_detector::PauseDetector;
pub use run::{run, start};
