//! The channels of one SSH connection.

use std::collections::HashSet;
use std::sync::Arc;

use russh::ChannelId;

use crate::gateway::bridge::{FromUser, Inboxes, Request};

/// A connection's channels, and the notices that wait for the first of them.
#[derive(Default)]
pub struct Channels {
    /// The messages from the user's client, per channel.
    pub inboxes: Arc<Inboxes<FromUser>>,
    /// The number of channels that were opened only to show a refusal.
    pub refused: usize,
    /// Channels that the target opened: forwarded connections and agent requests.
    opened_by_target: HashSet<ChannelId>,
    /// Channels that have asked for a shell, a command or a subsystem.
    started: HashSet<ChannelId>,
    notices: Vec<&'static str>,
}

impl Channels {
    /// Queues a message for a channel's task.
    ///
    /// # Errors
    /// Fails when the channel's queue is full, which ends the connection.
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

    /// Returns whether the target opened the channel.
    pub fn is_opened_by_target(&self, channel: ChannelId) -> bool {
        self.opened_by_target.contains(&channel)
    }

    /// Records that a channel asks for a shell, a command or a subsystem. Returns whether it is the first time: only one
    /// of these requests may succeed per channel (RFC 4254, section 6.5).
    pub fn start(&mut self, channel: ChannelId) -> bool {
        self.started.insert(channel)
    }

    /// Forgets a channel that the user's client closed.
    pub fn close(&mut self, channel: ChannelId) {
        self.opened_by_target.remove(&channel);
        self.started.remove(&channel);
        self.inboxes.close(channel, FromUser::Close);
    }

    /// Keeps a notice for the next session channel. Repeated notices are kept once.
    pub fn add_notice(&mut self, notice: &'static str) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
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
