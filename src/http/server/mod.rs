//! The server of every HTTP port: bounds connections, the time and size of requests, the time of a response, and the
//! shutdown.

mod acceptor;
mod connection;
mod connection_table;
mod limits;
mod tracked_stream;
mod transport;

pub use acceptor::serve;
pub use transport::{Plain, Tls, Transport};

#[cfg(test)]
mod tests;
