//! The connections of web terminals, which a session can watch and cut off.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::gateway::net::{Health, Socket};
use crate::http::Transport;

/// HTTP on a [`Socket`], which can be cut off.
#[derive(Clone, Copy, Debug)]
pub struct Cancellable;

/// What a request knows of its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other side's address.
    pub address: SocketAddr,
    /// The connection's health.
    pub health: Health,
    /// Cancelling it cuts the connection off.
    pub cut: CancellationToken,
}

impl Transport for Cancellable {
    type Stream = Socket;
    type Peer = Peer;

    async fn open(&self, stream: TcpStream, address: SocketAddr) -> io::Result<(Socket, Peer)> {
        let cut = CancellationToken::new();
        let (socket, health) = Socket::new(stream, cut.clone());
        Ok((socket.without_read_ahead(), Peer { address, health, cut }))
    }
}
