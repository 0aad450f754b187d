//! What ends a running session, and which cause each event means. `exit_or_disconnect.rs` decides about the ends of channels.

use std::time::Instant;

use tokio::task::JoinError;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use super::channels::Finished;
use super::client::ClientSide;
use super::dial_queue::Dialled;
use super::registry::{EndSignal, end_requested};
use super::task::Session;
use crate::clock;
use crate::gateway::bridge::{ChannelOpen, SessionNotice};
use crate::lifecycle::{Cause, PeerSide, Verdict};
use crate::recording::RecordingError;

/// An event in a running session.
enum Event {
    /// The user's connection has ended.
    ClientGone,
    /// The registry signals that the session must end.
    EndRequested(Cause),
    /// A channel has ended.
    ChannelFinished(Result<Finished, JoinError>),
    /// The newest connection to the target has ended.
    ConnectionClosed,
    /// No connection to the target is left, while channels wait for the target.
    TargetLost,
    /// An attempt to connect to the target has finished.
    Dialled(Dialled),
    /// A required recording has failed.
    RecordingFailed(RecordingError),
    /// A limit is reached.
    LimitReached(Cause),
    /// The network on one side is lost.
    NetworkLost(PeerSide),
    /// The gateway shuts down; its sessions may continue for the grace period.
    Draining,
    /// The user has opened a channel.
    ChannelOpened(ChannelOpen),
    /// A check is due: of the limits, of the network, or of a channel that waits for room.
    CheckDue,
}

impl Session {
    /// Runs until something ends the session. Returns the cause.
    pub(super) async fn run_until_end(&mut self, client: &mut ClientSide, mut end_signal: EndSignal) -> Cause {
        let mut drain_announced = false;
        loop {
            self.deps.watchdog.heartbeat(&self.name);
            let event = if let Some(event) = self.check(client) {
                event
            } else {
                self.admit_incoming(&client.connection).await;
                self.next_event(client, &mut end_signal, drain_announced).await
            };
            drain_announced |= matches!(event, Event::Draining);
            if let Some(cause) = self.handle(event, client).await {
                return cause;
            }
        }
    }

    /// Handles an event. If it ends the session, returns the cause. The comments name the reason of each end.
    async fn handle(&mut self, event: Event, client: &ClientSide) -> Option<Cause> {
        match event {
            // UserExit, TabClosed, ClientDisconnected; TargetClosed if the target broke off a channel before.
            Event::ClientGone => Some(self.client_gone(client).await),
            // ApiClosed, AdminTerminated, AccessRevoked, GatewayShutdown, GatewayLost; IdleTimeout, MaxDuration.
            Event::EndRequested(cause) | Event::LimitReached(cause) => Some(cause),
            // TargetClosed.
            Event::ChannelFinished(finished) => self.channel_finished(finished),
            Event::ConnectionClosed => self.connection_closed(),
            Event::TargetLost => {
                warn!("no connection to the target is left; the session ends");
                Some(Cause::TargetClosed)
            }
            // TargetUnreachable.
            Event::Dialled(dialled) => self.dialled(dialled),
            // RecordingFailed.
            Event::RecordingFailed(failure) => Some(Cause::RecordingFailed(failure.message)),
            // NetworkLost.
            Event::NetworkLost(side) => Some(Cause::NetworkLost(side)),
            // The remaining events end no session.
            Event::Draining => {
                self.announce_drain();
                None
            }
            Event::ChannelOpened(channel) => {
                self.channel_opened(channel);
                None
            }
            Event::CheckDue => None,
        }
    }

    /// Waits for the next event. If several are ready, returns the first in the order of this list.
    async fn next_event(
        &mut self,
        client: &mut ClientSide,
        end_signal: &mut EndSignal,
        drain_announced: bool,
    ) -> Event {
        let waits_for_room = self.incoming.has_next();
        tokio::select! {
            biased;
            cause = end_requested(end_signal) => Event::EndRequested(cause),
            failure = self.observers.recording.wait_for_failure() => Event::RecordingFailed(failure),
            Some(dialled) = self.dial_queue.next() => Event::Dialled(dialled),
            Some(finished) = self.channels.next_end() => Event::ChannelFinished(finished),
            () = client.gone.cancelled() => Event::ClientGone,
            Some(channel) = client.opened.recv() => Event::ChannelOpened(channel),
            () = self.incoming.receive(), if !waits_for_room => Event::CheckDue,
            () = self.target_links.current_closed() => Event::ConnectionClosed,
            () = self.deps.stop.cancelled(), if !drain_announced => Event::Draining,
            () = sleep_until(self.deadlines.next_check().into()) => Event::CheckDue,
            () = sleep(self.target_links.check_interval()) => Event::CheckDue,
        }
    }

    /// Checks the limits, the network of both sides, and the connections to the target.
    fn check(&mut self, client: &ClientSide) -> Option<Event> {
        let now = Instant::now();
        match self.deadlines.check(self.activity.last_input(), now) {
            Verdict::End(cause) => return Some(Event::LimitReached(cause)),
            Verdict::Warn(text) => drop(self.announce.send_replace(SessionNotice::Warning(text.into()))),
            Verdict::Within(_) => {}
        }
        let network_now = clock::now();
        if client.health.tcp_health().is_some_and(|health| self.user_network.is_lost(health, network_now)) {
            return Some(Event::NetworkLost(PeerSide::User));
        }
        if self.target_links.is_network_lost(network_now) {
            return Some(Event::NetworkLost(PeerSide::Target));
        }
        let (_, passed) = self.activity.bytes();
        self.target_links.is_target_lost(!self.channels.is_empty(), passed, now).then_some(Event::TargetLost)
    }

    /// Returns why the session ends after the user's connection has ended.
    async fn client_gone(&mut self, client: &ClientSide) -> Cause {
        self.announce.send_replace(SessionNotice::Ended(None));
        self.channels.client_gone(!self.dial_queue.is_empty(), client.close_cause()).await
    }

    fn channel_finished(&mut self, finished: Result<Finished, JoinError>) -> Option<Cause> {
        match finished {
            Ok(Finished::Ended(end)) => self.channels.record(end).or_else(|| self.lost_with_last_channel()),
            Ok(Finished::NoRoom(channel, connection)) => {
                self.target_links.set_full(&connection);
                self.release(Some(connection));
                self.join_or_wait(channel);
                None
            }
            Err(error) => {
                warn!(%error, "a channel's task failed; the session ends");
                Some(Cause::TargetClosed)
            }
        }
    }

    /// Returns TargetClosed if the target broke off a channel, and neither a channel nor a connection is left.
    fn lost_with_last_channel(&self) -> Option<Cause> {
        let is_lost = self.has_no_channel() && self.channels.is_target_lost() && !self.target_links.is_connected();
        is_lost.then_some(Cause::TargetClosed)
    }

    /// Forgets the newest connection, which has ended. Ends the session if no channel is open and none has closed cleanly. After a
    /// command the session goes on, because some targets then close the connection.
    fn connection_closed(&mut self) -> Option<Cause> {
        self.release_current();
        if !self.has_no_channel() {
            return None;
        }
        let session_ends = !self.channels.has_exit();
        info!(session_ends, "the connection to the target has ended; no channel used it");
        session_ends.then_some(Cause::TargetClosed)
    }

    /// Warns users at a terminal that the gateway shuts down.
    fn announce_drain(&self) {
        let seconds = self.deps.grace_period.as_secs();
        if seconds > 0 {
            let text = format!("bastion: this gateway is being stopped; the session ends in {seconds} seconds");
            self.announce.send_replace(SessionNotice::Warning(text.into()));
        }
    }
}
