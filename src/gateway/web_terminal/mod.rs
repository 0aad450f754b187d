//! The web terminal: sessions for pages, over a WebSocket. A bearer token or the console's sign-in cookie authenticates
//! the user.

mod connect;
mod error;
mod files;
mod flow_control;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod listener;
mod message;
mod prompt;
mod query;
mod reader;
mod server;
mod socket;
mod state;
mod writer;

pub use server::Settings;
pub(crate) use server::serve;
