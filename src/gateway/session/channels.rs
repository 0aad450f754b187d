//! The open channels of one session. Each channel runs in a task of its own.

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

/// The most `session` channels of a session: shells, commands and file transfers.
pub const MAX_SESSION_CHANNELS: usize = 64;

/// What a channel counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A shell, a command or a file transfer.
    Session,
    /// A forwarded connection, or one to the user's agent. Either side may open it.
    Forward,
    /// The user's remote forwards, of which a session has one. The connections to their ports count as [`Self::Forward`].
    RemoteForwards,
}

impl ChannelKind {
    /// Returns the kind of a channel that the user opens.
    pub const fn of(channel: &ChannelOpen) -> Self {
        match channel {
            ChannelOpen::Session(_) | ChannelOpen::Companion(_) => Self::Session,
            ChannelOpen::LocalForward(_) => Self::Forward,
            ChannelOpen::RemoteForwards(_) => Self::RemoteForwards,
        }
    }
}

/// Runs the channels of one session, and derives the cause of the session's end from their ends.
pub struct Channels {
    tasks: JoinSet<(ChannelKind, Finished)>,
    sessions: usize,
    forwards: usize,
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
        let outcome = ChannelOutcome::default();
        Self { tasks: JoinSet::new(), sessions: 0, forwards: 0, outcome, observers, context }
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
                self.spawn(ChannelKind::Forward, memory, local_forward::join(*forward, connection, audit, context));
            }
            ChannelOpen::RemoteForwards(requests) => {
                let listen = remote_forward::listen(requests, connection, audit, context);
                self.spawn(ChannelKind::RemoteForwards, memory, listen);
            }
        }
    }

    /// Joins a channel that the target opens to the user's connection.
    pub fn join_incoming(&mut self, incoming: IncomingChannel, user: UserConnection, memory: Charge) {
        let (audit, context) = (self.observers.audit.clone(), self.context.clone());
        self.spawn(ChannelKind::Forward, memory, remote_forward::join(incoming, user, audit, context));
    }

    /// Waits for the next channel to end. Returns `None` if no channel is open.
    pub async fn next_end(&mut self) -> Option<Result<Finished, JoinError>> {
        let finished = self.tasks.join_next().await?;
        // A channel whose task failed ends the session, so it need not be counted.
        Some(finished.map(|(kind, finished)| {
            if let Some(count) = self.count(kind) {
                *count = count.saturating_sub(1);
            }
            finished
        }))
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

    /// Returns the number of open channels of this kind. Remote forwards are not counted.
    pub const fn len(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Session => self.sessions,
            ChannelKind::Forward => self.forwards,
            ChannelKind::RemoteForwards => 0,
        }
    }

    /// Returns whether no channel is open.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    const fn count(&mut self, kind: ChannelKind) -> Option<&mut usize> {
        match kind {
            ChannelKind::Session => Some(&mut self.sessions),
            ChannelKind::Forward => Some(&mut self.forwards),
            ChannelKind::RemoteForwards => None,
        }
    }

    fn observer(&self) -> Arc<ChannelObserver> {
        Arc::new(ChannelObserver::new(self.observers.clone()))
    }

    fn spawn(&mut self, kind: ChannelKind, memory: Charge, channel: impl Future<Output = ChannelEnd> + Send + 'static) {
        self.spawn_task(kind, async move {
            let _memory = memory;
            Finished::Ended(channel.await)
        });
    }

    /// Runs a `session` channel, which waits again if the connection has no room for it.
    fn spawn_session(
        &mut self,
        memory: Charge,
        channel: impl Future<Output = Result<ChannelEnd, (UserChannel, Arc<TargetConnection>)>> + Send + 'static,
        waiting: fn(UserChannel) -> ChannelOpen,
    ) {
        self.spawn_task(ChannelKind::Session, async move {
            match channel.await {
                Ok(end) => {
                    drop(memory);
                    Finished::Ended(end)
                }
                Err((user, connection)) => {
                    Finished::NoRoom(AdmittedChannel { channel: waiting(user), memory }, connection)
                }
            }
        });
    }

    fn spawn_task(&mut self, kind: ChannelKind, channel: impl Future<Output = Finished> + Send + 'static) {
        if let Some(count) = self.count(kind) {
            *count += 1;
        }
        self.tasks.spawn(async move { (kind, channel.await) }.in_current_span());
    }
}
