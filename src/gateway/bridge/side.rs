//! The gateway's end of a channel on one connection.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use russh::{Channel, ChannelId, ChannelMsg, ChannelWriteHalf, client, server};
use tokio::sync::watch;

use super::inbox::{ChannelMessage, Inbox};
use super::inboxes::Inboxes;
use super::notice::{SessionNotice, session_ended};
use super::request::{FromTarget, FromUser};

/// The user's side of a channel.
pub type UserSide = Side<server::Msg, FromUser>;
/// The target's side of a channel.
pub type TargetSide = Side<client::Msg, FromTarget>;

/// One side of a relayed channel: the messages that the peer sent, and the means to send to the peer.
///
/// `M` is russh's message to the connection's task, and `T` the peer's control message.
#[derive(Debug)]
pub struct Side<M: From<(ChannelId, ChannelMsg)>, T> {
    /// The messages that the peer sent.
    pub inbox: Arc<Inbox<T>>,
    /// Sends control messages to the peer.
    pub write: ChannelWriteHalf<M>,
    /// Whether SSH_MSG_CHANNEL_EOF was sent. The lock is held while data waits for window, so that EOF follows all
    /// data.
    eof_sent: tokio::sync::Mutex<bool>,
}

impl<M: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static, T: Clone> Side<M, T> {
    /// Returns the side of a channel, with its inbox among `inboxes`.
    ///
    /// Drops russh's reading half. Its bounded queue would make the connection's read loop wait for this channel's reader.
    pub fn claim(inboxes: &Inboxes<T>, channel: Channel<M>) -> Self {
        let (_, write) = channel.split();
        Self { inbox: inboxes.claim(write.id()), write, eof_sent: tokio::sync::Mutex::default() }
    }

    /// Waits for the peer's next message.
    ///
    /// The caller has sent on all earlier messages, so the peer first gets window for their data
    /// (SSH_MSG_CHANNEL_WINDOW_ADJUST).
    pub async fn next(&self) -> ChannelMessage<T> {
        if let Some(bytes) = self.inbox.grant(Instant::now()) {
            // An error means that the connection is gone; the inbox then receives its last message.
            let _ = self.write.grant_window(bytes).await;
        }
        self.inbox.next().await
    }

    /// Sends data, and waits until the peer has granted window for all of it.
    ///
    /// Discards the data if the peer has closed the channel, or if EOF was already sent to it.
    ///
    /// # Errors
    /// When the connection to the peer is gone.
    pub async fn send(&self, extended: Option<u32>, data: Bytes) -> Result<(), russh::Error> {
        let sent = async {
            let eof_sent = self.eof_sent.lock().await;
            match extended {
                _ if *eof_sent => Ok(()),
                None => self.write.data_bytes(data).await,
                Some(stream) => self.write.extended_data_bytes(stream, data).await,
            }
        };
        tokio::select! {
            biased;
            sent = sent => sent,
            () = self.inbox.closed() => Ok(()),
        }
    }

    /// Runs [`Self::close_and_wait`] until the session ends. A channel takes memory, and counts as open, until the peer has closed
    /// it.
    pub async fn close(&self, notices: &mut watch::Receiver<SessionNotice>) {
        tokio::select! {
            biased;
            () = self.close_and_wait() => {}
            _ = session_ended(notices) => {}
        }
    }

    /// Sends SSH_MSG_CHANNEL_CLOSE, and waits until the peer has sent its own or the connection is gone. Discards the peer's
    /// messages.
    pub async fn close_and_wait(&self) {
        let _ = self.write.close().await;
        loop {
            tokio::select! {
                biased;
                // The relay may have taken out the peer's CLOSE, so waiting for that message alone could hang.
                () = self.inbox.closed() => return,
                _ = self.next() => {}
            }
        }
    }

    /// Sends SSH_MSG_CHANNEL_EOF after all data. Does nothing if it was sent before.
    ///
    /// # Errors
    /// When the connection to the peer is gone.
    pub async fn eof(&self) -> Result<(), russh::Error> {
        let mut eof_sent = self.eof_sent.lock().await;
        if std::mem::replace(&mut *eof_sent, true) {
            return Ok(());
        }
        self.write.eof().await
    }
}
