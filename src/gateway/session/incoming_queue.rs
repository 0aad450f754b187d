//! The queue of channels that the target opens. A channel waits there until the session has room for it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::gateway::bridge::{IncomingChannel, MAX_INCOMING, RequestedForwards};

/// How long a channel that the target opens may wait for room.
pub const MAX_INCOMING_WAIT: Duration = Duration::from_secs(30);

/// A bounded queue of channels that the target opens.
pub struct IncomingQueue {
    sender: mpsc::Sender<IncomingChannel>,
    receiver: mpsc::Receiver<IncomingChannel>,
    /// The channel that has waited longest, taken out of `receiver`.
    next: Option<IncomingChannel>,
}

impl IncomingQueue {
    /// Creates an empty queue.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_INCOMING);
        Self { sender, receiver, next: None }
    }

    /// Returns the sender for a connection to the target.
    pub fn sender(&self) -> mpsc::Sender<IncomingChannel> {
        self.sender.clone()
    }

    /// Waits for the next channel. Call it only while [`Self::has_next`] is false; otherwise it discards the waiting channel.
    pub async fn receive(&mut self) {
        // This queue holds a sender, so there always is another channel to wait for.
        self.next = self.receiver.recv().await;
    }

    /// Returns whether a channel waits for room.
    pub const fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Takes out the next channel if it is due: there is room for it, the user did not ask for it, or it has waited for
    /// [`MAX_INCOMING_WAIT`]. The caller opens or refuses it.
    pub fn take_due(&mut self, is_full: bool, requested: &RequestedForwards) -> Option<IncomingChannel> {
        self.next
            .take_if(|next| !requested.includes(&next.channel_type) || is_due(is_full, next.requested_at.elapsed()))
    }
}

fn is_due(is_full: bool, waited: Duration) -> bool {
    !is_full || waited >= MAX_INCOMING_WAIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_waits_for_room_for_thirty_seconds() {
        assert!(is_due(false, Duration::ZERO));
        assert!(!is_due(true, Duration::from_millis(29_999)));
        assert!(is_due(true, Duration::from_secs(30)));
    }
}
