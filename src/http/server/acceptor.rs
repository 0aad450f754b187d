//! The accept loop of an HTTP port, and its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use nix::sys::resource::{Resource, getrlimit};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::TimeoutLayer;
use tracing::warn;

use super::connection::Server;
use super::connection_table::{ConnectionTable, Eviction};
use super::limits::Limits;
use super::transport::Transport;
use crate::metrics::{HttpPort, ListenerLabels, METRICS};
use crate::open_files::OPEN_FILES;
use crate::telemetry::LogLimiter;

/// How long a request may take to be read and answered. The body of a streamed response may take longer.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest request body, in bytes. A longer one is answered with 413.
const MAX_BODY: usize = 64 * 1024;
/// How long a shutdown waits for requests in progress.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed `accept`, which mostly means that the process has no free file descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `routes` until `stop` is cancelled, then waits up to 10 s for requests in progress. WebSockets stay open.
pub async fn serve<T: Transport>(
    listener: TcpListener,
    port: HttpPort,
    transport: T,
    routes: Router,
    stop: CancellationToken,
) {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let limits = Limits::of(port).within_open_files(usize::try_from(open_files).unwrap_or(usize::MAX));
    serve_with_limits(limits, listener, port, transport, routes, stop).await;
}

pub(super) async fn serve_with_limits<T: Transport>(
    limits: Limits,
    listener: TcpListener,
    port: HttpPort,
    transport: T,
    routes: Router,
    stop: CancellationToken,
) {
    let routes = routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, RESPONSE_TIMEOUT));
    let connections = Arc::new(Mutex::new(ConnectionTable::new(limits)));
    let server = Server { port, transport, routes, connections, stop: stop.clone() };
    let tasks = TaskTracker::new();
    tokio::select! {
        () = accept(&server, &listener, &tasks) => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    tasks.close();
    let _ = timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
}

/// Accepts connections. It never waits for another connection to end.
async fn accept<T: Transport>(server: &Server<T>, listener: &TcpListener, tasks: &TaskTracker) {
    let (mut evictions, mut failures) = (LogLimiter::default(), LogLimiter::default());
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log_accept_error(server.port, &error, &mut failures);
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        OPEN_FILES.opened();
        if OPEN_FILES.are_nearly_used_up() {
            // The new connection replaces another one, so that strangers take no more files and probes get through.
            let has_replaced = server.connections().evict_one();
            server.count_closed("open_files");
            if !has_replaced && server.port != HttpPort::Probes {
                continue;
            }
        }
        let _ = stream.set_nodelay(true);
        let close = CancellationToken::new();
        let (number, evicted) = server.connections().admit(close.clone(), Instant::now());
        tasks.spawn(server.clone().run(stream, address, number, close));
        if let Some(eviction) = evicted {
            log_eviction(server, eviction, address, &mut evictions);
            // Lets the new connection read its request before it can become the oldest.
            yield_now().await;
        }
    }
}

fn log_accept_error(port: HttpPort, error: &std::io::Error, failures: &mut LogLimiter) {
    METRICS.accepts_failed.get_or_create(&ListenerLabels { listener: port.label() }).inc();
    if let Some(attempts) = failures.count(Instant::now().into_std()) {
        warn!(port = port.label(), %error, attempts, "cannot accept HTTP connections; retrying every 100 ms");
    }
}

fn log_eviction<T: Transport>(server: &Server<T>, eviction: Eviction, client: SocketAddr, evictions: &mut LogLimiter) {
    let (reason, port) = (eviction.label(), server.port.label());
    server.count_closed(reason);
    if let Some(connections) = evictions.count(Instant::now().into_std()) {
        warn!(port, reason, connections, %client, "too many HTTP connections; the oldest ones are closed");
    }
}
