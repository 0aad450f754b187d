//! The front door: it accepts TCP connections and gives each to the SSH library.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ipnet::IpNet;
use russh::keys::ssh_key::PrivateKey;
use russh::server::{Config, run_stream};
use russh::{ChannelControl, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::preauth_limits::{PreauthLimits, PreauthPermit, TooMany};
use super::proxy_protocol::ProxyHeaderError;
use super::tcp_stream::Socket;
use super::{preauth_limits, proxy_protocol};
use crate::gateway::bridge::WINDOW;
use crate::gateway::ssh::{Connection, algorithms};
use crate::gateway::state::Gateway;
use crate::lifecycle::KEEPALIVE_EVERY;
use crate::metrics::{METRICS, RefusalLabels};
use crate::telemetry::LogLimiter;

/// How long a connection has to sign in.
pub const SIGN_IN_GRACE: Duration = Duration::from_mins(1);
/// What one failed attempt costs, whatever was wrong with it.
pub const REJECTION_TIME: Duration = Duration::from_secs(1);

/// Accepts connections until `stop` is cancelled. Those from `load_balancers` say first where they come from.
pub async fn run(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    config: Config,
    mut limits: PreauthLimits,
    load_balancers: &[IpNet],
    stop: CancellationToken,
) {
    let config = Arc::new(config);
    let mut introductions = FuturesUnordered::new();
    let (mut turned_away, mut unintroduced) = (LogLimiter::default(), LogLimiter::default());
    loop {
        let (stream, client) = tokio::select! {
            accepted = listener.accept(), if introductions.len() < preauth_limits::MOST => match accepted {
                Ok((stream, peer)) if proxy_protocol::is_load_balancer(load_balancers, peer) => {
                    introductions.push(introduce(stream, peer));
                    continue;
                }
                Ok(arrived) => arrived,
                Err(error) => {
                    // Out of file descriptors, as a rule: it passes when connections end.
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(introduced) = introductions.next() => match introduced {
                Ok(arrived) => arrived,
                Err((load_balancer, error)) => {
                    complain(load_balancer, &error, &mut unintroduced);
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        match limits.admit(client.ip()) {
            Ok(startup) => begin(gateway.clone(), config.clone(), stream, client, startup),
            Err(too_many) => turn_away(&stream, client, too_many, &mut turned_away),
        }
    }
}

/// Has a load balancer say where a connection comes from.
async fn introduce(
    mut stream: TcpStream,
    load_balancer: SocketAddr,
) -> Result<(TcpStream, SocketAddr), (SocketAddr, ProxyHeaderError)> {
    match proxy_protocol::read(&mut stream, load_balancer).await {
        Ok(client) => Ok((stream, client)),
        Err(error) => Err((load_balancer, error)),
    }
}

/// Tells of a load balancer that did not.
fn complain(load_balancer: SocketAddr, error: &ProxyHeaderError, unintroduced: &mut LogLimiter) {
    METRICS.connections_refused.get_or_create(&RefusalLabels { reason: "proxy_header" }).inc();
    if let Some(connections) = unintroduced.count(Instant::now()) {
        warn!(%load_balancer, %error, connections, "connections are turned away: where they come from was not said");
    }
}

/// Serves one connection in a task of its own, and tells of its refusals when it has ended.
fn begin(gateway: Arc<Gateway>, config: Arc<Config>, stream: TcpStream, peer: SocketAddr, startup: PreauthPermit) {
    let cut = CancellationToken::new();
    let gone = CancellationToken::new();
    let connection = Connection::new(gateway.clone(), peer, gone.clone(), cut.clone(), startup);
    let refusals = connection.refusals();
    let served = serve(config, stream, peer, connection, cut, gone);
    tokio::spawn(async move {
        served.await;
        let refused = refusals.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((user, why)) = refused {
            gateway.refusals.tell(user, peer, &why);
        }
    });
}

/// Says why, as far as the client reads that at all, and closes the connection.
fn turn_away(stream: &TcpStream, peer: SocketAddr, too_many: TooMany, turned_away: &mut LogLimiter) {
    let reason = too_many.label();
    METRICS.connections_refused.get_or_create(&RefusalLabels { reason }).inc();
    if let Some(connections) = turned_away.count(Instant::now()) {
        warn!(client = %peer, reason, connections, "connections are turned away: too many have no session yet");
    }
    let _ = stream.try_write(too_many.notice().as_bytes());
}

/// Serves one connection to its end, whatever the end.
async fn serve(
    config: Arc<Config>,
    stream: TcpStream,
    peer: SocketAddr,
    mut connection: Connection,
    cut: CancellationToken,
    gone: CancellationToken,
) {
    let signed_in = connection.signed_in();
    let _ = stream.set_nodelay(true);
    let (socket, health) = Socket::new(stream, cut.clone());
    connection.watch_health(health);
    METRICS.connections_pending.inc();
    let begun = timeout(SIGN_IN_GRACE, run_stream(config, socket, connection)).await;
    let ended = match begun {
        Ok(Ok(mut running)) => {
            let early = tokio::select! {
                ended = &mut running => Some(ended),
                () = signed_in.cancelled() => None,
                () = sleep(SIGN_IN_GRACE) => {
                    debug!(client = %peer, "did not sign in in time");
                    cut.cancel();
                    None
                }
            };
            METRICS.connections_pending.dec();
            match early {
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
        debug!(client = %peer, %error, "connection ended");
    }
    gone.cancel();
}

/// Returns the configuration of the SSH library, with this host key and this longest time between key exchanges.
pub fn config(host_key: PrivateKey, rekey_time: Duration) -> Config {
    Config {
        limits: algorithms::rekey_limits(rekey_time),
        server_id: algorithms::identification(),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![host_key],
        preferred: algorithms::preferred(algorithms::all_signatures()),
        window_size: WINDOW,
        channel_control: ChannelControl::Application,
        auth_rejection_time: REJECTION_TIME,
        // OpenSSH asks with method "none" first, which is no attempt at anything.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 6,
        nodelay: true,
        // Whether a session is idle or lost is for the session to judge.
        inactivity_timeout: None,
        // Questions only: whether an answer is overdue is for the session to judge.
        keepalive_interval: Some(KEEPALIVE_EVERY),
        keepalive_max: 0,
        ..Config::default()
    }
}
