//! The way to a target: connect, check its host key, sign in.

mod address;
mod algorithms;
mod certificate;
mod credential;
mod host;
mod host_trust;
mod login;
#[cfg(test)]
mod samples;
mod unreachable;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client::{self, ChannelOpenHandle};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelControl, ChannelId, ChannelOpenFailure, Disconnect, Names, Sig};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::address::NoConnection;
use self::credential::Credential;
use self::host::Host;
use self::host_trust::HostTrust;
use self::login::NotSignedIn;
pub use self::unreachable::Unreachable;
use super::channel::{END_OF_WRITE, TargetSide};
use super::crypto;
use super::forward::{self, Destination};
use super::inbox::{Inboxes, WINDOW};
use super::request::FromTarget;
use super::reverse::{Incoming, Purpose};
use super::socket::{Health, Socket};
use crate::api::{BastionTarget, BastionUser, LegacyAlgorithm, credentials_namespace};
use crate::lifecycle::KEEPALIVE_EVERY;

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

/// A connection that is signed in to a target. It carries one channel of the user, or the ports that the user has it listen
/// on, and the channels that the target opens: the processor's work for several transfers is then done side by side, and
/// what runs on the target ends with the channel it runs for.
pub struct TargetConnection {
    handle: client::Handle<TargetHandler>,
    health: Health,
    inboxes: Arc<Inboxes<FromTarget>>,
    /// Cancelled when the connection has ended.
    lost: CancellationToken,
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

    /// Connects to the target and signs in. Channels that the target opens go to `incoming`.
    ///
    /// # Errors
    /// One sentence for each thing that can be wrong.
    pub async fn dial(
        self,
        request: DialRequest,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<TargetConnection, Unreachable> {
        let target = &request.target;
        let (credential, stream) = tokio::join!(credential::read(&self.secrets, target), connect(target));
        let (credential, stream) = (credential?, stream?);
        let (target, address) = (target.name_any(), peer(&stream));
        let seconds = SIGN_IN_TIMEOUT.as_secs();
        let signed_in = timeout(SIGN_IN_TIMEOUT, sign_in(&request, credential, stream, incoming)).await;
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

    /// Waits until the connection has ended.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
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
    incoming: mpsc::Sender<Incoming>,
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
    let (inboxes, lost) = (Arc::<Inboxes<FromTarget>>::default(), CancellationToken::new());
    let handler =
        TargetHandler { host, refused: Some(refused), inboxes: inboxes.clone(), incoming, lost: lost.clone() };
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
    Ok(TargetConnection { handle, health, inboxes, lost, refusal, _cut: cut })
}

fn config(trust: &HostTrust, legacy: &[LegacyAlgorithm]) -> client::Config {
    client::Config {
        preferred: algorithms::preferred(trust, legacy),
        window_size: WINDOW,
        channel_control: ChannelControl::Application,
        client_id: crypto::identification(),
        nodelay: true,
        // Whether a session is idle or lost is for the session to judge.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE_EVERY),
        keepalive_max: 0,
        ..client::Config::default()
    }
}

/// The target's side of a channel. The reading half is dropped: with it, the connection's loop would wait for whoever reads.
fn side(inboxes: &Inboxes<FromTarget>, channel: Channel<client::Msg>) -> TargetSide {
    let (_, write) = channel.split();
    TargetSide { inbox: inboxes.open(write.id()), write }
}

/// The thin side of the SSH library: accepts a host that is to be trusted and no other, and puts what the target sends into
/// inboxes.
struct TargetHandler {
    host: Host,
    refused: Option<oneshot::Sender<ChannelOpenFailure>>,
    inboxes: Arc<Inboxes<FromTarget>>,
    incoming: mpsc::Sender<Incoming>,
    lost: CancellationToken,
}

impl TargetHandler {
    fn put(&self, channel: ChannelId, said: FromTarget) -> Result<(), russh::Error> {
        match self.inboxes.get(channel) {
            Some(inbox) => inbox.put(said).map_err(|_| russh::Error::Inconsistent),
            None => Ok(()),
        }
    }

    fn put_data(&self, channel: ChannelId, stream: Option<u32>, data: &[u8]) {
        if let Some(inbox) = self.inboxes.get(channel) {
            inbox.put_data(stream, data);
        }
    }

    /// Hands over a channel that the target opens; one too many is refused.
    async fn hand_over(&self, purpose: Purpose, channel: Channel<client::Msg>, reply: ChannelOpenHandle) {
        let target = side(&self.inboxes, channel);
        let incoming = Incoming { purpose, target, reply, inboxes: self.inboxes.clone() };
        if let Err(refused) = self.incoming.try_send(incoming) {
            refused.into_inner().refuse(ChannelOpenFailure::ResourceShortage).await;
        }
    }
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

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        // What comes on it next must find an inbox.
        self.inboxes.open(channel);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut client::Session) -> Result<(), Self::Error> {
        self.put_data(channel, None, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.put_data(channel, Some(stream), data);
        Ok(())
    }

    async fn channel_success(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.put(channel, FromTarget::Success)
    }

    async fn channel_failure(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.put(channel, FromTarget::Failure)
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        status: u32,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.put(channel, FromTarget::ExitStatus(status))
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        language: &str,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let (message, language) = (message.to_owned(), language.to_owned());
        self.put(channel, FromTarget::ExitSignal { signal, core_dumped, message, language })
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.put(channel, FromTarget::Eof)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        if let Some(inbox) = self.inboxes.remove(channel) {
            inbox.close(FromTarget::Close);
        }
        Ok(())
    }

    async fn custom_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        _: &[u8],
        _: &mut client::Session,
    ) -> Result<bool, Self::Error> {
        match self.inboxes.get(channel) {
            Some(inbox) if name == END_OF_WRITE => {
                inbox.stop_reading();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        address: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let (address, originator) = (address.to_owned(), originator.to_owned());
        self.hand_over(Purpose::Forward { address, port, originator, originator_port }, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.hand_over(Purpose::Agent, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<client::Msg>,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        for inbox in self.inboxes.drain() {
            inbox.close(FromTarget::Lost);
        }
        self.lost.cancel();
        match reason {
            client::DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            client::DisconnectReason::Error(error) => Err(error),
        }
    }
}
