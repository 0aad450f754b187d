//! The connections of one session to its target. `lifecycle::TargetWatch` decides when the target counts as closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::bridge::ChannelOpen;
use crate::gateway::net::ConnectionHealth;
use crate::gateway::target::{ConnectionEnd, TargetConnection};
use crate::lifecycle::{NetworkWatch, TargetConnections, TargetWatch};
use crate::memory_budget::Charge;

/// The most connections of a session to its target. Each has room for ten shells in sshd's default configuration.
const MAX_CONNECTIONS: usize = 16;

/// Observes the session's connections to its target.
#[derive(Default)]
pub struct TargetLinks {
    /// The connections whose end was not yet announced to their channels.
    links: Vec<Link>,
    /// The newest connection, which new channels use.
    current: Option<Arc<TargetConnection>>,
    /// Whether the target has refused a further `session` channel on the newest connection.
    is_full: bool,
    /// Whether the end of a connection interrupted a channel.
    interrupted: bool,
    watch: TargetWatch,
}

/// One connection to the target, as its session observes it.
struct Link {
    health: ConnectionHealth,
    network: NetworkWatch,
    end: ConnectionEnd,
    _memory: Charge,
}

impl TargetLinks {
    /// Adds a new connection, which new channels use from now on. Returns the one that they used before.
    pub fn add(&mut self, connection: Arc<TargetConnection>, memory: Charge) -> Option<Arc<TargetConnection>> {
        let (health, end) = (connection.health(), connection.end());
        self.links.push(Link { health, network: NetworkWatch::default(), end, _memory: memory });
        self.is_full = false;
        self.current.replace(connection)
    }

    /// Returns the connection for a new channel, or `None` if another connection must be made for it.
    pub fn for_channel(&self, channel: &ChannelOpen) -> Option<Arc<TargetConnection>> {
        let needs_room = match channel {
            ChannelOpen::Session(_) | ChannelOpen::Companion(_) => true,
            ChannelOpen::LocalForward(_) | ChannelOpen::RemoteForwards(_) => false,
        };
        let is_usable = |current: &&Arc<TargetConnection>| current.is_open() && !(needs_room && self.is_full);
        self.current.as_ref().filter(is_usable).cloned()
    }

    /// Returns whether new channels have a connection that is open.
    pub fn is_connected(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_open())
    }

    /// Returns whether the session has as many connections as it may.
    pub fn has_all(&self) -> bool {
        self.links.len() >= MAX_CONNECTIONS
    }

    /// Records that the target opens no further `session` channel on this connection, or has closed it. Ignores an older connection.
    pub fn set_full(&mut self, connection: &Arc<TargetConnection>) {
        self.is_full |= self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection));
    }

    /// Records that no further connection could be made. A channel of the newest connection may have ended meanwhile.
    pub fn retry_current(&mut self) {
        self.is_full = false;
    }

    /// Takes the connection that new channels use, if there is one.
    pub fn take_current(&mut self) -> Option<Arc<TargetConnection>> {
        self.current.take()
    }

    /// Waits until the connection that new channels use has ended. Waits forever if there is none.
    pub async fn current_closed(&self) {
        match &self.current {
            Some(connection) => connection.end().announced().await,
            None => std::future::pending().await,
        }
    }

    /// Returns whether the network of any connection is lost.
    pub fn is_network_lost(&mut self, now: Instant) -> bool {
        let mut is_lost = false;
        // Each watch must see every check, so the loop does not stop at the first loss.
        for Link { health, network, .. } in &mut self.links {
            is_lost |= health.tcp_health().is_some_and(|health| network.is_lost(health, now));
        }
        is_lost
    }

    /// Returns whether the session has to end because no connection to the target is left, while channels wait for the target.
    /// `passed` counts the bytes that were passed to the user.
    pub fn is_target_lost(&mut self, has_channels: bool, passed: u64, now: Instant) -> bool {
        let interrupted = &mut self.interrupted;
        self.links.retain(|link| {
            let has_ended = !link.health.is_open() && link.end.is_announced();
            *interrupted |= has_ended && link.end.has_interrupted();
            !has_ended
        });
        let is_needed = has_channels || self.current.is_some();
        self.interrupted &= is_needed;
        let state = Connections {
            any_open: self.links.iter().any(|link| link.health.is_open()),
            any_unannounced: !self.links.is_empty(),
            interrupted: self.interrupted,
        };
        self.watch.is_lost(state.summary(is_needed), passed, now)
    }

    /// Returns how long to wait before the next check of the connections.
    pub const fn check_interval(&self) -> Duration {
        self.watch.next_check()
    }
}

/// The state of all connections at one moment.
#[derive(Clone, Copy, Debug)]
struct Connections {
    /// Whether a connection is open.
    any_open: bool,
    /// Whether there is a connection that is open, or whose end was not yet announced to its channels.
    any_unannounced: bool,
    /// Whether the end of a connection interrupted a channel.
    interrupted: bool,
}

impl Connections {
    /// Summarizes the state. `is_needed` tells whether a channel uses a connection, or will use one.
    const fn summary(self, is_needed: bool) -> TargetConnections {
        match self {
            _ if !is_needed || self.any_open => TargetConnections::Open,
            Self { any_unannounced: true, .. } => TargetConnections::Vanished,
            Self { interrupted: true, .. } => TargetConnections::Interrupted,
            Self { interrupted: false, .. } => TargetConnections::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::TargetConnections::{Closed, Interrupted, Open, Vanished};
    use super::*;

    #[rstest]
    #[case::no_channel_needs_one([false, false, true, true], Open)]
    #[case::open([true, true, true, false], Open)]
    #[case::one_of_two_open([true, true, true, true], Open)]
    #[case::socket_gone_before_the_channels_were_told([true, false, true, false], Vanished)]
    #[case::another_was_interrupted_before([true, false, true, true], Vanished)]
    #[case::interrupted([true, false, false, true], Interrupted)]
    #[case::closed_in_order([true, false, false, false], Closed)]
    fn connections_are_summarized(#[case] state: [bool; 4], #[case] expected: TargetConnections) {
        let [is_needed, any_open, any_unannounced, interrupted] = state;
        let connections = Connections { any_open, any_unannounced, interrupted };
        assert_eq!(connections.summary(is_needed), expected);
    }

    #[test]
    fn a_session_without_connections_has_not_lost_its_target() {
        let (mut links, start) = (TargetLinks::default(), Instant::now());
        for minutes in 0..3 {
            assert!(!links.is_target_lost(true, 0, start + Duration::from_mins(minutes)));
        }
    }
}
