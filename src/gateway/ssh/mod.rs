//! The SSH server's side: the handler of the library's callbacks, the algorithms offered, the host key.

mod accept_env;
pub mod algorithms;
pub mod banner;
mod handler;
pub mod host_key;
mod jump_host;

pub use accept_env::AcceptEnv;
pub use handler::Connection;
pub use jump_host::ResolvedTarget;
