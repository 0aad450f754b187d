//! The channels of one SSH connection.

use std::collections::HashSet;
use std::sync::Arc;

use russh::ChannelId;

use crate::gateway::bridge::{FromUser, Inboxes, PushError, Request};
use crate::memory_budget::UserBudget;
use crate::metrics::METRICS;

/// The notice to a user who may not take the memory of a command.
const NO_REQUEST_MEMORY: &str = "bastion: this gateway has no memory for so long a command; try again in a moment";

/// A connection's channels, and the notices that wait for the next session channel.
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
    /// Creates the channels of the user who takes the memory.
    pub fn new(memory: Arc<UserBudget>) -> Self {
        Self {
            inboxes: Arc::new(Inboxes::new(memory)),
            refused: 0,
            opened_by_target: HashSet::new(),
            sessions: HashSet::new(),
            started: HashSet::new(),
            notices: Vec::new(),
        }
    }

    /// Queues a message for a channel's task. Returns whether there was memory for it, as there always is for a message without
    /// a text.
    ///
    /// # Errors
    /// Fails when the channel's queue is full. This ends the connection.
    pub fn put(&self, channel: ChannelId, message: FromUser) -> Result<bool, russh::Error> {
        let bytes = message.size();
        match self.inboxes.push_control(channel, message, bytes) {
            Ok(()) => Ok(true),
            Err(PushError::NoMemory) => {
                METRICS.requests_without_memory.inc();
                Ok(false)
            }
            Err(flood @ PushError::Flood) => Err(flood.into()),
        }
    }

    /// Queues the requests that run a program, or the notice that there is no memory for them.
    ///
    /// # Errors
    /// Fails when the channel's queue is full, which ends the connection.
    pub fn put_program(&self, channel: ChannelId, requests: Vec<Request>) -> Result<(), russh::Error> {
        for request in requests {
            if !self.put(channel, FromUser::Request(request))? {
                self.put(channel, FromUser::Refused(NO_REQUEST_MEMORY))?;
                break;
            }
        }
        Ok(())
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

    /// Keeps a notice for the next session channel. Drops a notice that is already kept.
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

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::encoding::Decode;

    use super::*;
    use crate::gateway::bridge::ChannelMessage;
    use crate::memory_budget::MemoryBudget;

    #[tokio::test]
    async fn a_long_command_is_refused_while_others_hold_the_memory() {
        let channel = ChannelId::decode(&mut &[0, 0, 0, 7][..]).unwrap();
        let budget: &'static MemoryBudget = Box::leak(Box::new(MemoryBudget::new(1000)));
        let held = budget.of_user("mallory").take(1000);
        let channels = Channels::new(budget.of_user("alice"));
        let inbox = channels.inboxes.claim(channel);
        let command = || vec![Request::Exec(vec![b'x'; 8 * 1024 + 100])];
        channels.put_program(channel, command()).expect("the connection goes on");
        let refused = ChannelMessage::Control(FromUser::Refused(NO_REQUEST_MEMORY));
        assert_eq!(format!("{:?}", inbox.next().await), format!("{refused:?}"));
        drop(held);
        channels.put_program(channel, command()).unwrap();
        assert!(matches!(inbox.next().await, ChannelMessage::Control(FromUser::Request(Request::Exec(_)))));
    }
}
