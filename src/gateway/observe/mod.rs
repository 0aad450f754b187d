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
pub use broadcast::Broadcast;
pub use certificate::pinned;
pub use channel_observer::{ChannelObserver, Observers};
pub use endpoint::Endpoint;
pub use message::ImpersonatedUser;
pub use protocol::{AUDIENCE, FROM_PAGE, NAME, PATH, PROTOCOL};
pub use server::{ObserveDeps, ObserverServer, Settings};
pub use traffic::Traffic;
