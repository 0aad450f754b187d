//! Accepts TCP connections and serves SSH on each.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use ipnet::IpNet;
use russh::keys::ssh_key::PrivateKey;
use russh::server::{Config, run_stream};
use russh::{ChannelControl, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, warn};

use super::preauth_limits::{MAX_PREAUTH_CONNECTIONS, PreauthLimitError, PreauthLimits, PreauthPermit};
use super::proxy_protocol::{self, ProxyHeaderError};
use super::tcp_stream::AbortableStream;
use crate::addresses::contains;
use crate::gateway::bridge::INITIAL_WINDOW;
use crate::gateway::ssh::{Connection, algorithms};
use crate::gateway::state::Gateway;
use crate::lifecycle::{KEEPALIVE_INTERVAL, TcpPath};
use crate::metrics::{ListenerLabels, METRICS, RefusalLabels};
use crate::open_files::OPEN_FILES;
use crate::tasks::panic_message;
use crate::telemetry::LogLimiter;

/// How long the identification exchange may take, and how long the client may then take until it has a session. Compare
/// `LoginGraceTime` of sshd.
pub const LOGIN_GRACE_TIME: Duration = Duration::from_mins(1);
/// The delay before the answer to a failed authentication attempt. It is the same for every reason.
pub const AUTH_REJECTION_DELAY: Duration = Duration::from_secs(1);
/// The delay after a failed `accept`, which mostly means that file descriptors have run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts connections until `stop` is cancelled. Connections from `load_balancers` must begin with a PROXY protocol header.
pub async fn run(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    config: Config,
    mut limits: PreauthLimits,
    load_balancers: Vec<IpNet>,
    stop: CancellationToken,
) {
    let config = Arc::new(config);
    let mut proxied = FuturesUnordered::new();
    let (mut limit_log, mut header_log, mut accept_log) =
        (LogLimiter::default(), LogLimiter::default(), LogLimiter::default());
    loop {
        let (stream, client, path) = tokio::select! {
            accepted = listener.accept(), if proxied.len() < MAX_PREAUTH_CONNECTIONS => match accepted {
                Ok((stream, peer)) if is_last_file() => {
                    turn_away(&stream, peer, PreauthLimitError::OpenFiles, &mut limit_log);
                    continue;
                }
                Ok((stream, peer)) if contains(&load_balancers, peer.ip()) => {
                    proxied.push(read_proxy_header(stream, peer));
                    continue;
                }
                Ok((stream, peer)) => (stream, peer, gateway.tcp_paths.to_client(peer.ip())),
                Err(error) => {
                    report_accept_error(&error, &mut accept_log);
                    sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            },
            Some(read) = proxied.next() => match read {
                Ok((stream, client)) => (stream, client, TcpPath::Proxied),
                Err((load_balancer, error)) => {
                    report_header_error(load_balancer, &error, &mut header_log);
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        match limits.admit(client.ip()) {
            Ok(permit) => spawn_connection(gateway.clone(), config.clone(), (stream, path), client, permit),
            Err(error) => turn_away(&stream, client, error, &mut limit_log),
        }
    }
}

/// Counts an accepted connection. Returns whether the connection must be turned away, because nearly all open files are used.
fn is_last_file() -> bool {
    OPEN_FILES.opened();
    OPEN_FILES.are_nearly_used_up()
}

fn report_accept_error(error: &std::io::Error, log: &mut LogLimiter) {
    METRICS.accepts_failed.get_or_create(&ListenerLabels { listener: "ssh" }).inc();
    if let Some(attempts) = log.count(Instant::now()) {
        let retry_ms = ACCEPT_RETRY_DELAY.as_millis();
        warn!(%error, attempts, "cannot accept SSH connections; retrying every {retry_ms} ms");
    }
}

/// Reads the client's address from a load balancer's header.
async fn read_proxy_header(
    mut stream: TcpStream,
    load_balancer: SocketAddr,
) -> Result<(TcpStream, SocketAddr), (SocketAddr, ProxyHeaderError)> {
    match proxy_protocol::read(&mut stream, load_balancer).await {
        Ok(client) => Ok((stream, client)),
        Err(error) => Err((load_balancer, error)),
    }
}

fn report_header_error(load_balancer: SocketAddr, error: &ProxyHeaderError, log: &mut LogLimiter) {
    METRICS.connections_refused.get_or_create(&RefusalLabels { reason: "proxy_header" }).inc();
    if let Some(connections) = log.count(Instant::now()) {
        warn!(%load_balancer, %error, connections, "connections are turned away: the load balancer sent no client address");
    }
}

/// Serves a connection in a task of its own. After the connection's end, publishes an Event of its last refusal.
fn spawn_connection(
    gateway: Arc<Gateway>,
    config: Arc<Config>,
    stream: (TcpStream, TcpPath),
    peer: SocketAddr,
    permit: PreauthPermit,
) {
    let abort = CancellationToken::new();
    let closed = CancellationToken::new();
    let connection = Connection::new(gateway.clone(), peer, closed.clone(), abort.clone(), Some(permit));
    let (last_refusal, span) = (connection.last_refusal(), connection.span());
    let served = AssertUnwindSafe(Box::pin(serve(config, stream, connection, abort))).catch_unwind();
    let connection = async move {
        if let Err(panic) = served.await {
            error!(panic = panic_message(&*panic), "the connection's task has panicked; the connection is closed");
        }
        // The connection's session, if it has one, waits for this.
        closed.cancel();
        let refusal = last_refusal.lock().take();
        if let Some((user, reason)) = refusal {
            gateway.refusals.publish(user, peer, &reason);
        }
    };
    tokio::spawn(connection.instrument(span));
}

/// Writes the reason to the client without waiting, and closes the connection.
fn turn_away(stream: &TcpStream, peer: SocketAddr, error: PreauthLimitError, log: &mut LogLimiter) {
    let reason = error.label();
    METRICS.connections_refused.get_or_create(&RefusalLabels { reason }).inc();
    if let Some(connections) = log.count(Instant::now()) {
        warn!(client = %peer, reason, connections, "SSH connections are turned away");
    }
    let _ = stream.try_write(format!("{error}\r\n").as_bytes());
}

/// Serves one connection to its end.
async fn serve(
    config: Arc<Config>,
    (stream, path): (TcpStream, TcpPath),
    mut connection: Connection,
    abort: CancellationToken,
) {
    let signed_in = connection.signed_in();
    let _ = stream.set_nodelay(true);
    let (stream, health) = AbortableStream::new(stream, abort.clone());
    connection.watch_health(health.with_path(path));
    METRICS.connections_pending.inc();
    let started = timeout(LOGIN_GRACE_TIME, run_stream(config, stream, connection)).await;
    let ended = match started {
        Ok(Ok(mut running)) => {
            let before_session = tokio::select! {
                ended = &mut running => Some(ended),
                () = signed_in.cancelled() => None,
                () = sleep(LOGIN_GRACE_TIME) => {
                    debug!("no session within {} s; closing the connection", LOGIN_GRACE_TIME.as_secs());
                    abort.cancel();
                    None
                }
            };
            METRICS.connections_pending.dec();
            match before_session {
                Some(ended) => ended,
                None => running.await,
            }
        }
        Ok(Err(error)) => {
            METRICS.connections_pending.dec();
            Err(error)
        }
        Err(_) => {
            METRICS.connections_pending.dec();
            return;
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

/// Returns the configuration of the SSH library. Keys are exchanged again after `rekey_time` at the latest.
pub fn config(host_key: PrivateKey, rekey_time: Duration) -> Config {
    Config {
        limits: algorithms::rekey_limits(rekey_time),
        server_id: algorithms::identification(),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![host_key],
        preferred: algorithms::preferred(algorithms::all_signatures()),
        window_size: INITIAL_WINDOW,
        channel_control: ChannelControl::Application,
        auth_rejection_time: AUTH_REJECTION_DELAY,
        // OpenSSH begins with the method `none` to list the others; that is not an attempt.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 6,
        // The session task decides when a session is idle.
        inactivity_timeout: None,
        // Keepalives are sent without a limit: the session task decides when a peer is lost.
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: 0,
        ..Config::default()
    }
}
