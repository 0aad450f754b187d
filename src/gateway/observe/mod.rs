//! Observes sessions: channel observers, the audit log, and the server through which consoles show live terminals.
//!
//! The console of a user with the right to observe connects to the session's own gateway: see [`crate::http::internal`].

mod audit_log;
mod broadcast;
mod channel_observer;
mod connection;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod message;
mod protocol;
mod server;
mod sftp;
mod traffic;

pub use audit_log::AuditLog;
pub use broadcast::Broadcast;
pub use channel_observer::{ChannelObserver, Observers};
pub use protocol::{MAX_PAGE_MESSAGE, SESSIONS_PATH, SUBPROTOCOL};
pub use server::{ObserveDeps, ObserverServer};
#[cfg(fuzzing)]
pub use sftp::{Operation, SftpParser};
pub use traffic::Traffic;
