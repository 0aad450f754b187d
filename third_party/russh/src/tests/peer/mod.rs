//! Tests against a peer that writes and reads its packets itself, without
//! encryption, over a pipe.

#![allow(clippy::indexing_slicing)] // Tests index the packets that they expect.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ssh_encoding::Encode;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use crate::{Error, Preferred, cipher, client, compression, kex, mac, msg, server};

mod batch_bytes;
mod channel_control;
mod channel_open;
mod connection_end;
mod custom_request;
mod host_signature;
mod idle_memory;
mod log_text;
mod open_failure;
mod security_key_flags;
mod userauth_algorithm;

/// The longest that a test waits for what must happen.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes that a pipe holds, more than any test sends unread.
const PIPE_LEN: usize = 1 << 20;

/// Encodes a packet from its message number and its fields.
macro_rules! packet {
    ($message:expr $(, $field:expr)* $(,)?) => {{
        #[allow(unused_mut)] // A packet may have no fields.
        let mut packet: Vec<u8> = vec![$message];
        $(ssh_encoding::Encode::encode(&$field, &mut packet).unwrap();)*
        packet
    }};
}
use packet;

/// Fails a test whose future is not ready within [`TEST_TIMEOUT`].
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, future)
        .await
        .expect("nothing came within the test's timeout")
}

/// Returns the Ed25519 key of a seed.
fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// Prefers the algorithms that do nothing.
fn no_crypto() -> Preferred {
    Preferred {
        host_key_certificates: Cow::Borrowed(&[]),
        kex: Cow::Borrowed(&[kex::NONE]),
        key: Cow::Borrowed(&[ssh_key::Algorithm::Ed25519]),
        cipher: Cow::Borrowed(&[cipher::NONE]),
        mac: Cow::Borrowed(&[mac::NONE]),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// Encodes SSH_MSG_KEXINIT (RFC 4253 §7.1) without encryption.
fn kexinit(kex: &str, host_key: &str) -> Vec<u8> {
    let mut packet = vec![msg::KEXINIT];
    packet.extend([0; 16]);
    for names in [
        kex, host_key, "none", "none", "none", "none", "none", "none", "", "",
    ] {
        names.encode(&mut packet).unwrap();
    }
    packet.extend([0; 5]);
    packet
}

/// One side of a connection whose other side is russh.
struct Peer<S = DuplexStream> {
    stream: S,
}

impl Peer {
    /// Connects to a server, up to the end of the key exchange.
    async fn of_server<H>(
        config: server::Config,
        handler: H,
    ) -> (Self, JoinHandle<Result<(), Error>>)
    where
        H: server::Handler<Error = Error> + Send + 'static,
    {
        let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
        Self::of_server_on(ours, theirs, config, handler).await
    }

    /// Accepts a client, up to the end of its authentication.
    async fn of_client<H>(config: client::Config, handler: H) -> (Self, client::Handle<H>)
    where
        H: client::Handler<Error = Error> + Send + 'static,
    {
        let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
        Self::of_client_on(ours, theirs, config, handler).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Connects to a server that has the stream `theirs`.
    async fn of_server_on<H>(
        ours: S,
        theirs: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        config: server::Config,
        handler: H,
    ) -> (Self, JoinHandle<Result<(), Error>>)
    where
        H: server::Handler<Error = Error> + Send + 'static,
    {
        let config = Arc::new(server::Config {
            preferred: no_crypto(),
            keys: vec![key(1)],
            inactivity_timeout: None,
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..config
        });
        let server =
            tokio::spawn(async move { server::run_stream(config, theirs, handler).await?.await });
        let mut peer = Self { stream: ours };
        peer.exchange_keys().await;
        peer.send(packet!(msg::NEWKEYS)).await;
        (peer, server)
    }

    /// Accepts a client that has the stream `theirs`.
    async fn of_client_on<H>(
        ours: S,
        theirs: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        config: client::Config,
        handler: H,
    ) -> (Self, client::Handle<H>)
    where
        H: client::Handler<Error = Error> + Send + 'static,
    {
        let config = Arc::new(client::Config {
            preferred: no_crypto(),
            ..config
        });
        let mut peer = Self { stream: ours };
        let (client, ()) = within(async {
            tokio::join!(
                client::connect_stream(config, theirs, handler),
                peer.exchange_keys()
            )
        })
        .await;
        let mut client = client.unwrap();
        let (authenticated, ()) = within(async {
            tokio::join!(client.authenticate_none("user"), async {
                peer.expect(msg::SERVICE_REQUEST).await;
                peer.send(packet!(msg::SERVICE_ACCEPT, "ssh-userauth"))
                    .await;
                peer.expect(msg::USERAUTH_REQUEST).await;
                peer.send(packet!(msg::USERAUTH_SUCCESS)).await;
            })
        })
        .await;
        assert!(authenticated.unwrap().success());
        (peer, client)
    }

    /// Exchanges no keys: both sides agree on the method `none`. A client of
    /// russh then expects no SSH_MSG_NEWKEYS.
    async fn exchange_keys(&mut self) {
        self.exchange_ids().await;
        self.expect(msg::KEXINIT).await;
        self.send(kexinit("none", "ssh-ed25519")).await;
        self.expect(msg::NEWKEYS).await;
    }

    /// Exchanges identification strings (RFC 4253 §4.2), and returns the one
    /// of russh without its line break.
    async fn exchange_ids(&mut self) -> Vec<u8> {
        self.stream.write_all(b"SSH-2.0-peer\r\n").await.unwrap();
        let mut id = Vec::new();
        while !id.ends_with(b"\r\n") {
            id.push(within(self.stream.read_u8()).await.unwrap());
        }
        id.truncate(id.len() - 2);
        id
    }

    /// Authenticates at a server whose handler accepts the method `none`.
    async fn authenticate(&mut self) {
        self.request_authentication().await;
        self.send(packet!(
            msg::USERAUTH_REQUEST,
            "user",
            "ssh-connection",
            "none"
        ))
        .await;
        self.expect(msg::USERAUTH_SUCCESS).await;
    }

    /// Requests the service that authenticates users.
    async fn request_authentication(&mut self) {
        self.send(packet!(msg::SERVICE_REQUEST, "ssh-userauth"))
            .await;
        self.expect(msg::SERVICE_ACCEPT).await;
    }

    /// Opens a channel of type `session` at a server, and returns the number
    /// that the server gave it. Its number here is 0.
    async fn open_session(&mut self) -> u32 {
        self.send(packet!(
            msg::CHANNEL_OPEN,
            "session",
            0u32,
            u32::MAX,
            1u32 << 15
        ))
        .await;
        let confirmation = self.expect(msg::CHANNEL_OPEN_CONFIRMATION).await;
        u32::from_be_bytes(confirmation[5..9].try_into().unwrap())
    }

    /// Confirms the channel of type `session` that a client opens, and returns
    /// it with the number that the client gave it. Its number here is 0.
    async fn accept_session<H: client::Handler>(
        &mut self,
        client: &client::Handle<H>,
    ) -> (crate::Channel<client::Msg>, u32) {
        let (channel, theirs) = within(async {
            tokio::join!(client.channel_open_session(), async {
                let open = self.expect(msg::CHANNEL_OPEN).await;
                let theirs = u32::from_be_bytes(open[12..16].try_into().unwrap());
                self.send(packet!(
                    msg::CHANNEL_OPEN_CONFIRMATION,
                    theirs,
                    0u32,
                    u32::MAX,
                    1u32 << 15
                ))
                .await;
                theirs
            })
        })
        .await;
        (channel.unwrap(), theirs)
    }

    async fn send(&mut self, payload: Vec<u8>) {
        let mut padding = 8 - (5 + payload.len()) % 8;
        if padding < 4 {
            padding += 8;
        }
        let mut packet = Vec::new();
        ((1 + payload.len() + padding) as u32)
            .encode(&mut packet)
            .unwrap();
        packet.push(padding as u8);
        packet.extend(payload);
        packet.resize(packet.len() + padding, 0);
        self.stream.write_all(&packet).await.unwrap();
    }

    /// Receives the next packet, or `None` at the end of the connection.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let len = within(self.stream.read_u32()).await.ok()?;
        let mut packet = vec![0; len as usize];
        within(self.stream.read_exact(&mut packet)).await.ok()?;
        let padding = usize::from(packet.remove(0));
        packet.truncate(packet.len() - padding);
        Some(packet)
    }

    /// Receives the next packet, which must have this message number.
    async fn expect(&mut self, message: u8) -> Vec<u8> {
        let packet = self.receive().await.expect("the connection ended");
        assert_eq!(packet[0], message, "{packet:?}");
        packet
    }
}
