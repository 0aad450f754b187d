use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::{get, post};
use futures::{SinkExt, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::acceptor::{RESPONSE_TIMEOUT, serve_with_limits};
use super::connection::{ConnectionError, HEADER_BUFFER};
use super::connection_table::{HEADER_TIMEOUT, IDLE_TIMEOUT};
use super::limits::Limits;
use super::*;
use crate::metrics::HttpPort;

const LIMITS: Limits = Limits { all: 4, unfinished: 2 };
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_STATUS: &str = "HTTP/1.1 200";
const HALF: &[u8] = b"GET / HTTP/1.1\r\nX: ";
/// More than the buffers of two sockets.
const LARGE: usize = 32 * 1024 * 1024;

struct TestServer {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl TestServer {
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
        let serving = tokio::spawn(serve_with_limits(limits, listener, HttpPort::Probes, Plain, routes, stop.clone()));
        Self { address, stop, serving }
    }

    /// Connects and sends these bytes.
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

/// Reads until the server closes or resets the connection.
async fn read_all(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

async fn read_status(stream: &mut TcpStream) -> String {
    let mut status = vec![0; OK_STATUS.len()];
    stream.read_exact(&mut status).await.unwrap();
    String::from_utf8(status).unwrap()
}

#[tokio::test]
async fn requests_are_answered_and_long_ones_refused() {
    let server = TestServer::start(LIMITS).await;
    let stream = server.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let client = stream.local_addr().unwrap().to_string();
    let response = read_all(stream).await;
    assert!(response.starts_with(OK_STATUS) && response.ends_with(&client), "{response}");
    let header = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
    let refused = read_all(server.send(format!("{header}{}", "x".repeat(100_000)).as_bytes()).await).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_fills_the_buffer_is_refused() {
    let server = TestServer::start(LIMITS).await;
    let mut header = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    header.resize(HEADER_BUFFER, b'x');
    let response = read_all(server.send(&header).await).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
    server.stop().await;
}

/// Reads until the server closes the connection, and asserts that this takes `time`.
async fn read_for(time: Duration, stream: TcpStream) -> String {
    let started = Instant::now();
    let read = read_all(stream).await;
    let elapsed = started.elapsed();
    assert!(elapsed >= time && elapsed < time + Duration::from_secs(1), "{elapsed:?}");
    read
}

#[tokio::test(start_paused = true)]
async fn headers_idle_connections_and_bodies_time_out() {
    let server = TestServer::start(LIMITS).await;
    for sent in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost:"] {
        assert_eq!(read_for(HEADER_TIMEOUT, server.send(sent).await).await, "");
    }
    let mut idle = server.send(GET).await;
    assert_eq!(read_status(&mut idle).await, OK_STATUS);
    sleep(IDLE_TIMEOUT.mul_f32(0.9)).await;
    idle.write_all(GET).await.unwrap();
    let read = read_for(IDLE_TIMEOUT, idle).await;
    assert!(read.contains(OK_STATUS), "the next request is answered: {read}");
    let mut late = server.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(read_status(&mut late).await, "HTTP/1.1 503");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_later_header_times_out_like_the_first() {
    let server = TestServer::start(LIMITS).await;
    let mut stream = server.send(GET).await;
    assert_eq!(read_status(&mut stream).await, OK_STATUS);
    sleep(IDLE_TIMEOUT.mul_f32(0.9)).await;
    stream.write_all(HALF).await.unwrap();
    read_for(HEADER_TIMEOUT, stream).await;
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unread_response_does_not_count_as_idle() {
    let server = TestServer::start(LIMITS).await;
    let mut stream = server.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(read_status(&mut stream).await, OK_STATUS);
    sleep(10 * IDLE_TIMEOUT).await;
    let read = read_all(stream).await;
    assert!(read.len() > LARGE, "{}", read.len());
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn responses_in_progress_outlast_a_flood_of_answered_requests() {
    let server = TestServer::start(Limits { all: 6, ..LIMITS }).await;
    let mut endless = server.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut large = server.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for stream in [&mut endless, &mut large] {
        assert_eq!(read_status(stream).await, OK_STATUS);
    }
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(server.send(GET).await);
        assert_eq!(read_status(held.last_mut().unwrap()).await, OK_STATUS);
    }
    let mut taken = 0;
    while taken < LARGE {
        let mut part = Vec::with_capacity(1024 * 1024);
        let read = large.read_buf(&mut part).await.unwrap();
        assert_ne!(read, 0, "the response ends after {taken} bytes");
        taken += read;
    }
    let mut rest = Vec::new();
    let more = timeout(Duration::from_secs(1), endless.read_to_end(&mut rest)).await;
    assert!(more.is_err(), "the response ends");
    drop(held);
    endless.shutdown().await.unwrap();
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn later_incomplete_headers_are_evicted_too() {
    let server = TestServer::start(Limits { all: 200, ..LIMITS }).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = server.send(GET).await;
        let mut response = vec![0; 1024];
        while !String::from_utf8_lossy(&response).contains("127.0.0.1:") {
            assert_ne!(stream.read(&mut response).await.unwrap(), 0);
        }
        stream.write_all(HALF).await.unwrap();
        held.push(stream);
    }
    for stream in held.drain(..20 - LIMITS.unfinished - 1) {
        assert_eq!(read_for(Duration::ZERO, stream).await, "", "the server closes it");
    }
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_headers_evict_each_other_and_not_connections_in_use() {
    let server = TestServer::start(Limits { all: 200, ..LIMITS }).await;
    let mut used = server.send(GET).await;
    assert_eq!(read_status(&mut used).await, OK_STATUS);
    let first = server.send(HALF).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(server.send(HALF).await);
        let mut probe = server.send(GET).await;
        assert_eq!(read_status(&mut probe).await, OK_STATUS);
    }
    assert_eq!(read_all(first).await, "", "the server closes it");
    used.write_all(GET).await.unwrap();
    let mut rest = Vec::new();
    while !String::from_utf8_lossy(&rest).contains(OK_STATUS) {
        assert_ne!(used.read_buf(&mut rest).await.unwrap(), 0, "the connection in use is closed");
    }
    drop((held, used));
    server.stop().await;
}

#[tokio::test]
async fn connections_with_answered_requests_are_limited_too() {
    let server = TestServer::start(LIMITS).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = server.send(&[GET, b"GET / HTTP/1.1\r\nX: "].concat()).await;
        assert_eq!(read_status(&mut stream).await, OK_STATUS);
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
async fn a_websocket_does_not_count_and_has_no_timeout() {
    let server = TestServer::start(Limits { all: 2, unfinished: 1 }).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut socket, _) = client_async("ws://x/socket", stream).await.unwrap();
    for _ in 0..20 {
        let mut stream = server.send(GET).await;
        assert_eq!(read_status(&mut stream).await, OK_STATUS);
    }
    sleep(10 * RESPONSE_TIMEOUT).await;
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_incomplete_headers() {
    let server = TestServer::start(LIMITS).await;
    let mut held = server.send(GET).await;
    assert_eq!(read_status(&mut held).await, OK_STATUS);
    let (silent, half) = (server.send(b"").await, server.send(b"GET / HT").await);
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() <= HEADER_TIMEOUT, "{:?}", started.elapsed());
    for stream in [held, silent, half] {
        read_all(stream).await;
    }
}

#[test]
fn a_failed_handshake_names_its_source() {
    let error = ConnectionError::from(io::Error::other("no certificate"));
    assert_eq!(error.describe(), "the handshake failed: no certificate");
}
