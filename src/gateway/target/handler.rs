//! The thin side of the SSH library towards a target: whether its host key is trusted is judged, and what it sends is put
//! into inboxes. Nothing here waits for the user's side.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use jiff::Timestamp;
use russh::client::{self, ChannelOpenHandle};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure, Names, Sig};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::algorithms;
use super::host_trust::{HostKeyError, HostTrust};
use crate::api::LegacyAlgorithm;
use crate::gateway::bridge;
use crate::gateway::bridge::{END_OF_WRITE, FromTarget, Inboxes, Incoming, MAX_INCOMING, Purpose, TargetSide};
use crate::metrics::{AlgorithmLabels, METRICS, RefusalLabels};

/// What a target is checked against while keys are exchanged.
pub struct Host {
    /// The session that the connection is for.
    pub session: Arc<str>,
    /// The target's name.
    pub name: String,
    /// Whom to trust.
    pub trust: HostTrust,
    /// Why it is not trusted: the library only says that it is not.
    pub host_key_error: Arc<OnceLock<HostKeyError>>,
    /// What the target asks for that is old.
    pub legacy: Vec<LegacyAlgorithm>,
}

impl Host {
    fn is_trusted(&self, shown: &PublicKeyOrCertificate) -> bool {
        match self.trust.check(shown, Timestamp::now()) {
            Ok(()) => true,
            Err(host_key_error) => {
                let _ = self.host_key_error.set(host_key_error);
                false
            }
        }
    }

    /// Nobody is to forget which targets still need what is old.
    fn report_legacy(&self, names: &Names) {
        for algorithm in algorithms::negotiated(&self.legacy, names) {
            METRICS.legacy_algorithms_negotiated.get_or_create(&AlgorithmLabels { algorithm }).inc();
            warn!(session = %self.session, target = self.name, algorithm, "a legacy algorithm is used with a target that asks for it");
        }
    }
}

/// Hears what a target says on one connection.
pub struct TargetHandler {
    /// What it is checked against.
    pub host: Host,
    /// Takes the reason why a channel was not opened.
    pub refused: Option<oneshot::Sender<ChannelOpenFailure>>,
    /// What comes on each channel.
    pub inboxes: Arc<Inboxes<FromTarget>>,
    /// Takes the channels that the target opens.
    pub incoming: mpsc::Sender<Incoming>,
}

/// The target's side of a channel. The reading half is dropped: with it, the connection's loop would wait for whoever reads.
pub fn side(inboxes: &Inboxes<FromTarget>, channel: Channel<client::Msg>) -> TargetSide {
    let (_, write) = channel.split();
    TargetSide::new(inboxes.claim(write.id()), write)
}

impl TargetHandler {
    fn put(&self, channel: ChannelId, said: FromTarget) -> Result<(), russh::Error> {
        let bytes = said.size();
        Ok(self.inboxes.put(channel, said, bytes)?)
    }

    /// Hands a channel that the target opens over to the session, where it waits for room; refuses it when too many wait.
    async fn hand_over(&self, purpose: Purpose, channel: Channel<client::Msg>, reply: ChannelOpenHandle) {
        let target = side(&self.inboxes, channel);
        let incoming = Incoming { purpose, target, reply, inboxes: self.inboxes.clone(), since: Instant::now() };
        match self.incoming.try_send(incoming) {
            Ok(()) => {}
            Err(TrySendError::Full(incoming)) => {
                METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "queue_full" }).inc();
                warn!(session = %self.host.session, MAX_INCOMING, "a channel that the target opens is refused: too many wait");
                incoming.refuse(bridge::resource_shortage("bastion: too many channels wait to be opened")).await;
            }
            // The session has ended, and says so to both sides.
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

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        if let Some(refused) = self.refused.take() {
            let _ = refused.send(bridge::with_reason(&reason, description));
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
        self.inboxes.expect(channel);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut client::Session) -> Result<(), Self::Error> {
        Ok(self.inboxes.put_data(channel, None, data)?)
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(self.inboxes.put_data(channel, Some(stream), data)?)
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
}
