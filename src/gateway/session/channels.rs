//! The open channels of one session. Each runs in a task of its own.

use std::sync::Arc;

use futures::TryFutureExt;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::dial_queue::AdmittedChannel;
use super::exit_or_disconnect::ChannelOutcome;
use crate::gateway::bridge::{
    ChannelContext, ChannelEnd, ChannelOpen, IncomingChannel, UserChannel, UserConnection, channel, local_forward,
    remote_forward,
};
use crate::gateway::observe::{ChannelObserver, Observers};
use crate::gateway::target::TargetConnection;
use crate::lifecycle::Cause;
use crate::memory_budget::Charge;

/// How many channels a session may have open at once, opened by either side.
pub const MAX_CHANNELS: usize = 128;

/// Runs the channels of one session, and keeps their outcome.
pub struct Channels {
    tasks: JoinSet<Finished>,
    outcome: ChannelOutcome,
    observers: Observers,
    context: ChannelContext,
}

/// What the task of a channel returns.
pub enum Finished {
    /// The channel has ended.
    Ended(ChannelEnd),
    /// The target opens no further `session` channel on this connection. The channel waits for another connection.
    NoRoom(AdmittedChannel, Arc<TargetConnection>),
}

impl Channels {
    /// Creates an empty set of channels.
    pub fn new(observers: Observers, context: ChannelContext) -> Self {
        Self { tasks: JoinSet::new(), outcome: ChannelOutcome::default(), observers, context }
    }

    /// Joins a channel of the user to a connection to the target.
    pub fn join(&mut self, AdmittedChannel { channel, memory }: AdmittedChannel, connection: Arc<TargetConnection>) {
        let (audit, context) = (self.observers.audit.clone(), self.context.clone());
        match channel {
            ChannelOpen::Session(user) => {
                let join = channel::join(user, connection, self.observer(), context);
                self.spawn_session(memory, join, ChannelOpen::Session);
            }
            ChannelOpen::Companion(user) => {
                let join = channel::join(user, connection, self.observer(), context);
                self.spawn_session(memory, join.map_ok(|_| ChannelEnd::Dependent), ChannelOpen::Companion);
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

    /// Waits for the next channel to end. Returns `None` if none is open.
    pub async fn next_end(&mut self) -> Option<Result<Finished, JoinError>> {
        self.tasks.join_next().await
    }

    /// Records the end of a channel. Returns the cause if this ends the session.
    pub fn record(&mut self, end: ChannelEnd) -> Option<Cause> {
        let is_last = self.is_empty();
        self.outcome.record(end, is_last)
    }

    /// Waits for the end of all channels after the user's connection has ended. Returns why the session ends. `is_waiting` and
    /// `reported` are those of [`ChannelOutcome::client_gone`].
    pub async fn client_gone(&mut self, is_waiting: bool, reported: Option<Cause>) -> Cause {
        let mut open = Vec::new();
        while let Some(finished) = self.next_end().await {
            open.push(match finished {
                Ok(Finished::Ended(end)) => end,
                Ok(Finished::NoRoom(..)) => ChannelEnd::NotOpened,
                // A channel whose task failed did not close cleanly.
                Err(_) => ChannelEnd::Interrupted,
            });
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
            Finished::Ended(channel.await)
        };
        self.tasks.spawn(channel.in_current_span());
    }

    /// Runs a `session` channel, which waits again if the connection has no room for it.
    fn spawn_session(
        &mut self,
        memory: Charge,
        channel: impl Future<Output = Result<ChannelEnd, (UserChannel, Arc<TargetConnection>)>> + Send + 'static,
        waiting: fn(UserChannel) -> ChannelOpen,
    ) {
        let channel = async move {
            match channel.await {
                Ok(end) => {
                    drop(memory);
                    Finished::Ended(end)
                }
                Err((user, connection)) => {
                    Finished::NoRoom(AdmittedChannel { channel: waiting(user), memory }, connection)
                }
            }
        };
        self.tasks.spawn(channel.in_current_span());
    }
}
