//! Accepts TCP connections: the listener, PROXY headers, and limits before authentication.

mod connection_span;
pub mod listener;
mod preauth_limits;
mod proxy_protocol;
mod tcp_options;
mod tcp_paths;
mod tcp_stream;

pub use connection_span::connection_span;
pub use listener::{AUTH_REJECTION_DELAY, LOGIN_GRACE_TIME};
pub use preauth_limits::{PreauthLimits, PreauthPermit};
#[cfg(fuzzing)]
pub use proxy_protocol::read as read_proxy_header;
pub use tcp_paths::TcpPaths;
pub use tcp_stream::{AbortableStream, ConnectionHealth};
