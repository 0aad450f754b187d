//! The way to a target: connect, check its host key, sign in.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use russh::client::{self, AuthResult};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::crypto;
use super::forward::{self, Destination};
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

    /// Connects to `target` and signs in as `login`.
    ///
    /// # Errors
    /// One sentence for each thing that can be wrong.
    pub async fn dial(self, target: Arc<BastionTarget>, login: String) -> Result<TargetConnection, Unreachable> {
        let name = target.name_any();
        let address = format!("{}:{}", bracketed(&target.spec.address), target.spec.port);
        let (key, stream) = tokio::join!(self.private_key(&target), connect(&name, &address));
        let (key, stream) = (key?, stream?);
        let seconds = SIGN_IN_TIMEOUT.as_secs();
        timeout(SIGN_IN_TIMEOUT, sign_in(&target, &login, key, stream)).await.map_err(|_| Unreachable::Timeout {
            target: name,
            address,
            seconds,
        })?
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
    let handler = TargetHandler { pinned, refused: Some(refused) };
    let mut handle = client::connect_stream(config, socket, handler).await.map_err(ssh)?;
    let hash = match key.algorithm() {
        Algorithm::Rsa { .. } => handle.best_supported_rsa_hash().await.map_err(ssh)?.flatten(),
        _ => None,
    };
    match handle.authenticate_publickey(login, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await.map_err(ssh)? {
        AuthResult::Success => Ok(TargetConnection { handle, health, refusal, _cut: cut }),
        AuthResult::Failure { .. } => Err(Unreachable::Login { target: name, login: login.to_owned() }),
    }
}

fn config(pinned: &[PublicKey]) -> client::Config {
    // Only what is pinned is asked for: a target with several keys then shows the one that can be checked.
    let keys = pinned.iter().flat_map(|key| crypto::signatures(key.algorithm())).collect();
    client::Config {
        preferred: crypto::preferred(keys),
        window_size: super::inbox::WINDOW,
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

/// Accepts the pinned host keys and no other, and hears why a channel is refused.
struct TargetHandler {
    pinned: Vec<PublicKey>,
    refused: Option<oneshot::Sender<ChannelOpenFailure>>,
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
}
