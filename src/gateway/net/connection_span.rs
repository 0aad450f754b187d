//! The tracing span of one client connection: it puts the client's address on every log line of authentication.

use std::net::SocketAddr;

use tracing::{Span, error_span};

/// Returns the span of a connection. Its level is the highest, so that a filter by level that passes a log line has the span too.
pub fn connection_span(client: SocketAddr) -> Span {
    error_span!("connection", %client)
}
