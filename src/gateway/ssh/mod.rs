//! The SSH server: the connection handler, its decisions, the algorithms, and the host key.

mod accept_env;
pub mod algorithms;
pub mod banner;
mod channel_policy;
mod channels;
mod connection;
mod handler;
pub mod host_key;
mod jump_host;
mod session_link;

pub use accept_env::AcceptEnv;
pub use connection::Connection;
pub use jump_host::ResolvedTarget;
