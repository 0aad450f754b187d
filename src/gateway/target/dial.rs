//! The way to a target: connect, check its host key, sign in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client;
use russh::{ChannelControl, ChannelOpenFailure, Disconnect, Limits};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::address::{self, ConnectError};
use super::algorithms;
use super::credential::{self, Credential};
use super::handler::{Host, TargetHandler, side};
use super::host_trust::HostTrust;
use super::login::{self, TargetSignInError};
use super::request::DialRequest;
use super::unreachable::Unreachable;
use crate::api::{BastionTarget, LegacyAlgorithm, credentials_namespace};
use crate::gateway::bridge::{Destination, FromTarget, Inboxes, TargetSide, WINDOW};
use crate::gateway::net::{AbortableStream, ConnectionHealth};
use crate::gateway::ssh::algorithms as ssh_algorithms;
use crate::lifecycle::KEEPALIVE_EVERY;

/// How long a target that took the connection may take until the gateway is signed in.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a target may take to read that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Dials targets with the credentials that Secrets hold.
#[derive(Clone)]
pub struct Dialer {
    secrets: Api<Secret>,
    rekey_time: Duration,
}

/// A connection that is signed in to a target. It carries one channel of the user, or the ports that the user has it listen
/// on, and the channels that the target opens: the processor's work for several transfers is then done side by side, and
/// what runs on the target ends with the channel it runs for.
pub struct TargetConnection {
    handle: client::Handle<TargetHandler>,
    health: ConnectionHealth,
    inboxes: Arc<Inboxes<FromTarget>>,
    end: ConnectionEnd,
    /// Why the target did not open the channel.
    refusal: oneshot::Receiver<ChannelOpenFailure>,
    /// Cuts the connection off when it goes: the library alone would keep it open, and whatever runs behind it.
    _cut: DropGuard,
}

/// Tells of the end of one connection to a target.
#[derive(Clone, Debug, Default)]
pub struct ConnectionEnd {
    /// Cancelled when the connection has ended and its channels were told.
    announced: CancellationToken,
    /// Cancelled before that when the end interrupted a channel.
    interrupted: CancellationToken,
}

impl ConnectionEnd {
    /// Waits until the connection has ended and its channels were told.
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Returns whether the connection has ended and its channels were told.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Returns whether the connection's end interrupted a channel that the target had not closed.
    pub fn has_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }
}

impl Dialer {
    /// A dialer for targets of the bastion in `namespace`, who uses keys for so long.
    pub fn new(client: Client, namespace: &str, rekey_time: Duration) -> Self {
        Self { secrets: Api::namespaced(client, &credentials_namespace(namespace)), rekey_time }
    }

    /// Connects to the target and signs in.
    ///
    /// # Errors
    /// One sentence for each thing that can be wrong.
    pub async fn dial(self, request: DialRequest) -> Result<TargetConnection, Unreachable> {
        let target = &request.target;
        let (credential, stream) = tokio::join!(credential::read(&self.secrets, target), connect(target));
        let (credential, stream) = (credential?, stream?);
        let (target, address) = (target.name_any(), peer(&stream));
        let seconds = SIGN_IN_TIMEOUT.as_secs();
        let limits = ssh_algorithms::rekey_limits(self.rekey_time);
        let signed_in = timeout(SIGN_IN_TIMEOUT, sign_in(&request, credential, limits, stream)).await;
        signed_in.map_err(|_| Unreachable::Slow { target, address, seconds })?
    }
}

impl TargetConnection {
    /// A look at the health of the connection.
    pub fn health(&self) -> ConnectionHealth {
        self.health.clone()
    }

    /// Opens the session channel of this connection.
    ///
    /// # Errors
    /// When the target refuses it or is gone.
    pub async fn open_session(&self) -> Result<TargetSide, russh::Error> {
        self.handle.channel_open_session().await.map(|channel| side(&self.inboxes, channel))
    }

    /// Has the target connect to a destination, as the channel of this connection.
    ///
    /// # Errors
    /// When the target refuses it, in the target's own words, or is gone.
    pub async fn open_forward(&mut self, destination: &Destination) -> Result<TargetSide, russh::Error> {
        let Destination { host, port, originator, originator_port } = destination;
        let asked = self.handle.channel_open_direct_tcpip(host, u32::from(*port), originator, *originator_port);
        match asked.await {
            Err(russh::Error::ChannelOpenFailure(failure)) => {
                // The library says so first, and why a moment later.
                let refusal = (&mut self.refusal).await.unwrap_or(failure);
                Err(russh::Error::ChannelOpenFailure(refusal))
            }
            opened => opened.map(|channel| side(&self.inboxes, channel)),
        }
    }

    /// Has the target listen. Returns the port, or none where the target refuses.
    pub async fn listen(&self, address: &str, port: u32) -> Option<u32> {
        let given = self.handle.tcpip_forward(address, port).await.ok()?;
        Some(if port == 0 { given } else { port })
    }

    /// Has the target listen no more. Returns whether it did as it was told.
    pub async fn stop_listening(&self, address: &str, port: u32) -> bool {
        self.handle.cancel_tcpip_forward(address, port).await.is_ok()
    }

    /// Returns what tells of the connection's end.
    pub fn end(&self) -> ConnectionEnd {
        self.end.clone()
    }

    /// Ends the connection, and with it whatever runs on the target: with a word of farewell where the target
    /// listens, and without one where it does not.
    pub async fn disconnect(mut self) {
        let farewell = async {
            self.handle.disconnect(Disconnect::ByApplication, "session ended", "en").await?;
            (&mut self.handle).await
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

async fn connect(target: &BastionTarget) -> Result<TcpStream, Unreachable> {
    let (name, host) = (target.name_any(), &target.spec.address);
    // The schema has it between 1 and 65535.
    let port = u16::try_from(target.spec.port).unwrap_or_default();
    address::connect(host, port).await.map_err(|why| match why {
        ConnectError::Unresolved(why) => Unreachable::Unresolved { target: name, address: host.clone(), why },
        ConnectError::Failed(tried) => Unreachable::Connect { target: name, tried },
    })
}

fn peer(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|error| address::plain(&error), |address| address.to_string())
}

async fn sign_in(
    request: &DialRequest,
    credential: Credential,
    limits: Limits,
    stream: TcpStream,
) -> Result<TargetConnection, Unreachable> {
    let DialRequest { session, target, login, .. } = request;
    let (name, address) = (target.name_any(), peer(&stream));
    let trust = HostTrust::of(target).ok_or_else(|| Unreachable::NoHostKey { target: name.clone() })?;
    let legacy = target.spec.legacy_algorithms.clone();
    let config = Arc::new(client::Config { limits, ..config(&trust, &legacy) });
    let cut = CancellationToken::new();
    let (socket, health) = AbortableStream::new(stream, cut.clone());
    let cut = cut.drop_guard();
    let (refused, refusal) = oneshot::channel();
    let host_key_error = Arc::new(OnceLock::new());
    let host =
        Host { session: session.clone(), name: name.clone(), trust, host_key_error: host_key_error.clone(), legacy };
    let inboxes = Arc::<Inboxes<FromTarget>>::default();
    let (refused, incoming) = (Some(refused), request.incoming.clone());
    let handler = TargetHandler { host, refused, inboxes: inboxes.clone(), incoming };
    let mut handle =
        client::connect_stream(config, socket, handler).await.map_err(|error| match host_key_error.get() {
            Some(host_key_error) => Unreachable::Host { target: name.clone(), host_key_error: host_key_error.clone() },
            None => Unreachable::broken(name.clone(), address.clone(), &error),
        })?;
    let end = announce_end(&handle, inboxes.clone());
    login::sign_in(&mut handle, request, credential).await.map_err(|why| match why {
        TargetSignInError::Refused { credential, hint } => {
            Unreachable::Login { target: name.clone(), login: login.clone(), credential, hint }
        }
        TargetSignInError::Unsigned(why) => {
            Unreachable::Credentials { target: name.clone(), why: format!("the authority signs nothing: {why}") }
        }
        TargetSignInError::Broken(error) => Unreachable::broken(name.clone(), address, &error),
    })?;
    Ok(TargetConnection { handle, health, inboxes, end, refusal, _cut: cut })
}

/// Tells all channels of a connection when the library's task for it has ended. The task's completion is the one sign of an
/// end that no error on the way can suppress.
fn announce_end(handle: &client::Handle<TargetHandler>, inboxes: Arc<Inboxes<FromTarget>>) -> ConnectionEnd {
    let (closed, end) = (handle.closed(), ConnectionEnd::default());
    let ConnectionEnd { announced, interrupted } = end.clone();
    tokio::spawn(async move {
        closed.await;
        if inboxes.lose(FromTarget::Lost) {
            interrupted.cancel();
        }
        announced.cancel();
    });
    end
}

pub(super) fn config(trust: &HostTrust, legacy: &[LegacyAlgorithm]) -> client::Config {
    client::Config {
        preferred: algorithms::preferred(trust, legacy),
        window_size: WINDOW,
        channel_control: ChannelControl::Application,
        client_id: ssh_algorithms::identification(),
        nodelay: true,
        // Whether a session is idle or lost is for the session to judge.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE_EVERY),
        keepalive_max: 0,
        ..client::Config::default()
    }
}
