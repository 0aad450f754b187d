//! A connection to a target over any byte stream, for tests and fuzz targets.

use std::sync::{Arc, OnceLock};

use russh::{Preferred, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dial::{TargetConnection, config, handshake};
use super::handler::HostVerifier;
use super::host_trust::HostTrust;
use crate::api::BastionTarget;
use crate::gateway::bridge::IncomingChannel;
use crate::gateway::net::ConnectionHealth;
use crate::memory_budget::MEMORY_BUDGET;

impl TargetConnection {
    /// Connects to the SSH server at the other end of a stream with these algorithms, and signs in by the method
    /// `none`.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn over_stream(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        target: &BastionTarget,
        preferred: Preferred,
        incoming: mpsc::Sender<IncomingChannel>,
    ) -> Result<Self, russh::Error> {
        let trust = HostTrust::from_spec(target).ok_or(russh::Error::UnknownKey)?;
        let config = client::Config { preferred, ..config(&trust, &[]) };
        let error = Arc::new(OnceLock::new());
        let host =
            HostVerifier { session: "fuzz".into(), target: "web-1".to_owned(), trust, error, legacy: Vec::new() };
        let transport = (stream, ConnectionHealth::default(), CancellationToken::new().drop_guard());
        let mut connection = handshake(config, transport, host, incoming, MEMORY_BUDGET.of_user("fuzz")).await?;
        connection.handle.authenticate_none("root").await?;
        Ok(connection)
    }
}
