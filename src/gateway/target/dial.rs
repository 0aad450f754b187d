//! Dials a target: connects, verifies its host key, and signs in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client;
use russh::{ChannelControl, ChannelOpenFailure, Disconnect, Limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::address::{self, ConnectError};
use super::algorithms;
use super::credential::{self, Credential, CredentialError};
use super::dial_error::DialError;
use super::handler::{HostVerifier, TargetHandler};
use super::host_trust::HostTrust;
use super::login::{self, TargetSignInError};
use super::request::DialRequest;
use crate::api::{BastionTarget, LegacyAlgorithm, credentials_namespace};
use crate::gateway::bridge::{
    Destination, FromTarget, INITIAL_WINDOW, Inboxes, IncomingChannel, TargetSide, with_reason,
};
use crate::gateway::net::{AbortableStream, ConnectionHealth, TcpPaths};
use crate::gateway::ssh::algorithms as ssh_algorithms;
use crate::lifecycle::{KEEPALIVE_INTERVAL, TcpPath};
use crate::memory_budget::UserBudget;
use crate::open_files::OPEN_FILES;

/// How long the SSH handshake and the sign-in may take together, after the target has accepted the TCP connection.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(20);

/// A target that closes the connection during the handshake and within this time is dialled again. A later close is taken for the
/// target's own time limit.
const DROPPED_WITHIN: Duration = Duration::from_secs(2);

/// How long the gateway waits until the target has read SSH_MSG_DISCONNECT.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Dials targets with the credentials in Secrets.
#[derive(Clone)]
pub struct Dialer {
    secrets: Api<Secret>,
    rekey_time: Duration,
    tcp_paths: Arc<TcpPaths>,
}

/// A connection that is signed in to a target. All channels of a session share it.
pub struct TargetConnection {
    pub(super) handle: client::Handle<TargetHandler>,
    health: ConnectionHealth,
    inboxes: Arc<Inboxes<FromTarget>>,
    end: ConnectionEnd,
    /// Whether the target has confirmed a channel that the gateway opened.
    has_confirmed: Arc<AtomicBool>,
    /// Cuts off the socket when this value is dropped. russh's task alone would keep it open, and with it programs on
    /// the target.
    _cut: DropGuard,
}

/// Why the target opened no channel.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The target confirmed an earlier channel on this connection, but refused this one or closed the connection.
    #[error("the target opens no further channel on this connection")]
    NoRoom,
    /// The target refused the channel, for this reason.
    #[error("{}", .0.description())]
    Refused(ChannelOpenFailure),
    /// The SSH connection failed.
    #[error(transparent)]
    Ssh(russh::Error),
}

impl From<russh::Error> for OpenError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::ChannelOpenFailure(failure) => Self::Refused(with_reason(&failure, failure.description())),
            error => Self::Ssh(error),
        }
    }
}

/// Observes the end of a connection to a target.
#[derive(Clone, Debug, Default)]
pub struct ConnectionEnd {
    /// Cancelled when the connection has ended and its channels have received [`FromTarget::Lost`].
    announced: CancellationToken,
    /// Cancelled before `announced`, but only if the target had not closed all channels when the connection ended.
    interrupted: CancellationToken,
}

impl ConnectionEnd {
    /// Waits until the connection has ended and its channels have received [`FromTarget::Lost`].
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Returns whether the connection has ended and its channels have received [`FromTarget::Lost`].
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Returns whether the connection's end interrupted a channel that the target had not closed.
    pub fn has_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }
}

impl Dialer {
    /// Returns a dialer for the targets of the bastion in `namespace`. Its connections exchange new keys every
    /// `rekey_time`.
    pub fn new(client: Client, namespace: &str, rekey_time: Duration, tcp_paths: Arc<TcpPaths>) -> Self {
        Self { secrets: Api::namespaced(client, &credentials_namespace(namespace)), rekey_time, tcp_paths }
    }

    /// Reads the credential, connects to the target and signs in. Tries again if the target closes the connection at once.
    ///
    /// # Errors
    /// When any of these steps fails.
    pub async fn dial(self, request: DialRequest) -> Result<TargetConnection, DialError> {
        let attempt = || self.attempt(&request);
        let attempts = attempt.retry(retry_pace()).when(|error| matches!(error, DialError::Dropped { .. }));
        attempts
            .notify(|error, delay| debug!(%error, ?delay, "the target closed the connection at once; dialling again after the delay"))
            .await
    }

    async fn attempt(&self, request: &DialRequest) -> Result<TargetConnection, DialError> {
        let target = &request.target;
        let Some(file) = OPEN_FILES.reserve() else { return Err(DialError::OpenFiles { target: target.name_any() }) };
        let (credential, stream) = tokio::join!(credential::read(&self.secrets, target), connect(target));
        drop(file);
        let target = target.name_any();
        let credential = credential.map_err(|source| DialError::Credentials { target: target.clone(), source })?;
        let stream = stream?;
        let (address, seconds) = (peer(&stream), SIGN_IN_TIMEOUT.as_secs());
        let limits = ssh_algorithms::rekey_limits(self.rekey_time);
        let path = self.tcp_paths.to_target(stream.peer_addr().ok().map(|peer| peer.ip()));
        let signed_in = timeout(SIGN_IN_TIMEOUT, sign_in(request, credential, limits, (stream, path))).await;
        signed_in.map_err(|_| DialError::Timeout { target, address, seconds })?
    }
}

impl TargetConnection {
    /// Returns a view of the TCP connection's health.
    pub fn health(&self) -> ConnectionHealth {
        self.health.clone()
    }

    /// Returns whether the connection is open.
    pub fn is_open(&self) -> bool {
        !self.handle.is_closed() && !self.end.is_announced()
    }

    /// Opens a `session` channel.
    ///
    /// # Errors
    /// When the target refuses the channel, or the connection is gone.
    pub async fn open_session(&self) -> Result<TargetSide, OpenError> {
        match self.handle.channel_open_session().await {
            Ok(channel) => Ok(TargetSide::claim(&self.inboxes, channel)),
            // Mostly sshd's MaxSessions, or a target that hangs up after its last channel.
            Err(_) if self.has_confirmed.load(Ordering::Relaxed) => Err(OpenError::NoRoom),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a `direct-tcpip` channel, for which the target connects to a destination.
    ///
    /// # Errors
    /// When the target refuses the channel, with the target's description, or the connection is gone.
    pub async fn open_forward(&self, destination: &Destination) -> Result<TargetSide, OpenError> {
        let Destination { host, port, originator, originator_port } = destination;
        let opened = self.handle.channel_open_direct_tcpip(host, u32::from(*port), originator, *originator_port);
        match opened.await {
            Ok(channel) => Ok(TargetSide::claim(&self.inboxes, channel)),
            Err(error @ russh::Error::ChannelOpenFailure(_)) => Err(error.into()),
            Err(_) if self.has_confirmed.load(Ordering::Relaxed) => Err(OpenError::NoRoom),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends `tcpip-forward`. Returns the bound port; `None` when the target refuses.
    pub async fn listen(&self, address: &str, port: u32) -> Option<u32> {
        let bound = self.handle.tcpip_forward(address, port).await.ok()?;
        Some(if port == 0 { bound } else { port })
    }

    /// Sends `cancel-tcpip-forward`. Returns whether the target agreed.
    pub async fn stop_listening(&self, address: &str, port: u32) -> bool {
        self.handle.cancel_tcpip_forward(address, port).await.is_ok()
    }

    /// Returns an observer of the connection's end.
    pub fn end(&self) -> ConnectionEnd {
        self.end.clone()
    }

    /// Gives up one use of the connection. The last use disconnects: it sends SSH_MSG_DISCONNECT, waits up to 1 s until the
    /// target has read it, and cuts off the socket. Programs on the target end with that.
    pub async fn release(connection: Arc<Self>) {
        let Some(mut connection) = Arc::into_inner(connection) else { return };
        connection.disconnect().await;
    }

    async fn disconnect(&mut self) {
        let disconnected = async {
            self.handle.disconnect(Disconnect::ByApplication, "session ended", "en").await?;
            (&mut self.handle).await
        };
        let _ = timeout(DISCONNECT_TIMEOUT, disconnected).await;
    }
}

/// Returns the delays between attempts to connect to a target that closes connections at once, as sshd does beyond its
/// MaxStartups: about 0.2, 0.4 and 0.8 s. The jitter at most doubles each.
fn retry_pace() -> ExponentialBuilder {
    let pace = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_factor(2.0);
    pace.with_max_times(3).with_jitter()
}

async fn connect(target: &BastionTarget) -> Result<TcpStream, DialError> {
    let (name, host) = (target.name_any(), &target.spec.address);
    // The CRD's schema limits the port to 1 to 65535.
    let port = u16::try_from(target.spec.port).unwrap_or_default();
    address::connect(host, port).await.map_err(|error| match error {
        ConnectError::Resolve(source) => DialError::Resolve { target: name, address: host.clone(), source },
        ConnectError::Failed(source) => DialError::Connect { target: name, source },
    })
}

fn peer(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|error| address::plain(&error), |address| address.to_string())
}

async fn sign_in(
    request: &DialRequest,
    credential: Credential,
    limits: Limits,
    (stream, path): (TcpStream, TcpPath),
) -> Result<TargetConnection, DialError> {
    let DialRequest { session, target, login, .. } = request;
    let (name, address) = (target.name_any(), peer(&stream));
    let trust = HostTrust::from_spec(target).ok_or_else(|| DialError::NoHostKey { target: name.clone() })?;
    let legacy = target.spec.legacy_algorithms.clone();
    let config = client::Config { limits, ..config(&trust, &legacy) };
    let cut = CancellationToken::new();
    let (socket, health) = AbortableStream::new(stream, cut.clone());
    let host_key_error = Arc::new(OnceLock::new());
    let (session, error) = (session.clone(), host_key_error.clone());
    let host = HostVerifier { session, target: name.clone(), trust, error, legacy };
    let (transport, incoming) = ((socket, health.with_path(path), cut.drop_guard()), request.incoming.clone());
    let began = Instant::now();
    let connected = handshake(config, transport, host, incoming, request.memory.clone()).await;
    let mut connection = connected.map_err(|error| match host_key_error.get() {
        Some(source) => DialError::HostKey { target: name.clone(), source: source.clone() },
        None if began.elapsed() < DROPPED_WITHIN => DialError::from_handshake(name.clone(), address.clone(), &error),
        None => DialError::from_ssh(name.clone(), address.clone(), &error),
    })?;
    login::sign_in(&mut connection.handle, request, credential).await.map_err(|error| match error {
        TargetSignInError::Refused { credential, hint } => {
            DialError::Login { target: name.clone(), login: login.clone(), credential, hint }
        }
        TargetSignInError::Unsigned(error) => {
            DialError::Credentials { target: name.clone(), source: CredentialError::Unsigned(error) }
        }
        TargetSignInError::Ssh(error) => DialError::from_ssh(name.clone(), address, &error),
    })?;
    Ok(connection)
}

/// Exchanges identifications and keys over a stream, and starts the connection's task. The next step is the sign-in.
///
/// The transport is the stream, an observer of the stream's health, and the guard that cuts off the stream. `memory` takes the
/// memory of the windows.
pub(super) async fn handshake(
    config: client::Config,
    transport: (impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ConnectionHealth, DropGuard),
    host: HostVerifier,
    incoming: mpsc::Sender<IncomingChannel>,
    memory: Arc<UserBudget>,
) -> Result<TargetConnection, russh::Error> {
    let (stream, health, cut) = transport;
    let inboxes = Arc::new(Inboxes::new(memory));
    let has_confirmed = Arc::<AtomicBool>::default();
    let handler = TargetHandler { host, has_confirmed: has_confirmed.clone(), inboxes: inboxes.clone(), incoming };
    let handle = client::connect_stream(Arc::new(config), stream, handler).await?;
    let end = observe_end(&handle, inboxes.clone());
    Ok(TargetConnection { handle, health, inboxes, end, has_confirmed, _cut: cut })
}

/// Sends [`FromTarget::Lost`] to the open channels when russh's task for the connection has ended.
///
/// russh's task ends after every kind of failure, so no channel waits forever.
fn observe_end(handle: &client::Handle<TargetHandler>, inboxes: Arc<Inboxes<FromTarget>>) -> ConnectionEnd {
    let (closed, end) = (handle.closed(), ConnectionEnd::default());
    let ConnectionEnd { announced, interrupted } = end.clone();
    tokio::spawn(async move {
        closed.await;
        if inboxes.disconnect(FromTarget::Lost) {
            interrupted.cancel();
        }
        announced.cancel();
    });
    end
}

pub(super) fn config(trust: &HostTrust, legacy: &[LegacyAlgorithm]) -> client::Config {
    client::Config {
        preferred: algorithms::preferred(trust, legacy),
        window_size: INITIAL_WINDOW,
        channel_control: ChannelControl::Application,
        client_id: ssh_algorithms::identification(),
        // The session decides when it is idle or when the target is lost.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: 0,
        ..client::Config::default()
    }
}
