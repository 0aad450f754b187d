//! Serves HTTP/1.1 to whoever connects, within bounds: strangers can hold neither the program's memory nor its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::TimeoutLayer;
use tracing::{debug, warn};

/// How many connections there may be; who comes then waits.
const MOST_CONNECTIONS: usize = 4096;
/// How long a connection may take for the head of a request, and how long it may rest between two.
const HEAD: Duration = Duration::from_secs(30);
/// How long a request may take to be read and answered; an answer that is a stream takes what it takes.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a request may be.
const LONGEST_BODY: usize = 64 * 1024;
/// How long what is going on may take to end.
const PARTING: Duration = Duration::from_secs(10);

/// Serves `routes`, over TLS where that is set up, until `stop` is cancelled, and what is going on then for a moment more.
pub async fn serve(listener: TcpListener, routes: Router, tls: Option<Arc<ServerConfig>>, stop: CancellationToken) {
    let routes = routes
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER));
    let (places, connections) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), TaskTracker::new());
    let accepting = async {
        // Nobody closes the semaphore.
        while let Ok(place) = places.clone().acquire_owned().await {
            let (routes, tls, stop) = (routes.clone(), tls.clone(), stop.clone());
            let stream = accept(&listener).await;
            connections.spawn(async move {
                match tls {
                    Some(tls) => over_tls(stream, tls, routes, stop).await,
                    None => connection(stream, routes, stop).await,
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    connections.close();
    let _ = timeout(PARTING, connections.wait()).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                // Out of file descriptors, as a rule: it passes when connections end.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn over_tls(stream: TcpStream, tls: Arc<ServerConfig>, routes: Router, stop: CancellationToken) {
    match timeout(HEAD, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, routes, stop).await,
        Ok(Err(error)) => debug!(%error, "a connection broke off"),
        Err(_) => debug!("a connection did not come to speak TLS in time"),
    }
}

async fn connection<S>(stream: S, routes: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(routes);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn served() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = Router::new().route("/", get(async || "here")).route("/", post(async |body: String| body));
        (address, stop.clone(), tokio::spawn(serve(listener, routes, None, stop)))
    }

    async fn answer(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn requests_are_answered_and_long_ones_refused() {
        let (address, stop, serving) = served().await;
        let here = answer(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(here.starts_with("HTTP/1.1 200") && here.ends_with("here"), "{here}");
        let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
        let refused = answer(address, &format!("{head}{}", "x".repeat(100_000))).await;
        assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_of_something_is_left() {
        let (address, stop, serving) = served().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let mut said = vec![];
        slow.read_to_end(&mut said).await.unwrap();
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        let mut said = vec![0; 12];
        late.read_exact(&mut said).await.unwrap();
        assert_eq!(said, b"HTTP/1.1 503");
        let _held = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        serving.await.unwrap();
    }
}
