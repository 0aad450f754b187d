//! What sees sessions: channel observers, the audit log, and the server through which consoles show live terminals.
//!
//! The console of somebody with the right to it connects to the session's own gateway. Each gateway instance has a
//! certificate of its own, whose fingerprint stands in its Lease beside its address; the console shows a ServiceAccount
//! token that is good for gateways alone.

mod audit_log;
mod broadcast;
mod certificate;
mod channel_observer;
mod connection;
mod endpoint;
mod message;
mod protocol;
mod server;
mod sftp;
mod traffic;

pub use audit_log::AuditLog;
pub use broadcast::Stage;
pub use certificate::pinned;
pub use channel_observer::{Observers, Tap};
pub use endpoint::Place;
pub use message::Person;
pub use protocol::{AUDIENCE, FROM_PAGE, NAME, PATH, PROTOCOL};
pub use server::{Door, ObserveDeps, Settings};
pub use traffic::Traffic;
