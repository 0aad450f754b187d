//! The way to a target: connect, check its host key, sign in.

mod address;
mod algorithms;
mod certificate;
mod credential;
mod host_trust;
mod login;
#[cfg(test)]
mod samples;
mod unreachable;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Names};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use self::address::NoConnection;
use self::credential::Credential;
use self::host_trust::{Distrust, HostTrust};
use self::login::NotSignedIn;
pub use self::unreachable::Unreachable;
use super::forward::{self, Destination};
use super::socket::{Health, Socket};
use crate::api::{BastionTarget, BastionUser, LegacyAlgorithm, credentials_namespace};
use crate::lifecycle::KEEPALIVE_EVERY;
use crate::metrics::{AlgorithmLabels, METRICS};

/// How long a target that took the connection may take until the gateway is signed in.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a target may take to read that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Dials targets with the credentials that Secrets hold.
#[derive(Clone)]
pub struct Dialler {
    secrets: Api<Secret>,
}

/// Who wants to be signed in, and where.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// The session that the connection is for.
    pub session: Arc<str>,
    /// Its user.
    pub user: Arc<BastionUser>,
    /// Its target.
    pub target: Arc<BastionTarget>,
    /// Its login.
    pub login: String,
}

/// A connection that is signed in to a target. It carries one channel, so that a channel that stands still holds
/// up nothing but itself.
pub struct TargetConnection {
    handle: client::Handle<TargetHandler>,
    health: Health,
    /// Why the target did not open the channel.
    refusal: oneshot::Receiver<ChannelOpenFailure>,
    /// Cuts the connection off when it goes: the library alone would keep it open, and whatever runs behind it.
    _cut: DropGuard,
}

impl Dialler {
    /// A dialler for targets of the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, &credentials_namespace(namespace)) }
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
        let signed_in = timeout(SIGN_IN_TIMEOUT, sign_in(&request, credential, stream)).await;
        signed_in.map_err(|_| Unreachable::Slow { target, address, seconds })?
    }
}

impl TargetConnection {
    /// A look at the health of the connection.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Opens the session channel of this connection.
    ///
    /// # Errors
    /// When the target refuses it or is gone.
    pub async fn open_session(&self) -> Result<Channel<client::Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }

    /// Has the target connect to a destination, as the channel of this connection.
    ///
    /// # Errors
    /// When the target refuses it, in the target's own words, or is gone.
    pub async fn open_forward(&mut self, destination: &Destination) -> Result<Channel<client::Msg>, russh::Error> {
        let Destination { host, port, originator, originator_port } = destination;
        let asked = self.handle.channel_open_direct_tcpip(host, u32::from(*port), originator, *originator_port);
        match asked.await {
            Err(russh::Error::ChannelOpenFailure(failure)) => {
                // The library says so first, and why a moment later.
                let refusal = (&mut self.refusal).await.unwrap_or(failure);
                Err(russh::Error::ChannelOpenFailure(refusal))
            }
            opened => opened,
        }
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
        NoConnection::Unresolved(why) => Unreachable::Unresolved { target: name, address: host.clone(), why },
        NoConnection::Failed(tried) => Unreachable::Connect { target: name, tried },
    })
}

fn peer(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|error| address::plain(&error), |address| address.to_string())
}

async fn sign_in(
    request: &DialRequest,
    credential: Credential,
    stream: TcpStream,
) -> Result<TargetConnection, Unreachable> {
    let DialRequest { session, target, login, .. } = request;
    let (name, address) = (target.name_any(), peer(&stream));
    let trust = HostTrust::of(target).ok_or_else(|| Unreachable::NoHostKey { target: name.clone() })?;
    let legacy = target.spec.legacy_algorithms.clone();
    let config = Arc::new(config(&trust, &legacy));
    let cut = CancellationToken::new();
    let (socket, health) = Socket::new(stream, cut.clone());
    let cut = cut.drop_guard();
    let (refused, refusal) = oneshot::channel();
    let distrust = Arc::new(OnceLock::new());
    let host = Host { session: session.clone(), name: name.clone(), trust, distrust: distrust.clone(), legacy };
    let handler = TargetHandler { host, refused: Some(refused) };
    let mut handle = client::connect_stream(config, socket, handler).await.map_err(|error| match distrust.get() {
        Some(distrust) => Unreachable::Host { target: name.clone(), distrust: distrust.clone() },
        None => Unreachable::broken(name.clone(), address.clone(), &error),
    })?;
    login::sign_in(&mut handle, request, credential).await.map_err(|why| match why {
        NotSignedIn::Refused { credential, hint } => {
            Unreachable::Login { target: name.clone(), login: login.clone(), credential, hint }
        }
        NotSignedIn::Unsigned(why) => {
            Unreachable::Credentials { target: name.clone(), why: format!("the authority signs nothing: {why}") }
        }
        NotSignedIn::Broken(error) => Unreachable::broken(name.clone(), address, &error),
    })?;
    Ok(TargetConnection { handle, health, refusal, _cut: cut })
}

fn config(trust: &HostTrust, legacy: &[LegacyAlgorithm]) -> client::Config {
    client::Config {
        preferred: algorithms::preferred(trust, legacy),
        window_size: super::inbox::WINDOW,
        nodelay: true,
        // Whether a session is idle or lost is for the session to judge.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE_EVERY),
        keepalive_max: 0,
        ..client::Config::default()
    }
}

/// What a target is checked against while keys are exchanged.
struct Host {
    session: Arc<str>,
    name: String,
    trust: HostTrust,
    /// Why it is not trusted: the library only says that it is not.
    distrust: Arc<OnceLock<Distrust>>,
    legacy: Vec<LegacyAlgorithm>,
}

impl Host {
    fn is_trusted(&self, shown: &PublicKeyOrCertificate) -> bool {
        match self.trust.check(shown, Timestamp::now()) {
            Ok(()) => true,
            Err(distrust) => {
                let _ = self.distrust.set(distrust);
                false
            }
        }
    }

    /// Nobody is to forget which targets still need what is old.
    fn report_legacy(&self, names: &Names) {
        for algorithm in algorithms::negotiated(&self.legacy, names) {
            METRICS.legacy_algorithms_negotiated.get_or_create(&AlgorithmLabels { algorithm }).inc();
            warn!(session = %self.session, target = self.name, algorithm, "a legacy algorithm is used with a target that asks for it");
        }
    }
}

/// Accepts a host that is to be trusted and no other, and hears why a channel is refused.
struct TargetHandler {
    host: Host,
    refused: Option<oneshot::Sender<ChannelOpenFailure>>,
}

impl client::Handler for TargetHandler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(self.host.is_trusted(shown))
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, names: &Names, _: &mut client::Session) -> Result<(), Self::Error> {
        self.host.report_legacy(names);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        if let Some(refused) = self.refused.take() {
            let _ = refused.send(forward::with_reason(&reason, description));
        }
        Ok(())
    }
}
