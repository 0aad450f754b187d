//! The tracing span of one client connection. It adds the client's address to every log line of the connection.

use std::net::SocketAddr;

use tracing::{Span, error_span};

/// Returns the span of a connection. The span has the level of errors, so that a filter that passes a log line also passes the
/// span.
pub fn connection_span(client: SocketAddr) -> Span {
    error_span!("connection", %client)
}
