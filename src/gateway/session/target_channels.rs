//! Joins the channels of a session to its connection to the target: those that the user opens, and those that the target opens.

use std::sync::Arc;

use russh::ChannelOpenFailure;
use tracing::{Instrument, debug, warn};

use super::channel_kind::{ChannelKind, MAX_SESSION_CHANNELS, session_channels_notice};
use super::client::ClientConnection;
use super::dial_queue::{AdmittedChannel, Dialled};
use super::incoming_queue::MAX_INCOMING_WAIT;
use super::memory::NO_CHANNEL_MEMORY;
use super::task::Session;
use crate::gateway::access::Grant;
use crate::gateway::bridge::{ChannelOpen, ChannelType, IncomingChannel, UserConnection, resource_shortage};
use crate::gateway::target::{DialError, DialRequest, TargetConnection};
use crate::lifecycle::Cause;
use crate::metrics::{METRICS, RefusalLabels, UnreachableLabels};

impl Session {
    /// Handles the outcome of an attempt to connect to the target. Returns the cause if it ends the session.
    pub(super) fn dialled(&mut self, dialled: Dialled) -> Option<Cause> {
        match dialled {
            Ok(Ok(connection)) => {
                self.connected(connection);
                None
            }
            Ok(Err(unreachable)) => self.unreachable(&unreachable),
            Err(error) => {
                warn!(%error, "a task that connects to the target failed; the session ends");
                Some(Cause::TargetClosed)
            }
        }
    }

    fn connected(&mut self, connection: TargetConnection) {
        debug!("signed in to the target");
        self.deps.watchdog.add_connection(&self.name, connection.health());
        let connection = Arc::new(connection);
        let before = self.target_links.add(connection.clone(), self.memory.connection());
        self.release(before);
        for channel in self.dial_queue.connected() {
            self.channels.join(channel, connection.clone());
        }
    }

    /// Handles a failed attempt to connect to the target. Returns the cause if this ends the session; otherwise the channels that
    /// waited for the connection are refused.
    fn unreachable(&mut self, failure: &DialError) -> Option<Cause> {
        METRICS.targets_unreachable.get_or_create(&UnreachableLabels { reason: failure.label() }).inc();
        if !self.dial_queue.has_connected() {
            return Some(failure.end_cause());
        }
        warn!(error = %failure, "a further connection to the target could not be made; the channels that wait for it are refused");
        let notice: Arc<str> = format!("bastion: {}", failure.user_message()).into();
        for AdmittedChannel { channel, .. } in self.dial_queue.take() {
            self.refuse_channel(channel, notice.clone());
        }
        self.target_links.retry_current();
        None
    }

    /// Gives up the connection that new channels use. It goes on for its channels.
    pub(super) fn release_current(&mut self) {
        let current = self.target_links.take_current();
        self.release(current);
    }

    /// Gives up one use of a connection, if there is one, without waiting for the target.
    pub(super) fn release(&self, connection: Option<Arc<TargetConnection>>) {
        if let Some(connection) = connection {
            self.deps.tasks.spawn(TargetConnection::release(connection));
        }
    }

    /// Joins a channel of the user to the newest connection, or makes one for it.
    pub(super) fn join_or_wait(&mut self, channel: AdmittedChannel) {
        if let Some(connection) = self.target_links.for_channel(&channel.channel) {
            return self.channels.join(channel, connection);
        }
        if self.target_links.has_all() {
            let notice =
                "bastion: the target opens no further channel, and the session has as many connections to it as it may";
            return self.refuse_channel(channel.channel, notice.into());
        }
        self.dial_queue.push(channel);
        if !self.dial_queue.is_dialling() {
            self.dial();
        }
    }

    pub(super) fn dial(&mut self) {
        let Grant { user, login, .. } = &self.grant;
        // The keys, credentials or address of the target may have changed since the session began.
        let target = self.deps.directory.current_target(&self.grant.target);
        let (session, user, login) = (self.name.clone(), user.clone(), login.clone());
        let (incoming, memory) = (self.incoming.sender(), self.memory.user());
        let request = DialRequest { session, user, target, login, incoming, memory };
        self.dial_queue.dial(self.deps.dialer.clone(), request);
    }

    /// Joins a channel of the user to the target, if there is room for it.
    pub(super) fn channel_opened(&mut self, channel: ChannelOpen) {
        let kind = ChannelKind::of(&channel);
        if self.is_full(kind) {
            let notice = if kind == ChannelKind::Session { session_channels_notice() } else { self.forwards_notice() };
            METRICS.channels_beyond_limit.inc();
            debug!(notice, "a channel is refused");
            return self.refuse_channel(channel, notice.into());
        }
        match self.admit_channel(channel) {
            Ok(channel) => self.join_or_wait(channel),
            Err(channel) => {
                METRICS.channels_without_memory.inc();
                self.refuse_channel(channel, NO_CHANNEL_MEMORY.into());
            }
        }
    }

    /// Returns whether the session has as many channels of this kind as it may.
    fn is_full(&self, kind: ChannelKind) -> bool {
        let limit = match kind {
            ChannelKind::Session => MAX_SESSION_CHANNELS,
            ChannelKind::Forward => self.deps.max_forwards,
            ChannelKind::RemoteForwards => return false,
        };
        // A closed channel still counts until the target has closed it.
        self.channels.len(kind) + self.dial_queue.len(kind) >= limit
    }

    /// Returns the notice for a further forwarded connection when the session has as many as it may.
    fn forwards_notice(&self) -> String {
        let max = self.deps.max_forwards;
        format!(
            "bastion: this session has {max} forwarded connections open, as many as it may (--max-forwards of the gateway)"
        )
    }

    /// Returns whether no channel is open, and none waits for the target.
    pub(super) fn has_no_channel(&self) -> bool {
        self.channels.is_empty() && self.dial_queue.is_empty()
    }

    fn refuse_channel(&self, channel: ChannelOpen, notice: Arc<str>) {
        self.deps.tasks.spawn(async move { channel.refuse(&notice).await }.in_current_span());
    }

    /// Takes memory for a channel of the user. Returns the channel if the budget has no room for another one.
    pub(super) fn admit_channel(&self, channel: ChannelOpen) -> Result<AdmittedChannel, ChannelOpen> {
        let memory =
            if self.has_no_channel() { Some(self.memory.first_channel()) } else { self.memory.further_channel() };
        match memory {
            Some(memory) => Ok(AdmittedChannel { channel, memory }),
            None => Err(channel),
        }
    }

    /// Opens the next channel of the target to the user if it is due: there is room for it, or it has waited too long.
    pub(super) async fn admit_incoming(&mut self, client: &ClientConnection) {
        let is_full = self.is_full(ChannelKind::Forward);
        let Some(incoming) = self.incoming.take_due(is_full, &self.requested) else { return };
        match client {
            ClientConnection::Ssh(user) => self.open_incoming(incoming, user).await,
            // The web terminal requests no such channel.
            ClientConnection::Web(_) => incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
    }

    /// Opens a channel of the target to the user, or refuses it.
    async fn open_incoming(&mut self, incoming: IncomingChannel, user: &UserConnection) {
        let (allow, restrictions) = (self.grant.target.spec.allow, &self.grant.restrictions);
        let allowed = match incoming.channel_type {
            ChannelType::Agent => restrictions.agent_forward(allow),
            ChannelType::ForwardedTcpip { .. } => restrictions.remote_forward(allow),
        };
        if let Err(denied) = allowed {
            incoming.channel_type.write_audit(&self.observers.audit, None, denied.result);
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if !self.requested.includes(&incoming.channel_type) {
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "not_requested" }).inc();
            warn!(
                channel_type = incoming.channel_type.label(),
                "a channel that the target opens is refused: the user did not ask for it"
            );
            incoming.channel_type.write_audit(&self.observers.audit, None, "refused: the user did not ask for it");
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.is_full(ChannelKind::Forward) {
            let notice = self.forwards_notice();
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "waited" }).inc();
            warn!(notice, waited_s = MAX_INCOMING_WAIT.as_secs(), "a channel that the target opens is refused");
            incoming.channel_type.write_audit(
                &self.observers.audit,
                None,
                "not opened: too many forwarded connections",
            );
            incoming.refuse(resource_shortage(&notice)).await;
        } else if let Some(memory) = self.memory.further_channel() {
            self.channels.join_incoming(incoming, user.clone(), memory);
        } else {
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "memory" }).inc();
            incoming.channel_type.write_audit(&self.observers.audit, None, "not opened: no memory");
            incoming.refuse(resource_shortage("bastion: this gateway has no memory for another channel")).await;
        }
    }
}
