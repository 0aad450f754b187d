//! The accept loop of every HTTP port. It bounds connections, the time and memory of a request header, the time of an answer,
//! and the shutdown.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::TimeoutLayer;
use tracing::{debug, warn};

use super::connections::{Connections, Eviction, HEADER_TIMEOUT, Limits};
use super::tracked::{Answer, TrackedStream};
use crate::metrics::{HttpLabels, HttpPort, METRICS};
use crate::telemetry::LogLimiter;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The buffer of a request header, in bytes. A longer header is answered with 431.
const HEADER_BUFFER: usize = 16 * 1024;
/// How long a request may take to be read and answered; a streamed answer may take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest request body, in bytes. A longer one is answered with 413.
const MAX_BODY: usize = 64 * 1024;
/// How long requests in progress may take at a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted: the process is out of file descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns the limits of a port. A connection costs about 20 KB; 50 KB with TLS, and up to 130 KB during its handshake.
const fn limits(port: HttpPort) -> Limits {
    match port {
        HttpPort::Console => Limits { all: 1024, unfinished: 256 },
        HttpPort::Probes | HttpPort::Terminal => Limits { all: 512, unfinished: 256 },
        HttpPort::Observers => Limits { all: 256, unfinished: 64 },
    }
}

/// Turns an accepted TCP connection into the stream that carries HTTP.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What a request learns about its connection, through [`ConnectInfo`].
    type Peer: Clone + Send + Sync + 'static;

    /// Opens the stream.
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

/// Serves `routes` until `stop` is cancelled, then waits up to [`SHUTDOWN_TIMEOUT`] for requests in progress.
/// WebSockets go on.
pub async fn serve<T: Transport>(
    listener: TcpListener,
    port: HttpPort,
    transport: T,
    routes: Router,
    stop: CancellationToken,
) {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let limits = limits(port).within_open_files(usize::try_from(open_files).unwrap_or(usize::MAX));
    serve_within(limits, listener, port, transport, routes, stop).await;
}

async fn serve_within<T: Transport>(
    limits: Limits,
    listener: TcpListener,
    port: HttpPort,
    transport: T,
    routes: Router,
    stop: CancellationToken,
) {
    let routes = routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_TIMEOUT));
    let connections = Arc::new(Mutex::new(Connections::new(limits)));
    let server = Server { port, transport, routes, connections, stop: stop.clone() };
    let tasks = TaskTracker::new();
    tokio::select! {
        () = server.accept(&listener, &tasks) => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    tasks.close();
    let _ = timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
}

#[derive(Clone)]
struct Server<T> {
    port: HttpPort,
    transport: T,
    routes: Router,
    connections: Arc<Mutex<Connections>>,
    stop: CancellationToken,
}

/// Why a connection ended before it was closed in order.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the handshake took too long")]
    HandshakeTimeout(#[from] Elapsed),
    #[error("the handshake failed")]
    Handshake(#[from] io::Error),
    #[error("no complete request header came in time")]
    HeaderTimeout,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl ConnectionError {
    /// Returns the label of what a limit refused; `None` for a connection that broke by itself.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::HandshakeTimeout(_) | Self::Handshake(_) => Some("handshake"),
            Self::HeaderTimeout => Some("header_timeout"),
            Self::Http(error) if error.is_parse_too_large() => Some("header_size"),
            Self::Http(_) => None,
        }
    }

    /// Returns the error with its sources, which say what broke.
    fn describe(self) -> String {
        format!("{:#}", anyhow::Error::from(self))
    }
}

impl<T: Transport> Server<T> {
    /// Accepts connections, without ever waiting for another to end.
    async fn accept(&self, listener: &TcpListener, tasks: &TaskTracker) {
        let mut evictions = LogLimiter::default();
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(port = self.port.label(), %error, "a connection could not be accepted; trying again");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let close = CancellationToken::new();
            let (number, evicted) = self.connections().admit(close.clone(), Instant::now());
            tasks.spawn(self.clone().run(stream, address, number, close));
            if let Some(eviction) = evicted {
                self.log_eviction(eviction, address, &mut evictions);
                // Lets the new connection read its request before it can become the oldest.
                yield_now().await;
            }
        }
    }

    fn log_eviction(&self, eviction: Eviction, client: SocketAddr, evictions: &mut LogLimiter) {
        let (reason, port) = (label(eviction), self.port.label());
        self.count(reason);
        if let Some(connections) = evictions.count(Instant::now().into_std()) {
            warn!(port, reason, connections, %client, "too many HTTP connections; the oldest ones are closed");
        }
    }

    /// Serves one connection to its end, or until `close` is cancelled.
    async fn run(self, stream: TcpStream, address: SocketAddr, number: u64, close: CancellationToken) {
        let served = tokio::select! {
            biased;
            served = self.serve(stream, address, number) => served,
            () = close.cancelled() => Ok(()),
        };
        let unfinished = self.connections().remove(number);
        let Err(error) = served else { return };
        // The time-out of a connection that idles after a request is not counted.
        if let Some(reason) = error.label().filter(|reason| unfinished || *reason != "header_timeout") {
            self.count(reason);
        }
        debug!(port = self.port.label(), client = %address, error = error.describe(), "HTTP connection ended");
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, number: u64) -> Result<(), ConnectionError> {
        let (stream, peer) = timeout(HANDSHAKE_TIMEOUT, self.transport.open(stream, address)).await??;
        self.connections().opened(number, Instant::now());
        let stream = TrackedStream::new(stream, number, self.connections.clone());
        let routes = TowerToHyperService::new(self.routes.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            let in_progress = self.connections().header_complete(number);
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
            let answering = routes.call(request);
            async { answering.await.map(|answer| answer.map(|body| Answer::new(body, in_progress))) }
        });
        let mut builder = http1::Builder::new();
        // hyper's time for a header also runs between two requests.
        builder.header_read_timeout(None).max_buf_size(HEADER_BUFFER);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        tokio::select! {
            served = self.serve_in_time(number, serving.as_mut()) => served,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                self.serve_in_time(number, serving).await
            }
        }
    }

    /// Serves a connection to its end, or until a deadline of [`Connections`] has passed. A deadline only moves while
    /// `serving` is polled.
    async fn serve_in_time(
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

    fn count(&self, reason: &'static str) {
        METRICS.http_connections_closed.get_or_create(&HttpLabels { port: self.port.label(), reason }).inc();
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn label(eviction: Eviction) -> &'static str {
    match eviction {
        Eviction::All => "all",
        Eviction::Unfinished => "unfinished",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::extract::ws::WebSocketUpgrade;
    use axum::routing::{get, post};
    use futures::{SinkExt, StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio_tungstenite::client_async;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::http::connections::IDLE_TIMEOUT;

    const LIMITS: Limits = Limits { all: 4, unfinished: 2 };
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const ANSWERED: &str = "HTTP/1.1 200";
    const HALF: &[u8] = b"GET / HTTP/1.1\r\nX: ";
    /// More than the buffers of two sockets.
    const LARGE: usize = 32 * 1024 * 1024;

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Served {
        async fn start(limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
            let echo = async |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async |mut socket| {
                    while let Some(Ok(message)) = socket.recv().await {
                        let _ = socket.send(message).await;
                    }
                })
            };
            let routes = Router::new()
                .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
                .route("/", post(async |body: String| body))
                .route("/socket", get(echo))
                .route("/large", get(async || vec![b'x'; LARGE]))
                .route("/endless", get(async || Body::from_stream(stream::pending::<io::Result<Bytes>>())));
            let serving = tokio::spawn(serve_within(limits, listener, HttpPort::Probes, Plain, routes, stop.clone()));
            Self { address, stop, serving }
        }

        /// Opens a connection and sends these bytes.
        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }

        async fn stop(self) {
            self.stop.cancel();
            self.serving.await.unwrap();
        }
    }

    /// Reads until the server closes the connection, in whatever way.
    async fn read_all(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn read_status(stream: &mut TcpStream) -> String {
        let mut status = vec![0; ANSWERED.len()];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8(status).unwrap()
    }

    #[tokio::test]
    async fn requests_are_answered_and_long_ones_refused() {
        let server = Served::start(LIMITS).await;
        let stream = server.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let client = stream.local_addr().unwrap().to_string();
        let answer = read_all(stream).await;
        assert!(answer.starts_with(ANSWERED) && answer.ends_with(&client), "{answer}");
        let header = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
        let refused = read_all(server.send(format!("{header}{}", "x".repeat(100_000)).as_bytes()).await).await;
        assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_header_that_fills_the_buffer_is_refused() {
        let server = Served::start(LIMITS).await;
        let mut header = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
        header.resize(HEADER_BUFFER, b'x');
        let answer = read_all(server.send(&header).await).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        server.stop().await;
    }

    /// Reads until the server closes the connection, which takes this long.
    async fn read_for(time: Duration, stream: TcpStream) -> String {
        let begun = Instant::now();
        let read = read_all(stream).await;
        let elapsed = begun.elapsed();
        assert!(elapsed >= time && elapsed < time + Duration::from_secs(1), "{elapsed:?}");
        read
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_an_idle_connection_and_a_body_have_their_time() {
        let server = Served::start(LIMITS).await;
        for sent in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost:"] {
            assert_eq!(read_for(HEADER_TIMEOUT, server.send(sent).await).await, "");
        }
        let mut idle = server.send(GET).await;
        assert_eq!(read_status(&mut idle).await, ANSWERED);
        sleep(IDLE_TIMEOUT.mul_f32(0.9)).await;
        idle.write_all(GET).await.unwrap();
        let read = read_for(IDLE_TIMEOUT, idle).await;
        assert!(read.contains(ANSWERED), "the next request is answered: {read}");
        let mut late = server.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
        assert_eq!(read_status(&mut late).await, "HTTP/1.1 503");
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_header_has_the_time_of_the_first() {
        let server = Served::start(LIMITS).await;
        let mut stream = server.send(GET).await;
        assert_eq!(read_status(&mut stream).await, ANSWERED);
        sleep(IDLE_TIMEOUT.mul_f32(0.9)).await;
        stream.write_all(HALF).await.unwrap();
        read_for(HEADER_TIMEOUT, stream).await;
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_does_not_idle() {
        let server = Served::start(LIMITS).await;
        let mut stream = server.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(read_status(&mut stream).await, ANSWERED);
        sleep(10 * IDLE_TIMEOUT).await;
        let read = read_all(stream).await;
        assert!(read.len() > LARGE, "{}", read.len());
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_progress_outlast_a_flood_of_answered_requests() {
        let server = Served::start(Limits { all: 6, ..LIMITS }).await;
        let mut endless = server.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut large = server.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        for stream in [&mut endless, &mut large] {
            assert_eq!(read_status(stream).await, ANSWERED);
        }
        let mut held = Vec::new();
        for _ in 0..50 {
            held.push(server.send(GET).await);
            assert_eq!(read_status(held.last_mut().unwrap()).await, ANSWERED);
        }
        let mut taken = 0;
        while taken < LARGE {
            let mut part = Vec::with_capacity(1024 * 1024);
            let read = large.read_buf(&mut part).await.unwrap();
            assert_ne!(read, 0, "the answer is cut after {taken} bytes");
            taken += read;
        }
        let mut rest = Vec::new();
        let more = timeout(Duration::from_secs(1), endless.read_to_end(&mut rest)).await;
        assert!(more.is_err(), "the answer is cut");
        drop(held);
        endless.shutdown().await.unwrap();
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn later_headers_make_room_for_each_other_too() {
        let server = Served::start(Limits { all: 200, ..LIMITS }).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = server.send(GET).await;
            let mut answer = vec![0; 1024];
            while !String::from_utf8_lossy(&answer).contains("127.0.0.1:") {
                assert_ne!(stream.read(&mut answer).await.unwrap(), 0);
            }
            stream.write_all(HALF).await.unwrap();
            held.push(stream);
        }
        for stream in held.drain(..20 - LIMITS.unfinished - 1) {
            assert_eq!(read_for(Duration::ZERO, stream).await, "", "it is closed");
        }
        drop(held);
        server.stop().await;
    }

    #[tokio::test]
    async fn unfinished_headers_make_room_for_each_other_and_leave_used_connections_alone() {
        let server = Served::start(Limits { all: 200, ..LIMITS }).await;
        let mut used = server.send(GET).await;
        assert_eq!(read_status(&mut used).await, ANSWERED);
        let first = server.send(HALF).await;
        let mut held = Vec::new();
        for _ in 0..50 {
            held.push(server.send(HALF).await);
            let mut probe = server.send(GET).await;
            assert_eq!(read_status(&mut probe).await, ANSWERED);
        }
        assert_eq!(read_all(first).await, "", "it is closed");
        used.write_all(GET).await.unwrap();
        let mut rest = Vec::new();
        while !String::from_utf8_lossy(&rest).contains(ANSWERED) {
            assert_ne!(used.read_buf(&mut rest).await.unwrap(), 0, "the connection in use is closed");
        }
        drop((held, used));
        server.stop().await;
    }

    #[tokio::test]
    async fn connections_that_have_sent_a_request_are_bounded_too() {
        let server = Served::start(LIMITS).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = server.send(&[GET, b"GET / HTTP/1.1\r\nX: "].concat()).await;
            assert_eq!(read_status(&mut stream).await, ANSWERED);
            held.push(stream);
        }
        let open = LIMITS.all;
        for stream in held.drain(..20 - open) {
            read_all(stream).await;
        }
        drop(held);
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_takes_no_place_and_has_no_time_limit() {
        let server = Served::start(Limits { all: 2, unfinished: 1 }).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut socket, _) = client_async("ws://x/socket", stream).await.unwrap();
        for _ in 0..20 {
            let mut stream = server.send(GET).await;
            assert_eq!(read_status(&mut stream).await, ANSWERED);
        }
        sleep(10 * ANSWER_TIMEOUT).await;
        socket.send(Message::text("still here")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
        server.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_no_unfinished_header() {
        let server = Served::start(LIMITS).await;
        let mut held = server.send(GET).await;
        assert_eq!(read_status(&mut held).await, ANSWERED);
        let (silent, half) = (server.send(b"").await, server.send(b"GET / HT").await);
        let begun = Instant::now();
        server.stop().await;
        assert!(begun.elapsed() <= HEADER_TIMEOUT, "{:?}", begun.elapsed());
        for stream in [held, silent, half] {
            read_all(stream).await;
        }
    }

    #[test]
    fn a_failed_handshake_says_why() {
        let error = ConnectionError::from(io::Error::other("no certificate"));
        assert_eq!(error.describe(), "the handshake failed: no certificate");
    }
}
