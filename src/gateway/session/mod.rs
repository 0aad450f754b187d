//! One task per session, which creates the session's object and writes its end. `end_events.rs` lists the events that end a
//! running session.

mod activity;
mod carry_out_end;
mod channel_kind;
mod channels;
mod client;
mod deadlines;
mod dial_queue;
mod end_events;
mod exit_or_disconnect;
mod incoming_queue;
mod memory;
mod object;
mod registry;
#[cfg(test)]
pub mod samples;
mod span;
mod target_channels;
mod target_links;
pub mod task;
pub mod watchdog;

pub use activity::{Activity, ActivitySnapshot};
pub use channel_kind::{MAX_SESSION_CHANNELS, session_channels_notice};
pub use client::{ClientConnection, ClientEvent, ClientSide, CloseReason, DISCONNECT_TIMEOUT, WebPage};
pub use memory::NO_CHANNEL_MEMORY;
pub use object::session_name;
pub use registry::Registry;
pub use watchdog::Watchdog;
