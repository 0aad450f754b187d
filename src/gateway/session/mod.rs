//! One task per session, from its object to its written end. `Session::handle` in `task.rs` lists what ends a running session.

mod activity;
mod channel_ends;
mod channels;
mod client;
mod closing;
mod deadlines;
mod dial_queue;
mod incoming_queue;
mod memory;
mod object;
mod registry;
#[cfg(test)]
pub mod samples;
mod span;
mod target_links;
pub mod task;
pub mod watchdog;

pub use activity::{Activity, ActivitySnapshot};
pub use client::{ClientConnection, ClientEvent, ClientSide, CloseReason, DISCONNECT_TIMEOUT, WebPage};
pub use memory::NO_CHANNEL_MEMORY;
pub use object::session_name;
pub use registry::Registry;
pub use watchdog::Watchdog;
