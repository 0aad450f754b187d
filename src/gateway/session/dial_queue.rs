//! The user's channels that wait for a connection to the target, and the attempt to make one. If the first attempt fails, the
//! session ends as TargetUnreachable.

use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::channel_kind::ChannelKind;
use crate::gateway::bridge::ChannelOpen;
use crate::gateway::target::{DialError, DialRequest, Dialer, TargetConnection};
use crate::memory_budget::Charge;

/// The outcome of one attempt to connect to the target.
pub type Dialled = Result<Result<TargetConnection, DialError>, JoinError>;

/// A channel of the user, and the memory that it takes.
pub struct AdmittedChannel {
    /// The channel.
    pub channel: ChannelOpen,
    /// The part of the memory budget that the channel takes.
    pub memory: Charge,
}

/// Makes one connection to the target at a time, for all waiting channels.
#[derive(Default)]
pub struct DialQueue {
    waiting: Vec<AdmittedChannel>,
    dials: JoinSet<Result<TargetConnection, DialError>>,
    /// Whether a connection to the target was made before.
    has_connected: bool,
}

impl DialQueue {
    /// Creates a queue with the channel that the client opened before the session, if there is one.
    pub fn new(first: Option<AdmittedChannel>) -> Self {
        Self { waiting: first.into_iter().collect(), ..Self::default() }
    }

    /// Starts an attempt to connect.
    pub fn dial(&mut self, dialer: Dialer, request: DialRequest) {
        self.dials.spawn(dialer.dial(request).in_current_span());
    }

    /// Returns whether an attempt is under way.
    pub fn is_dialling(&self) -> bool {
        !self.dials.is_empty()
    }

    /// Waits for the attempt to finish. Returns `None` if no attempt is under way.
    pub async fn next(&mut self) -> Option<Dialled> {
        self.dials.join_next().await
    }

    /// Stops the attempt.
    pub fn abort(&mut self) {
        // Also drops a connection that was made and not taken yet.
        self.dials = JoinSet::new();
    }

    /// Records that an attempt has succeeded. Returns the channels that waited for it.
    pub fn connected(&mut self) -> Vec<AdmittedChannel> {
        self.has_connected = true;
        self.take()
    }

    /// Returns whether a connection to the target was made before.
    pub const fn has_connected(&self) -> bool {
        self.has_connected
    }

    /// Adds a channel of the user.
    pub fn push(&mut self, channel: AdmittedChannel) {
        self.waiting.push(channel);
    }

    /// Takes out all channels.
    pub fn take(&mut self) -> Vec<AdmittedChannel> {
        std::mem::take(&mut self.waiting)
    }

    /// Returns the number of waiting channels of this kind.
    pub fn len(&self, kind: ChannelKind) -> usize {
        self.waiting.iter().filter(|waiting| ChannelKind::of(&waiting.channel) == kind).count()
    }

    /// Returns whether no channel waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
