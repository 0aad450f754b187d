//! The user's channels that wait for a connection to the target, and the dials in progress. A failed first dial ends the
//! session as TargetUnreachable.

use std::collections::VecDeque;

use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use crate::gateway::bridge::ChannelOpen;
use crate::gateway::target::{DialError, DialRequest, Dialer, TargetConnection};
use crate::lifecycle::Cause;
use crate::memory_budget::Charge;

/// How many connections are made to the target at once. By default, sshd accepts ten connections that are not authenticated
/// yet, and refuses further ones (`MaxStartups`).
const MAX_CONCURRENT_DIALS: usize = 8;

/// The outcome of one attempt to connect to the target.
pub type Dialled = Result<Result<TargetConnection, DialError>, JoinError>;

/// A channel of the user, and the memory that it takes.
pub struct AdmittedChannel {
    /// The channel.
    pub channel: ChannelOpen,
    /// The part of the memory budget that the channel takes.
    pub memory: Charge,
}

/// Makes one connection to the target for each waiting channel.
#[derive(Default)]
pub struct DialQueue {
    waiting: VecDeque<AdmittedChannel>,
    dials: JoinSet<Result<TargetConnection, DialError>>,
    /// Whether a connection to the target was made before.
    has_connected: bool,
}

impl DialQueue {
    /// Creates a queue with the channel that the client opened before the session, if there is one.
    pub fn new(first: Option<AdmittedChannel>) -> Self {
        Self { waiting: first.into_iter().collect(), ..Self::default() }
    }

    /// Starts one attempt to connect.
    pub fn dial(&mut self, dialer: Dialer, request: DialRequest) {
        self.dials.spawn(dialer.dial(request).in_current_span());
    }

    /// Returns how many more attempts the waiting channels need.
    pub fn missing(&self) -> usize {
        missing(self.waiting.len(), self.dials.len())
    }

    /// Waits for the next attempt to finish. Returns `None` if no attempt is in progress.
    pub async fn next(&mut self) -> Option<Dialled> {
        self.dials.join_next().await
    }

    /// Stops all attempts.
    pub fn abort(&mut self) {
        self.dials.abort_all();
    }

    /// Records that an attempt has succeeded. Returns the channel that gets the connection, if one waits.
    pub fn connected(&mut self) -> Option<AdmittedChannel> {
        self.has_connected = true;
        self.pop()
    }

    /// Returns the cause of the session's end if a failed attempt ends the session. It does so if no connection was made
    /// before. Otherwise only one channel fails.
    pub fn cause_of_failure(&self, failure: &DialError) -> Option<Cause> {
        let cause = || Cause::TargetUnreachable { detail: failure.to_string(), user_message: failure.user_message() };
        (!self.has_connected).then(cause)
    }

    /// Adds a channel of the user.
    pub fn push(&mut self, channel: AdmittedChannel) {
        self.waiting.push_back(channel);
    }

    /// Takes out the channel that has waited longest.
    pub fn pop(&mut self) -> Option<AdmittedChannel> {
        self.waiting.pop_front()
    }

    /// Takes out all channels.
    pub fn drain(&mut self) -> impl Iterator<Item = AdmittedChannel> {
        self.waiting.drain(..)
    }

    /// Returns the number of waiting channels.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether no channel waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn missing(waiting: usize, dials: usize) -> usize {
    waiting.min(MAX_CONCURRENT_DIALS).saturating_sub(dials)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_channel(0, 1, 0)]
    #[case::the_dial_of_the_start_serves_the_first_channel(1, 1, 0)]
    #[case::one_dial_for_each_channel(3, 1, 2)]
    #[case::as_many_as_the_target_accepts(100, 3, MAX_CONCURRENT_DIALS - 3)]
    #[case::all_under_way(100, MAX_CONCURRENT_DIALS, 0)]
    fn waiting_channels_need_dials(#[case] waiting: usize, #[case] dials: usize, #[case] expected: usize) {
        assert_eq!(missing(waiting, dials), expected);
    }

    #[test]
    fn only_the_first_connection_ends_the_session_if_it_fails() {
        let failure = DialError::Timeout { target: "web-1".into(), address: "192.0.2.1:22".into(), seconds: 20 };
        let mut queue = DialQueue::new(None);
        let cause = Cause::TargetUnreachable { detail: failure.to_string(), user_message: failure.user_message() };
        assert_eq!(queue.cause_of_failure(&failure), Some(cause));
        assert!(queue.connected().is_none());
        assert_eq!(queue.cause_of_failure(&failure), None);
    }
}
