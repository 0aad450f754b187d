//! The channels of one SSH connection.

use std::collections::HashSet;
use std::sync::Arc;

use russh::ChannelId;

use crate::gateway::bridge::{FromUser, Inboxes, Request};

/// A connection's channels, and the notices that wait for the next session channel.
#[derive(Default)]
pub struct Channels {
    /// The messages from the user's client, per channel.
    pub inboxes: Arc<Inboxes<FromUser>>,
    /// The number of channels that were opened only to show a refusal.
    pub refused: usize,
    /// Channels that the target opened: forwarded connections and agent requests.
    opened_by_target: HashSet<ChannelId>,
    /// The `session` channels that were handed over and that the user's client has not closed.
    sessions: HashSet<ChannelId>,
    /// Channels that have asked for a shell, a command or a subsystem.
    started: HashSet<ChannelId>,
    notices: Vec<&'static str>,
}

impl Channels {
    /// Queues a message for a channel's task.
    ///
    /// # Errors
    /// Fails when the channel's queue is full. This ends the connection.
    pub fn put(&self, channel: ChannelId, message: FromUser) -> Result<(), russh::Error> {
        let bytes = message.size();
        Ok(self.inboxes.push_control(channel, message, bytes)?)
    }

    /// Records a channel that the target opened and the user's client confirmed.
    pub fn confirm(&mut self, channel: ChannelId) {
        // The channel's next message must find an inbox.
        self.inboxes.open(channel);
        self.opened_by_target.insert(channel);
    }

    /// Records a `session` channel that is handed over to the session's task.
    pub fn add_session(&mut self, channel: ChannelId) {
        self.sessions.insert(channel);
    }

    /// Returns the number of `session` channels that the user's client has open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether the target opened the channel.
    pub fn is_opened_by_target(&self, channel: ChannelId) -> bool {
        self.opened_by_target.contains(&channel)
    }

    /// Records that a channel requests a shell, a command or a subsystem. Returns whether it is the first such request of the
    /// channel; only one may succeed (RFC 4254, section 6.5).
    pub fn start(&mut self, channel: ChannelId) -> bool {
        self.started.insert(channel)
    }

    /// Forgets a channel that the user's client closed.
    pub fn close(&mut self, channel: ChannelId) {
        self.opened_by_target.remove(&channel);
        self.started.remove(&channel);
        self.sessions.remove(&channel);
        self.inboxes.close(channel, FromUser::Close);
    }

    /// Keeps a notice for the next session channel. Drops a notice that repeats the one before it.
    pub fn add_notice(&mut self, notice: &'static str) {
        self.notices.push(notice);
        self.notices.dedup();
    }

    /// Sends the kept notices to a channel.
    ///
    /// # Errors
    /// Fails when the channel's queue is full.
    pub fn send_notices(&mut self, channel: ChannelId) -> Result<(), russh::Error> {
        for notice in std::mem::take(&mut self.notices) {
            self.put(channel, FromUser::Request(Request::Notice(notice)))?;
        }
        Ok(())
    }
}
