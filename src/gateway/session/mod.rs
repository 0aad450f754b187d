//! One task per session, from its object to its written end.

mod activity;
mod client;
mod object;
mod registry;
pub mod task;
pub mod watchdog;

pub use activity::{Activity, Snapshot};
pub use client::{ClientSide, Connected, GOODBYE, News, Page, Parting};
pub use object::session_name;
pub use registry::Registry;
pub use watchdog::Watchdog;
