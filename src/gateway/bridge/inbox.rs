//! The queue of messages that one side of a channel has sent and the gateway has not relayed yet.
//!
//! The read loop of a connection pushes each message into an inbox and never waits. If it waited for the other
//! connection, it would also stop reading its own peer's SSH_MSG_CHANNEL_WINDOW_ADJUST messages, and a transfer in both
//! directions could deadlock.
//!
//! The channel's receive window bounds the data in the queue (RFC 4254, section 5.2). A peer may send [`WINDOW`] bytes,
//! and gets more window only for bytes that the gateway has taken out and sent on. So a slow receiver stops the sender
//! of its own channel, and no other channel.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The initial window of a channel, in bytes: the most data that waits in an inbox.
pub const WINDOW: u32 = 2 * 1024 * 1024;
/// The number of consumed bytes after which that much window is granted again.
const GRANT_THRESHOLD: usize = WINDOW as usize / 8;
/// The maximum number of queued control messages. Well-behaved peers stay far below it.
const MAX_CONTROLS: usize = 256;
/// The maximum total size of queued control messages, in bytes.
const MAX_CONTROL_BYTES: usize = 512 * 1024;
/// The maximum number of queue entries. The window bounds bytes alone, and each entry also costs memory of its own.
const MAX_ENTRIES: usize = 64 * 1024;
/// The size up to which small messages of the same stream are merged, in bytes.
const MAX_MERGED: usize = 32 * 1024;

/// A message that one side of a channel sent. `T` is the type of the side's control messages.
#[derive(Debug)]
pub enum ChannelMessage<T> {
    /// SSH_MSG_CHANNEL_DATA.
    Data(Bytes),
    /// SSH_MSG_CHANNEL_EXTENDED_DATA with its data type code, which is 1 for standard error.
    ExtendedData(u32, Bytes),
    /// Any other message.
    Control(T),
}

/// A peer queued more messages than any well-behaved peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer floods a channel")]
pub struct FloodError;

impl From<FloodError> for russh::Error {
    fn from(_: FloodError) -> Self {
        Self::Inconsistent
    }
}

/// The inbox of one side of a channel. Its connection pushes without waiting; the other side takes messages out.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    pushed: Notify,
    closed: CancellationToken,
    end_of_write: CancellationToken,
}

#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<Entry<T>>,
    controls: usize,
    control_bytes: usize,
    /// Bytes of data that were taken out and for which no window has been granted yet.
    ungranted: usize,
}

#[derive(Debug)]
enum Entry<T> {
    /// The data type code of extended data, and the data.
    Data(Option<u32>, BytesMut),
    /// A control message, and its size in bytes.
    Control(T, usize),
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let queue = Queue { entries: VecDeque::new(), controls: 0, control_bytes: 0, ungranted: 0 };
        Self {
            queue: Mutex::new(queue),
            pushed: Notify::new(),
            closed: CancellationToken::new(),
            end_of_write: CancellationToken::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Pushes data, or extended data of this type code. The window bounds the amount.
    ///
    /// # Errors
    /// When the queue has [`MAX_ENTRIES`] entries.
    pub fn push_data(&self, extended: Option<u32>, data: &[u8]) -> Result<(), FloodError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut queue = self.queue.lock();
        if queue.entries.len() >= MAX_ENTRIES {
            return Err(FloodError);
        }
        match queue.entries.back_mut() {
            Some(Entry::Data(stream, last)) if *stream == extended && last.len() + data.len() <= MAX_MERGED => {
                last.extend_from_slice(data);
            }
            _ => queue.entries.push_back(Entry::Data(extended, BytesMut::from(data))),
        }
        drop(queue);
        self.pushed.notify_one();
        Ok(())
    }

    /// Pushes a control message of this size in bytes.
    ///
    /// # Errors
    /// When too many control messages, or too many bytes of them, are queued.
    pub fn push_control(&self, control: T, bytes: usize) -> Result<(), FloodError> {
        let mut queue = self.queue.lock();
        if queue.controls >= MAX_CONTROLS || queue.control_bytes + bytes > MAX_CONTROL_BYTES {
            return Err(FloodError);
        }
        queue.controls += 1;
        queue.control_bytes += bytes;
        queue.entries.push_back(Entry::Control(control, bytes));
        drop(queue);
        self.pushed.notify_one();
        Ok(())
    }

    /// Returns messages to the front of the queue, in the order of the list.
    pub fn push_front(&self, messages: Vec<ChannelMessage<T>>) {
        let mut queue = self.queue.lock();
        for message in messages.into_iter().rev() {
            let entry = match message {
                ChannelMessage::Data(data) => {
                    queue.ungranted = queue.ungranted.saturating_sub(data.len());
                    Entry::Data(None, data.into())
                }
                ChannelMessage::ExtendedData(stream, data) => {
                    queue.ungranted = queue.ungranted.saturating_sub(data.len());
                    Entry::Data(Some(stream), data.into())
                }
                ChannelMessage::Control(control) => {
                    queue.controls += 1;
                    Entry::Control(control, 0)
                }
            };
            queue.entries.push_front(entry);
        }
        drop(queue);
        self.pushed.notify_one();
    }

    /// Pushes the side's last message, and marks the channel as closed by this side.
    pub fn close(&self, last: T) {
        let mut queue = self.queue.lock();
        queue.controls += 1;
        queue.entries.push_back(Entry::Control(last, 0));
        drop(queue);
        self.closed.cancel();
        self.pushed.notify_one();
    }

    /// Waits until this side has closed the channel. Earlier messages may still be queued then.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Returns whether this side has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Records that this side reads no more data (`eow@openssh.com`).
    pub fn mark_end_of_write(&self) {
        self.end_of_write.cancel();
    }

    /// Waits until this side reads no more data (`eow@openssh.com`).
    pub async fn end_of_write(&self) {
        self.end_of_write.cancelled().await;
    }

    /// Waits for the next message in the order of arrival, and takes it out.
    pub async fn next(&self) -> ChannelMessage<T> {
        loop {
            let pushed = self.pushed.notified();
            if let Some(message) = self.take() {
                return message;
            }
            pushed.await;
        }
    }

    fn take(&self) -> Option<ChannelMessage<T>> {
        let mut queue = self.queue.lock();
        match queue.entries.pop_front()? {
            Entry::Data(extended, data) => {
                queue.ungranted += data.len();
                let data = data.freeze();
                Some(match extended {
                    None => ChannelMessage::Data(data),
                    Some(stream) => ChannelMessage::ExtendedData(stream, data),
                })
            }
            Entry::Control(control, bytes) => {
                queue.controls -= 1;
                queue.control_bytes -= bytes;
                Some(ChannelMessage::Control(control))
            }
        }
    }

    /// Returns the window to grant to the peer now, in bytes; `None` below [`GRANT_THRESHOLD`].
    pub fn window_to_grant(&self) -> Option<u32> {
        let ungranted = self.queue.lock().ungranted;
        if ungranted >= GRANT_THRESHOLD { u32::try_from(ungranted).ok() } else { None }
    }

    /// Records that the peer was granted this much window.
    pub fn window_granted(&self, bytes: u32) {
        self.queue.lock().ungranted -= bytes as usize;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn small_messages_are_merged_and_order_is_kept() {
        let inbox = Inbox::default();
        inbox.push_data(None, b"a").unwrap();
        inbox.push_data(None, b"b").unwrap();
        inbox.push_data(Some(1), b"x").unwrap();
        inbox.push_control((), 0).unwrap();
        inbox.push_data(None, b"c").unwrap();
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"ab"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::ExtendedData(1, data) if data == b"x"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::Control(())));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"c"[..]));
    }

    #[tokio::test]
    async fn window_is_granted_for_consumed_data_only() {
        let (inbox, piece) = (Inbox::<()>::default(), vec![0; MAX_MERGED]);
        inbox.push_data(None, &piece).unwrap();
        inbox.next().await;
        assert_eq!(inbox.window_to_grant(), None);
        for _ in 1..GRANT_THRESHOLD / MAX_MERGED {
            inbox.push_data(None, &piece).unwrap();
            inbox.next().await;
        }
        inbox.push_data(None, &piece).unwrap();
        assert_eq!(inbox.window_to_grant(), Some(u32::try_from(GRANT_THRESHOLD).unwrap()));
        inbox.window_granted(u32::try_from(GRANT_THRESHOLD).unwrap());
        assert_eq!(inbox.window_to_grant(), None);
    }

    #[test]
    fn too_many_requests_are_a_flood() {
        let inbox = Inbox::default();
        let requests = (0..1000).take_while(|_| inbox.push_control((), 0).is_ok()).count();
        assert_eq!(requests, MAX_CONTROLS);
    }

    #[tokio::test]
    async fn messages_pushed_to_the_front_come_first_and_in_order() {
        let inbox = Inbox::default();
        inbox.push_data(None, b"b").unwrap();
        inbox.push_front(vec![ChannelMessage::Control(()), ChannelMessage::Data(Bytes::from_static(b"a"))]);
        assert!(matches!(inbox.next().await, ChannelMessage::Control(())));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"a"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"b"[..]));
        let queue = inbox.queue.lock();
        assert_eq!((queue.ungranted, queue.controls), (2, 0));
    }

    #[test]
    fn too_many_request_bytes_or_tiny_messages_are_a_flood() {
        let inbox = Inbox::default();
        assert!(inbox.push_control((), MAX_CONTROL_BYTES).is_ok());
        assert_eq!(inbox.push_control((), 1), Err(FloodError));
        let inbox = Inbox::<()>::default();
        assert!((0..MAX_ENTRIES).all(|number| inbox.push_data(Some(u32::from(number % 2 == 0)), b"x").is_ok()));
        assert_eq!(inbox.push_data(None, b"x"), Err(FloodError));
        let inbox = Inbox::<()>::default();
        assert!((0..2 * MAX_ENTRIES).all(|_| inbox.push_data(None, b"").is_ok()), "empty data takes no entry");
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let inbox = Arc::new(Inbox::default());
        let waiter = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.next().await }
        });
        tokio::task::yield_now().await;
        inbox.close("closed");
        assert!(matches!(waiter.await.unwrap(), ChannelMessage::Control("closed")));
        inbox.closed().await;
    }

    proptest! {
        #[test]
        fn data_comes_out_byte_for_byte_and_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50),
        ) {
            let inbox = Inbox::<()>::default();
            for piece in &pieces { inbox.push_data(None, piece).unwrap(); }
            let mut out = Vec::new();
            while let Some(ChannelMessage::Data(data)) = inbox.take() { out.extend_from_slice(&data); }
            prop_assert_eq!(inbox.queue.lock().ungranted, out.len());
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
