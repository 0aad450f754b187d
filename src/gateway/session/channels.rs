//! The open channels of one session. Each channel runs in a task of its own.

use std::sync::Arc;

use futures::TryFutureExt;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::channel_kind::ChannelKind;
use super::dial_queue::AdmittedChannel;
use super::exit_or_disconnect::ChannelOutcome;
use crate::gateway::bridge::{
    ChannelContext, ChannelEnd, ChannelOpen, IncomingChannel, UserConnection, channel, local_forward, remote_forward,
};
use crate::gateway::observe::{ChannelObserver, Observers};
use crate::gateway::target::TargetConnection;
use crate::lifecycle::Cause;
use crate::memory_budget::Charge;

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
    /// The target opens no further channel on this connection. The channel waits for another connection.
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
                self.spawn_joining(ChannelKind::Session, memory, join, ChannelOpen::Session);
            }
            ChannelOpen::Companion(user) => {
                let join = channel::join(user, connection, self.observer(), context);
                let join = join.map_ok(|_| ChannelEnd::Dependent);
                self.spawn_joining(ChannelKind::Session, memory, join, ChannelOpen::Companion);
            }
            ChannelOpen::LocalForward(forward) => {
                let join = local_forward::join(*forward, connection, audit, context);
                self.spawn_joining(ChannelKind::Forward, memory, join, |forward| {
                    ChannelOpen::LocalForward(Box::new(forward))
                });
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
                // A channel that waits, or whose task failed, did not close cleanly.
                Ok(Finished::NoRoom(..)) | Err(_) => ChannelEnd::Interrupted,
            });
        }
        self.outcome.client_gone(open, is_waiting, reported)
    }

    /// Waits for the end of all channels.
    pub async fn join_all(&mut self) {
        while self.next_end().await.is_some() {}
    }

    /// Returns whether the target broke off a channel, and no channel has closed cleanly since.
    pub const fn is_target_lost(&self) -> bool {
        self.outcome.is_target_lost()
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

    /// Runs a channel that waits again if the target does not open it on this connection.
    fn spawn_joining<T: Send + 'static>(
        &mut self,
        kind: ChannelKind,
        memory: Charge,
        channel: impl Future<Output = Result<ChannelEnd, (T, Arc<TargetConnection>)>> + Send + 'static,
        waiting: fn(T) -> ChannelOpen,
    ) {
        self.spawn_task(kind, async move {
            match channel.await {
                Ok(end) => {
                    drop(memory);
                    Finished::Ended(end)
                }
                Err((channel, connection)) => {
                    Finished::NoRoom(AdmittedChannel { channel: waiting(channel), memory }, connection)
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
