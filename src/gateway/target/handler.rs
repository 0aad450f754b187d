//! Handles the SSH messages of a target: verifies its host key, and pushes its channel messages into inboxes.
//!
//! The handler runs in the connection's read loop, so it never waits for the user's side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use jiff::Timestamp;
use russh::client::{self, ChannelOpenHandle};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure, Names, Sig};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::algorithms;
use super::host_trust::{HostKeyError, HostTrust};
use crate::api::LegacyAlgorithm;
use crate::gateway::bridge::{
    self, ChannelType, END_OF_WRITE, FromTarget, Inboxes, IncomingChannel, MAX_INCOMING, TargetSide,
};
use crate::metrics::{AlgorithmLabels, METRICS, RefusalLabels};

/// Verifies a target's host key and observes its algorithms during a key exchange.
pub struct HostVerifier {
    /// The name of the session that the connection is for.
    pub session: Arc<str>,
    /// The target's name.
    pub target: String,
    /// The host keys and authorities to trust.
    pub trust: HostTrust,
    /// Takes the reason why the host key is not trusted, because russh does not return this reason.
    pub error: Arc<OnceLock<HostKeyError>>,
    /// The target's `spec.legacyAlgorithms`.
    pub legacy: Vec<LegacyAlgorithm>,
}

impl HostVerifier {
    fn is_trusted(&self, shown: &PublicKeyOrCertificate) -> bool {
        match self.trust.check(shown, Timestamp::now()) {
            Ok(()) => true,
            Err(error) => {
                let _ = self.error.set(error);
                false
            }
        }
    }

    /// Counts and logs the legacy algorithms in use, so that operators see which targets still need them.
    fn report_legacy(&self, names: &Names) {
        for algorithm in algorithms::negotiated(&self.legacy, names) {
            METRICS.legacy_algorithms_negotiated.get_or_create(&AlgorithmLabels { algorithm }).inc();
            warn!(session = %self.session, target = self.target, algorithm, "a legacy algorithm is used with a target that asks for it");
        }
    }
}

/// Handles the messages of one connection to a target.
pub struct TargetHandler {
    /// Verifies the target's host key.
    pub host: HostVerifier,
    /// Set when the target has confirmed a channel that the gateway opened.
    pub has_confirmed: Arc<AtomicBool>,
    /// The inboxes of the connection's channels.
    pub inboxes: Arc<Inboxes<FromTarget>>,
    /// Takes the channels that the target opens.
    pub incoming: mpsc::Sender<IncomingChannel>,
}

impl TargetHandler {
    fn push(&self, channel: ChannelId, message: FromTarget) -> Result<(), russh::Error> {
        let bytes = message.size();
        Ok(self.inboxes.push_control(channel, message, bytes)?)
    }

    /// Passes a channel that the target opens to the session, where the channel waits for room. Refuses the channel if too many
    /// wait.
    async fn queue_incoming(&self, channel_type: ChannelType, channel: Channel<client::Msg>, reply: ChannelOpenHandle) {
        let target = TargetSide::claim(&self.inboxes, channel);
        let (inboxes, requested_at) = (self.inboxes.clone(), Instant::now());
        let incoming = IncomingChannel { channel_type, target, reply, inboxes, requested_at };
        match self.incoming.try_send(incoming) {
            Ok(()) => {}
            Err(TrySendError::Full(incoming)) => {
                METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "queue_full" }).inc();
                warn!(session = %self.host.session, max = MAX_INCOMING, "a channel that the target opens is refused: too many wait");
                incoming.refuse(bridge::resource_shortage("bastion: too many channels wait to be opened")).await;
            }
            // The session has ended, and no longer receives channels.
            Err(TrySendError::Closed(incoming)) => {
                incoming.refuse(bridge::connect_failed("bastion: session ended")).await;
            }
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

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.has_confirmed.store(true, Ordering::Relaxed);
        // The channel's first message may arrive before the task that asked for it claims the inbox.
        self.inboxes.open(channel);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut client::Session) -> Result<(), Self::Error> {
        self.inboxes.push_data(channel, None, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.inboxes.push_data(channel, Some(stream), data);
        Ok(())
    }

    async fn channel_success(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.push(channel, FromTarget::Success)
    }

    async fn channel_failure(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.push(channel, FromTarget::Failure)
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        status: u32,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.push(channel, FromTarget::ExitStatus(status))
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
        self.push(channel, FromTarget::ExitSignal { signal, core_dumped, message, language })
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.push(channel, FromTarget::Eof)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Self::Error> {
        self.inboxes.close(channel, FromTarget::Close);
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
                inbox.mark_end_of_write();
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
        let channel_type = ChannelType::ForwardedTcpip { address, port, originator, originator_port };
        self.queue_incoming(channel_type, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.queue_incoming(ChannelType::Agent, channel, reply).await;
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
}
