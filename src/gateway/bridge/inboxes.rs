//! The inboxes of all channels of one connection.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use russh::ChannelId;

use super::inbox::{Inbox, PushError};
use crate::memory_budget::UserBudget;

/// The inboxes of a connection's channels, which the connection's read loop fills.
#[derive(Debug)]
pub struct Inboxes<T>(Mutex<Channels<T>>);

#[derive(Debug)]
struct Channels<T> {
    entries: HashMap<ChannelId, Entry<T>>,
    /// The user who takes the memory of the inboxes.
    memory: Arc<UserBudget>,
    /// The last message of every channel that is claimed from now on. Set when the connection has ended.
    disconnected: Option<T>,
}

/// A channel's inbox. The read loop may see a channel's first message, and even its last, before a task claims the
/// inbox.
#[derive(Debug)]
struct Entry<T> {
    inbox: Arc<Inbox<T>>,
    /// Whether a task has claimed the inbox.
    claimed: bool,
    /// Whether the inbox has its last message.
    closed: bool,
}

impl<T> Channels<T> {
    /// Returns a channel's inbox, and creates it if the channel has none.
    fn entry(&mut self, channel: ChannelId) -> &mut Entry<T> {
        let memory = &self.memory;
        self.entries.entry(channel).or_insert_with(|| Entry {
            inbox: Arc::new(Inbox::new(memory)),
            claimed: false,
            closed: false,
        })
    }
}

impl<T: Clone> Inboxes<T> {
    /// Creates the inboxes of a connection of, or for, the user who takes the memory.
    pub fn new(memory: Arc<UserBudget>) -> Self {
        Self(Mutex::new(Channels { entries: HashMap::new(), memory, disconnected: None }))
    }

    /// Adds an inbox for a channel that the gateway asked for and that the peer has just confirmed.
    pub fn open(&self, channel: ChannelId) {
        self.0.lock().entry(channel);
    }

    /// Returns a channel's inbox to the task that reads it. The inbox keeps what arrived before, even after a CLOSE.
    pub fn claim(&self, channel: ChannelId) -> Arc<Inbox<T>> {
        let mut channels = self.0.lock();
        let disconnected = channels.disconnected.clone();
        let entry = channels.entry(channel);
        entry.claimed = true;
        let (inbox, closed) = (entry.inbox.clone(), entry.closed);
        if let Some(last) = disconnected.filter(|_| !closed) {
            inbox.close(last);
            channels.entries.remove(&channel);
        } else if closed {
            channels.entries.remove(&channel);
        }
        inbox
    }

    /// Returns the inbox of an open channel.
    pub fn get(&self, channel: ChannelId) -> Option<Arc<Inbox<T>>> {
        self.0.lock().entries.get(&channel).map(|entry| entry.inbox.clone())
    }

    /// Pushes data as [`Inbox::push_data`] does. Discards it if the channel is not open.
    pub fn push_data(&self, channel: ChannelId, extended: Option<u32>, data: &[u8]) {
        if let Some(inbox) = self.get(channel) {
            inbox.push_data(extended, data);
        }
    }

    /// Pushes a control message as [`Inbox::push_control`] does. Discards it if the channel is not open.
    ///
    /// # Errors
    /// Fails when the inbox takes no such message.
    pub fn push_control(&self, channel: ChannelId, control: T, bytes: usize) -> Result<(), PushError> {
        self.get(channel).map_or(Ok(()), |inbox| inbox.push_control(control, bytes))
    }

    /// Closes a channel's inbox with the peer's last message.
    pub fn close(&self, channel: ChannelId, last: T) {
        let mut channels = self.0.lock();
        let Some(entry) = channels.entries.get_mut(&channel) else { return };
        entry.closed = true;
        entry.inbox.close(last);
        if entry.claimed {
            channels.entries.remove(&channel);
        }
    }

    /// Closes all open inboxes with this last message, because the connection has ended. Returns whether there was one.
    pub fn disconnect(&self, last: T) -> bool {
        let mut channels = self.0.lock();
        let mut interrupted = false;
        for entry in channels.entries.values_mut().filter(|entry| !entry.closed) {
            entry.closed = true;
            entry.inbox.close(last.clone());
            interrupted = true;
        }
        channels.entries.retain(|_, entry| !entry.claimed);
        channels.disconnected = Some(last);
        interrupted
    }

    /// Removes a channel that was refused.
    pub fn remove(&self, channel: ChannelId) {
        self.0.lock().entries.remove(&channel);
    }

    /// Returns the number of open channels.
    pub fn len(&self) -> usize {
        self.0.lock().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::encoding::Decode;

    use super::*;
    use crate::gateway::bridge::ChannelMessage;
    use crate::memory_budget::MEMORY_BUDGET;

    impl<T: Clone> Default for Inboxes<T> {
        fn default() -> Self {
            Self::new(MEMORY_BUDGET.of_user("alice"))
        }
    }

    fn channel(number: u8) -> ChannelId {
        ChannelId::decode(&mut &[0, 0, 0, number][..]).unwrap()
    }

    /// The read loop may process a whole channel before the task that opened it runs.
    #[tokio::test]
    async fn messages_that_arrive_before_the_claim_are_kept() {
        let channel = channel(7);
        let inboxes = Inboxes::default();
        inboxes.open(channel);
        inboxes.get(channel).unwrap().push_data(None, b"all there was");
        inboxes.close(channel, "closed");
        let inbox = inboxes.claim(channel);
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"all there was"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::Control("closed")));
        assert_eq!(inboxes.len(), 0);
    }

    #[tokio::test]
    async fn a_lost_connection_closes_channels_that_are_claimed_later() {
        let [early, expected, late] = [1, 2, 3].map(channel);
        let inboxes = Inboxes::default();
        let early = inboxes.claim(early);
        inboxes.open(expected);
        assert!(inboxes.disconnect("lost"), "two channels were open");
        for inbox in [early, inboxes.claim(expected), inboxes.claim(late)] {
            assert!(matches!(inbox.next().await, ChannelMessage::Control("lost")));
            assert!(inbox.is_closed());
        }
        assert_eq!(inboxes.len(), 0);
    }
}
