//! The connections of web terminals, whose health a session observes, and which it can cut.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::gateway::net::{AbortableStream, ConnectionHealth};
use crate::http::Transport;

/// HTTP over a [`AbortableStream`] that can be cut.
#[derive(Clone, Copy, Debug)]
pub struct CancellableTransport;

/// The connection of a request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the client, or of the proxy before it.
    pub address: SocketAddr,
    /// The TCP health of the connection.
    pub health: ConnectionHealth,
    /// Cancelled to cut the connection.
    pub cut: CancellationToken,
}

impl Transport for CancellableTransport {
    type Stream = AbortableStream;
    type Peer = Peer;

    async fn open(&self, stream: TcpStream, address: SocketAddr) -> io::Result<(AbortableStream, Peer)> {
        let cut = CancellationToken::new();
        let (socket, health) = AbortableStream::new(stream, cut.clone());
        Ok((socket.without_read_ahead(), Peer { address, health, cut }))
    }
}
