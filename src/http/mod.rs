//! What all HTTP servers share: one accept loop with its limits, and the port for probes and metrics.

mod connections;
mod probes;
mod server;
mod tracked;

pub use probes::{Ready, serve_probes};
pub use server::{Plain, Port, REASONS, Tls, Transport, serve};
