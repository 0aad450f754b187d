//! One task per session, from its object to its written end.

mod activity;
mod client;
mod object;
mod registry;
pub mod task;
pub mod watchdog;

pub use activity::{Activity, Snapshot};
pub use client::{ClientEvent, ClientSide, CloseReason, Connected, GOODBYE, Page};
pub use object::session_name;
pub use registry::Registry;
pub use watchdog::Watchdog;
