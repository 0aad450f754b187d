//! A target that attacks: a server that takes the bastion's key, never reads its input, and obeys the commands below.
//!
//! - `agent`: opens a channel to the user's agent, and says whether it was refused;
//! - `port N`: opens a channel for a connection to its port N, and says whether it was refused;
//! - `signal`: ends by a signal whose name, message and language control terminals;
//! - `flood`: sends output in pieces of one byte, on both streams in turn;
//! - `grants`: grants window until it adds up to far more than a window can be, and says so;
//! - `stops`: reads nothing more from the connection;
//! - anything else: stays silent.

use std::collections::HashMap;
use std::io::Result as IoResult;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelControl, ChannelId, ChannelWriteHalf, Sig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::interval;

use crate::namespace::Namespace;
use crate::target_server::{add_target, authenticate};

/// Text that controls a terminal, and forges a line of a log.
pub const EVIL: &str = "bye \u{1b}]52;c;cm0gLXJmIC8=\u{7}\u{1b}[2J\u{9b}2J\naudit: forged";

/// How often window is granted in a row.
const GRANTS: usize = 10_000;
/// The code of standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// A running target.
pub struct HostileTarget {
    address: SocketAddr,
    host_key: PrivateKey,
}

impl HostileTarget {
    /// Starts one that grants a window of this many bytes, once.
    pub async fn start(window_size: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a random key");
        let config = Arc::new(server::Config {
            keys: vec![host_key.clone()],
            inactivity_timeout: None,
            window_size,
            channel_control: ChannelControl::Application,
            ..server::Config::default()
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = config.clone();
                tokio::spawn(async move {
                    let stops = Arc::new(AtomicBool::new(false));
                    let handler = Handler { stops: stops.clone(), channels: HashMap::new() };
                    if let Ok(session) = server::run_stream(config, Stoppable { stream, stops }, handler).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Self { address, host_key }
    }

    /// Makes it a BastionTarget of this name, with this more in its spec.
    pub async fn add_to(&self, namespace: &Namespace, name: &str, spec: Value) {
        add_target(namespace, name, self.address, &self.host_key, "evil", spec).await;
    }
}

struct Handler {
    /// Stops the connection's reading.
    stops: Arc<AtomicBool>,
    /// The channels without a command.
    channels: HashMap<ChannelId, ChannelWriteHalf<Msg>>,
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(Some(EVIL.to_owned()))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        authenticate(&key).await
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let (_, write) = channel.split();
        self.channels.insert(write.id(), write);
        reply.accept().await;
        Ok(())
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let (handle, command) = (session.handle(), String::from_utf8_lossy(command).into_owned());
        if command == "stops" {
            self.stops.store(true, Ordering::Relaxed);
        }
        let write = self.channels.remove(&channel);
        // The callback must return before the answers to what is opened arrive.
        tokio::spawn(async move { obey(handle, channel, write, &command).await });
        Ok(())
    }
}

async fn obey(handle: Handle, channel: ChannelId, write: Option<ChannelWriteHalf<Msg>>, command: &str) {
    let said = |opened: Result<Channel<Msg>, russh::Error>| match opened {
        Ok(_) => "opened\n".to_owned(),
        Err(error) => format!("not opened: {error:?}\n"),
    };
    let text = match command.split_once(' ') {
        Some(("port", port)) => {
            let port = port.parse().expect("a port");
            said(handle.channel_open_forwarded_tcpip("localhost", port, EVIL, 1).await)
        }
        _ if command == "agent" => said(handle.channel_open_agent().await),
        _ if command == "signal" => {
            let signal = Sig::Custom(EVIL.to_owned());
            let _ = handle.exit_signal_request(channel, signal, false, EVIL.to_owned(), EVIL.to_owned()).await;
            String::new()
        }
        _ if command == "grants" => {
            for _ in 0..GRANTS {
                write.as_ref().expect("its first command").grant_window(u32::MAX).await.expect("a connection");
            }
            "granted\n".to_owned()
        }
        _ if command == "flood" => return flood(handle, channel).await,
        _ => return,
    };
    if !text.is_empty() {
        let _ = handle.data(channel, text).await;
        let _ = handle.exit_status_request(channel, 0).await;
    }
    let _ = handle.eof(channel).await;
    let _ = handle.close(channel).await;
}

async fn flood(handle: Handle, channel: ChannelId) {
    loop {
        if handle.data(channel, "x").await.is_err() || handle.extended_data(channel, STDERR, "y").await.is_err() {
            return;
        }
    }
}

/// A connection from which no more is read after a while.
struct Stoppable {
    stream: TcpStream,
    stops: Arc<AtomicBool>,
}

impl AsyncRead for Stoppable {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        // It is not woken again: the end of the connection is of no interest to it either.
        if self.stops.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stoppable {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A target that speaks before any sign-in, without end.
pub struct Babbler {
    address: SocketAddr,
    host_key: PrivateKey,
}

impl Babbler {
    /// Starts one that says `first` to each client, and then `again` for as long as the client is there: some megabytes a second.
    pub async fn start(first: &[u8], again: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a random key");
        let (first, again) = (first.to_vec(), again.repeat(64 * 1024 / again.len()));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (first, again) = (first.clone(), again.clone());
                tokio::spawn(async move {
                    let mut ticks = interval(Duration::from_millis(10));
                    let mut said = stream.write_all(&first).await;
                    while said.is_ok() {
                        ticks.tick().await;
                        said = stream.write_all(&again).await;
                    }
                });
            }
        });
        Self { address, host_key }
    }

    /// Makes it a BastionTarget of this name.
    pub async fn add_to(&self, namespace: &Namespace, name: &str) {
        add_target(namespace, name, self.address, &self.host_key, "evil", json!({})).await;
    }
}
