//! A target that attacks: a server that takes the bastion's key, never reads its input, and obeys the commands below.
//!
//! - `agent`: opens a channel to the user's agent, and says whether it was refused;
//! - `port N`: opens a channel for a connection to its port N, and says whether it was refused;
//! - `signal`: ends by a signal whose name, message and language control terminals;
//! - `flood`: sends output in pieces of one byte, on both streams in turn;
//! - anything else: stays silent.

use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::ssh_key::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelControl, ChannelId, Sig};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::namespace::Namespace;
use crate::target_server::{add_target, authenticate};

/// Text that controls a terminal, and forges a line of a log.
pub const EVIL: &str = "bye \u{1b}]52;c;cm0gLXJmIC8=\u{7}\u{1b}[2J\u{9b}2J\naudit: forged";

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
                    if let Ok(session) = server::run_stream(config, stream, Handler).await {
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

struct Handler;

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
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
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
        // The callback must return before the answers to what is opened arrive.
        tokio::spawn(async move { obey(handle, channel, &command).await });
        Ok(())
    }
}

async fn obey(handle: Handle, channel: ChannelId, command: &str) {
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
