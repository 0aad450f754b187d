//! Serves one connection: handshake, requests, and the deadlines of request headers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connection_table::{ConnectionTable, HEADER_TIMEOUT};
use super::tracked_stream::{TrackedBody, TrackedStream};
use super::transport::Transport;
use crate::metrics::{HttpLabels, HttpPort, METRICS};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The buffer of a request header, in bytes. A longer header is answered with 431.
pub(super) const HEADER_BUFFER: usize = 16 * 1024;

/// The state that all connections of a port share.
#[derive(Clone)]
pub struct Server<T> {
    /// The port, as a metric label.
    pub port: HttpPort,
    /// The transport of HTTP.
    pub transport: T,
    /// The handlers.
    pub routes: Router,
    /// The open connections.
    pub connections: Arc<Mutex<ConnectionTable>>,
    /// Cancelled at a shutdown.
    pub stop: CancellationToken,
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The handshake did not finish within [`HANDSHAKE_TIMEOUT`].
    #[error("the handshake took too long")]
    HandshakeTimeout(#[from] Elapsed),
    /// The handshake failed.
    #[error("the handshake failed")]
    Handshake(#[from] io::Error),
    /// A deadline of [`ConnectionTable::deadline`] passed.
    #[error("no complete request header arrived in time")]
    HeaderTimeout,
    /// The client broke HTTP, or the connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl ConnectionError {
    /// Returns the metric label of the limit that closed the connection; `None` if the connection broke by itself.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::HandshakeTimeout(_) | Self::Handshake(_) => Some("handshake"),
            Self::HeaderTimeout => Some("header_timeout"),
            Self::Http(error) if error.is_parse_too_large() => Some("header_size"),
            Self::Http(_) => None,
        }
    }

    /// Returns the error and its sources in one line.
    pub fn describe(self) -> String {
        format!("{:#}", anyhow::Error::from(self))
    }
}

impl<T: Transport> Server<T> {
    /// Serves one connection to its end, or until `close` is cancelled.
    pub async fn run(self, stream: TcpStream, address: SocketAddr, number: u64, close: CancellationToken) {
        let served = tokio::select! {
            biased;
            served = self.serve(stream, address, number) => served,
            () = close.cancelled() => Ok(()),
        };
        let unfinished = self.connections().remove(number);
        let Err(error) = served else { return };
        // A connection that times out while idle has broken no limit.
        if let Some(reason) = error.label().filter(|reason| unfinished || *reason != "header_timeout") {
            self.count_closed(reason);
        }
        debug!(port = self.port.label(), client = %address, error = error.describe(), "HTTP connection ended");
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, number: u64) -> Result<(), ConnectionError> {
        let (stream, peer) = timeout(HANDSHAKE_TIMEOUT, self.transport.open(stream, address)).await??;
        self.connections().handshake_complete(number, Instant::now());
        let stream = TrackedStream::new(stream, number, self.connections.clone());
        let routes = TowerToHyperService::new(self.routes.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            let in_progress = self.connections().header_complete(number);
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
            let responding = routes.call(request);
            async { responding.await.map(|response| response.map(|body| TrackedBody::new(body, in_progress))) }
        });
        let mut builder = http1::Builder::new();
        // hyper's header timeout also runs between two requests; `serve_until_deadline` replaces it.
        builder.header_read_timeout(None).max_buf_size(HEADER_BUFFER);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        tokio::select! {
            served = self.serve_until_deadline(number, serving.as_mut()) => served,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                self.serve_until_deadline(number, serving).await
            }
        }
    }

    /// Serves a connection to its end, or until its [`ConnectionTable::deadline`] passes. The deadline changes only
    /// while `serving` is polled, so that it is read after each poll.
    async fn serve_until_deadline(
        &self,
        number: u64,
        mut serving: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    ) -> Result<(), ConnectionError> {
        let mut expiry = pin!(sleep(HEADER_TIMEOUT));
        poll_fn(|context| {
            if let Poll::Ready(served) = serving.as_mut().poll(context) {
                return Poll::Ready(Ok(served?));
            }
            let Some(deadline) = self.connections().deadline(number) else { return Poll::Pending };
            if expiry.deadline() != deadline {
                expiry.as_mut().reset(deadline);
            }
            expiry.as_mut().poll(context).map(|()| Err(ConnectionError::HeaderTimeout))
        })
        .await
    }

    /// Increments `bastion_http_connections_closed_total` for `reason`, one of [`crate::metrics::HTTP_CLOSE_REASONS`].
    pub fn count_closed(&self, reason: &'static str) {
        METRICS.http_connections_closed.get_or_create(&HttpLabels { port: self.port.label(), reason }).inc();
    }

    /// Locks the open connections.
    pub fn connections(&self) -> MutexGuard<'_, ConnectionTable> {
        self.connections.lock()
    }
}
