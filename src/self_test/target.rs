//! The target of the self-test: an SSH server that accepts one key and answers every command with one line.

use std::sync::Arc;

use russh::keys::ssh_key::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;

/// A running target.
pub struct Target {
    /// The target's host key.
    pub host_key: PublicKey,
    /// The TCP port. The target listens on every address.
    pub port: u16,
}

/// Starts a target that runs until this process ends. It accepts `key` and answers each command with `answer`.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(key: PublicKey, answer: String) -> anyhow::Result<Target> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let private = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let target = Target { host_key: private.public_key().clone(), port: listener.local_addr()?.port() };
    let config = Arc::new(server::Config { keys: vec![private], ..server::Config::default() });
    let handler = Handler { key, answer };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, handler) = (config.clone(), handler.clone());
            tokio::spawn(async move {
                if let Ok(session) = server::run_stream(config, stream, handler).await {
                    let _ = session.await;
                }
            });
        }
    });
    Ok(target)
}

#[derive(Clone)]
struct Handler {
    key: PublicKey,
    answer: String,
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(if key.public_key.key_data() == self.key.key_data() { Auth::Accept } else { Auth::reject() })
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

    async fn exec_request(&mut self, channel: ChannelId, _: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.data(channel, self.answer.clone().into_bytes())?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}
