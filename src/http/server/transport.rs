//! The transport of HTTP: TCP, or TLS over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Turns an accepted TCP connection into the stream that carries HTTP.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The stream that carries HTTP.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The description of the connection that handlers extract with [`ConnectInfo`](axum::extract::ConnectInfo).
    type Peer: Clone + Send + Sync + 'static;

    /// Performs the handshake of the transport, if it has one.
    fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

/// HTTP without TLS.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn open(&self, stream: TcpStream, address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        Ok((stream, address))
    }
}

/// HTTP over TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Returns the transport that presents the certificate of `config`.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(config.into())
    }
}

impl Transport for Tls {
    type Stream = TlsStream<TcpStream>;
    type Peer = SocketAddr;

    async fn open(&self, stream: TcpStream, address: SocketAddr) -> io::Result<(Self::Stream, SocketAddr)> {
        Ok((self.0.accept(stream).await?, address))
    }
}
