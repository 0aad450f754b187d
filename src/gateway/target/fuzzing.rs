//! A connection to a target on a stream that a fuzz target holds the other end of.

use std::sync::{Arc, OnceLock};

use russh::{Preferred, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::dial::{TargetConnection, announce_end, config};
use super::handler::{Host, TargetHandler};
use super::host_trust::HostTrust;
use crate::api::BastionTarget;
use crate::gateway::bridge::{Inboxes, Incoming};
use crate::gateway::net::ConnectionHealth;

impl TargetConnection {
    /// Signs in to what speaks SSH there in these algorithms, and asks for no credential.
    ///
    /// # Errors
    /// When the other side does not play along.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        target: &BastionTarget,
        preferred: Preferred,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, russh::Error> {
        let trust = HostTrust::of(target).ok_or(russh::Error::UnknownKey)?;
        let config = Arc::new(client::Config { preferred, ..config(&trust, &[]) });
        let host_key_error = Arc::new(OnceLock::new());
        let host = Host { session: "fuzz".into(), name: "web-1".to_owned(), trust, host_key_error, legacy: Vec::new() };
        let inboxes = Arc::<Inboxes<_>>::default();
        let (refused, refusal) = oneshot::channel();
        let handler = TargetHandler { host, refused: Some(refused), inboxes: inboxes.clone(), incoming };
        let mut handle = client::connect_stream(config, stream, handler).await?;
        let end = announce_end(&handle, inboxes.clone());
        handle.authenticate_none("root").await?;
        let cut = CancellationToken::new().drop_guard();
        Ok(Self { handle, health: ConnectionHealth::default(), inboxes, end, refusal, _cut: cut })
    }
}
