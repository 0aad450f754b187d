//! Observes sessions: channel observers, the audit log, and the server through which consoles show live terminals.
//!
//! The console of a user with the right to observe connects to the session's own gateway. Each gateway instance
//! generates a certificate, and publishes its fingerprint and address in its Lease. The console authenticates with a
//! ServiceAccount token whose audience is the gateways.

mod audit_log;
mod broadcast;
mod certificate;
mod channel_observer;
mod connection;
mod endpoint;
mod error;
mod message;
mod protocol;
mod server;
mod sftp;
mod traffic;

pub use audit_log::AuditLog;
pub use broadcast::Broadcast;
pub use certificate::pinned_client_config;
pub use channel_observer::{ChannelObserver, Observers};
pub use endpoint::Endpoint;
pub use message::ImpersonatedUser;
pub use protocol::{MAX_PAGE_MESSAGE, SERVER_NAME, SESSIONS_PATH, SUBPROTOCOL, TOKEN_AUDIENCE};
pub use server::{ObserveDeps, ObserverServer, Settings};
pub use traffic::Traffic;
