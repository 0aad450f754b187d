//! The way to a target: connect, check its host key, sign in.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client::{self, AuthResult, ChannelOpenHandle};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelControl, ChannelId, ChannelOpenFailure, Disconnect, Sig};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::channel::{END_OF_WRITE, TargetSide};
use super::crypto;
use super::forward::{self, Destination};
use super::inbox::{Inboxes, WINDOW};
use super::request::FromTarget;
use super::reverse::{Incoming, Purpose};
use super::socket::{Health, Socket};
use crate::api::{BastionTarget, SecretKeyRef, credentials_namespace};
use crate::cluster::{REQUEST_TIMEOUT, code};
use crate::lifecycle::KEEPALIVE_EVERY;

/// How long a target may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take from there to being signed in.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a target may take to read that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Dials targets with the credentials that Secrets hold.
#[derive(Clone)]
pub struct Dialler {
    secrets: Api<Secret>,
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

/// Why there is no connection to a target. The text is for the log and `status.message`.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// No TCP connection.
    #[error("target {target:?} cannot be reached at {address}: {error}")]
    Connect { target: String, address: String, error: std::io::Error },
    /// It took too long.
    #[error("target {target:?} did not answer at {address} within {seconds} seconds")]
    Timeout { target: String, address: String, seconds: u64 },
    /// Another host key than the pinned ones.
    #[error(
        "the host key of target {target:?} is not one of its spec.hostKeys; either it was changed on the target, and \
         spec.hostKeys must follow, or somebody stands between"
    )]
    HostKey { target: String },
    /// None of the pinned host keys can be read.
    #[error("spec.hostKeys of target {target:?} has no usable key")]
    NoHostKey { target: String },
    /// The Secret cannot be used.
    #[error("the credentials of target {target:?} cannot be used: {why}")]
    Credentials { target: String, why: String },
    /// The target does not take the key.
    #[error("target {target:?} refused the bastion's key for login {login:?}")]
    Login { target: String, login: String },
    /// The SSH conversation broke down.
    #[error("the SSH connection to target {target:?} failed: {error}")]
    Ssh { target: String, error: russh::Error },
}

impl Unreachable {
    /// What the user is told, who has no business with the names of Secrets.
    pub fn told(&self) -> String {
        match self {
            Self::Credentials { target, .. } => {
                format!("the credentials of target {target:?} cannot be used; whoever runs the bastion can see why")
            }
            other => other.to_string(),
        }
    }
}

impl Dialler {
    /// A dialler for targets of the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, &credentials_namespace(namespace)) }
    }

    /// Connects to `target` and signs in as `login`. Channels that the target opens go to `incoming`.
    ///
    /// # Errors
    /// One sentence for each thing that can be wrong.
    pub async fn dial(
        self,
        target: Arc<BastionTarget>,
        login: String,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<TargetConnection, Unreachable> {
        let name = target.name_any();
        let address = format!("{}:{}", bracketed(&target.spec.address), target.spec.port);
        let (key, stream) = tokio::join!(self.private_key(&target), connect(&name, &address));
        let (key, stream) = (key?, stream?);
        let seconds = SIGN_IN_TIMEOUT.as_secs();
        timeout(SIGN_IN_TIMEOUT, sign_in(&target, &login, key, stream, incoming))
            .await
            .map_err(|_| Unreachable::Timeout { target: name, address, seconds })?
    }

    async fn private_key(&self, target: &BastionTarget) -> Result<PrivateKey, Unreachable> {
        let SecretKeyRef { name, key } = &target.spec.credentials.private_key;
        let unusable = |why: String| Unreachable::Credentials { target: target.name_any(), why };
        let secret = match timeout(REQUEST_TIMEOUT, self.secrets.get(name)).await {
            Ok(Ok(secret)) => secret,
            Ok(Err(error)) if code(&error) == Some(404) => return Err(unusable(format!("there is no Secret {name}"))),
            Ok(Err(error)) => return Err(unusable(format!("Secret {name}: {error}"))),
            Err(_) => return Err(unusable(format!("Secret {name}: the API server did not answer"))),
        };
        let data = secret.data.and_then(|mut data| data.remove(key));
        let pem = Zeroizing::new(data.ok_or_else(|| unusable(format!("Secret {name} has no key {key}")))?.0);
        PrivateKey::from_openssh(pem.as_slice())
            .map_err(|_| unusable(format!("{key} in Secret {name} is no OpenSSH private key")))
            .and_then(|private| {
                if private.is_encrypted() {
                    Err(unusable(format!("{key} in Secret {name} has a passphrase")))
                } else {
                    Ok(private)
                }
            })
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

async fn connect(target: &str, address: &str) -> Result<TcpStream, Unreachable> {
    let seconds = CONNECT_TIMEOUT.as_secs();
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| Unreachable::Timeout { target: target.to_owned(), address: address.to_owned(), seconds })?
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|error| Unreachable::Connect { target: target.to_owned(), address: address.to_owned(), error })
}

async fn sign_in(
    target: &BastionTarget,
    login: &str,
    key: PrivateKey,
    stream: TcpStream,
    incoming: mpsc::Sender<Incoming>,
) -> Result<TargetConnection, Unreachable> {
    let name = target.name_any();
    let pinned: Vec<PublicKey> =
        target.spec.host_keys.iter().filter_map(|line| PublicKey::from_openssh(line.as_str()).ok()).collect();
    if pinned.is_empty() {
        return Err(Unreachable::NoHostKey { target: name });
    }
    let ssh = |error| match error {
        russh::Error::UnknownKey | russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. } => {
            Unreachable::HostKey { target: name.clone() }
        }
        error => Unreachable::Ssh { target: name.clone(), error },
    };
    let config = Arc::new(config(&pinned));
    let cut = CancellationToken::new();
    let (socket, health) = Socket::new(stream, cut.clone());
    let cut = cut.drop_guard();
    let (refused, refusal) = oneshot::channel();
    let (inboxes, lost) = (Arc::<Inboxes<FromTarget>>::default(), CancellationToken::new());
    let handler =
        TargetHandler { pinned, refused: Some(refused), inboxes: inboxes.clone(), incoming, lost: lost.clone() };
    let mut handle = client::connect_stream(config, socket, handler).await.map_err(ssh)?;
    let hash = match key.algorithm() {
        Algorithm::Rsa { .. } => handle.best_supported_rsa_hash().await.map_err(ssh)?.flatten(),
        _ => None,
    };
    match handle.authenticate_publickey(login, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await.map_err(ssh)? {
        AuthResult::Success => Ok(TargetConnection { handle, health, inboxes, lost, refusal, _cut: cut }),
        AuthResult::Failure { .. } => Err(Unreachable::Login { target: name, login: login.to_owned() }),
    }
}

fn config(pinned: &[PublicKey]) -> client::Config {
    // Only what is pinned is asked for: a target with several keys then shows the one that can be checked.
    let keys = pinned.iter().flat_map(|key| crypto::signatures(key.algorithm())).collect();
    client::Config {
        preferred: crypto::preferred(keys),
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

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// The target's side of a channel. The reading half is dropped: with it, the connection's loop would wait for whoever reads.
fn side(inboxes: &Inboxes<FromTarget>, channel: Channel<client::Msg>) -> TargetSide {
    let (_, write) = channel.split();
    TargetSide { inbox: inboxes.open(write.id()), write }
}

/// The thin side of the SSH library: accepts the pinned host keys and no other, and puts what the target sends into
/// inboxes.
struct TargetHandler {
    pinned: Vec<PublicKey>,
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
        Ok(match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.pinned.iter().any(|pinned| pinned.key_data() == key.key_data())
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
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
