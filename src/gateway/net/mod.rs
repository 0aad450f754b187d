//! Accepts TCP connections: the listener, PROXY headers, and limits before authentication.

pub mod listener;
mod preauth_limits;
mod proxy_protocol;
mod rate_limit_key;
mod tcp_options;
mod tcp_stream;

pub use listener::{REJECTION_TIME, SIGN_IN_GRACE};
pub use preauth_limits::{PreauthLimits, PreauthPermit};
pub use rate_limit_key::source;
pub use tcp_stream::{Health, Socket};
