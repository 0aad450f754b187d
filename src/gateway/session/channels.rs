//! The open channels of one session. Each channel runs in a task of its own.

use std::sync::Arc;

use futures::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::dial_queue::AdmittedChannel;
use super::end_cause::ChannelOutcome;
use crate::gateway::bridge::{
    ChannelContext, ChannelEnd, ChannelOpen, IncomingChannel, UserConnection, channel, local_forward, remote_forward,
};
use crate::gateway::observe::{ChannelObserver, Observers};
use crate::gateway::target::TargetConnection;
use crate::lifecycle::Cause;
use crate::memory_budget::Charge;

/// How many channels a session may have open at once. Channels that the user opened and channels that the target opened count.
pub const MAX_CHANNELS: usize = 128;

/// Runs the channels of one session, and derives the cause of the session's end from their ends.
pub struct Channels {
    tasks: JoinSet<ChannelEnd>,
    outcome: ChannelOutcome,
    observers: Observers,
    context: ChannelContext,
}

impl Channels {
    /// Creates an empty set of channels.
    pub fn new(observers: Observers, context: ChannelContext) -> Self {
        Self { tasks: JoinSet::new(), outcome: ChannelOutcome::default(), observers, context }
    }

    /// Joins a channel of the user to a connection to the target.
    pub fn join(&mut self, AdmittedChannel { channel, memory }: AdmittedChannel, connection: TargetConnection) {
        let (audit, context) = (self.observers.audit.clone(), self.context.clone());
        match channel {
            ChannelOpen::Session(user) => self.spawn(memory, channel::join(user, connection, self.observer(), context)),
            ChannelOpen::Companion(user) => {
                let join = channel::join(user, connection, self.observer(), context);
                self.spawn(memory, join.map(|_| ChannelEnd::Dependent));
            }
            ChannelOpen::LocalForward(forward) => {
                self.spawn(memory, local_forward::join(*forward, connection, audit, context));
            }
            ChannelOpen::RemoteForwards(requests) => {
                self.spawn(memory, remote_forward::listen(requests, connection, audit, context));
            }
        }
    }

    /// Joins a channel that the target opens to the user's connection.
    pub fn join_incoming(&mut self, incoming: IncomingChannel, user: UserConnection, memory: Charge) {
        let (audit, context) = (self.observers.audit.clone(), self.context.clone());
        self.spawn(memory, remote_forward::join(incoming, user, audit, context));
    }

    /// Waits for the next channel to end. Returns `None` if no channel is open.
    pub async fn next_end(&mut self) -> Option<Result<ChannelEnd, JoinError>> {
        self.tasks.join_next().await
    }

    /// Records the end of a channel. If the session ends with it, returns the cause.
    pub fn record(&mut self, end: ChannelEnd) -> Option<Cause> {
        let is_last = self.is_empty();
        self.outcome.record(end, is_last)
    }

    /// Waits for the end of all channels after the user's connection has ended. Returns why the session ends. The parameters
    /// are those of [`ChannelOutcome::client_gone`].
    pub async fn client_gone(&mut self, is_waiting: bool, reported: Option<Cause>) -> Cause {
        let mut open = Vec::new();
        while let Some(end) = self.next_end().await {
            // A channel whose task failed did not close cleanly.
            open.push(end.unwrap_or(ChannelEnd::Interrupted));
        }
        self.outcome.client_gone(open, is_waiting, reported)
    }

    /// Waits for the end of all channels.
    pub async fn join_all(&mut self) {
        while self.next_end().await.is_some() {}
    }

    /// Returns whether a channel has closed cleanly.
    pub const fn has_exit(&self) -> bool {
        self.outcome.has_exit()
    }

    /// Returns the number of open channels.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns whether no channel is open.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns whether [`MAX_CHANNELS`] are open.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_CHANNELS
    }

    fn observer(&self) -> Arc<ChannelObserver> {
        Arc::new(ChannelObserver::new(self.observers.clone()))
    }

    fn spawn(&mut self, memory: Charge, channel: impl Future<Output = ChannelEnd> + Send + 'static) {
        let channel = async move {
            let _memory = memory;
            channel.await
        };
        self.tasks.spawn(channel.in_current_span());
    }
}
