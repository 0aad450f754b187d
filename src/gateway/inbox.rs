//! What the user's side sends on one channel, waiting to be passed to the target.
//!
//! The SSH library grants the client more window as soon as data arrives, whether anybody has taken it or not, and
//! its connection loop must never wait for a target: it would no longer see the client's own window adjustments,
//! and a transfer in both directions would stand still for good. So the loop puts everything in here at once, and
//! the inbox tells how much window the client may have: the full one while the target keeps up, and next to none
//! while it does not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::{Pty, Sig};
use tokio::sync::Notify;

/// The window that a client gets while its data is taken.
pub const WINDOW: u32 = 2 * 1024 * 1024;
/// The window that a client gets while its data is not taken. It cannot be zero: the library only ever grants more
/// when data arrives, so the client must be left a byte or two to send, or it would never be heard of again.
pub const TRICKLE: u32 = 2;
/// From this many waiting bytes on, the client is held back.
const HIGH_WATER: usize = 256 * 1024;
/// More than a client that heeds its window can ever send.
const LIMIT: usize = HIGH_WATER + 3 * WINDOW as usize;
/// More waiting requests than any client has.
const MAX_REQUESTS: usize = 256;
/// Small pieces are put together up to this size.
const PIECE: usize = 32 * 1024;

/// One thing that the user's side sent.
#[derive(Debug)]
pub enum Item {
    /// Bytes for the target.
    Data(Bytes),
    /// A channel request.
    Request(Request),
    /// No more bytes will come.
    Eof,
    /// The user's side closed the channel.
    Close,
}

/// A channel request that is passed to the target (RFC 4254, section 6).
#[derive(Clone, Debug)]
pub enum Request {
    /// `pty-req`
    Pty(PtyRequest),
    /// `env`
    Env {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `shell`
    Shell,
    /// `exec`
    Exec(Vec<u8>),
    /// `subsystem`
    Subsystem(String),
    /// `window-change`
    WindowChange(Size),
    /// `signal`
    Signal(Sig),
    /// A request that the target's `allow` refuses; the user is told so, and the channel is closed.
    Refused(&'static str),
}

/// A request for a terminal.
#[derive(Clone, Debug)]
pub struct PtyRequest {
    /// The value of TERM.
    pub term: String,
    /// Its size.
    pub size: Size,
    /// Its modes.
    pub modes: Vec<(Pty, u32)>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width in characters.
    pub columns: u32,
    /// Height in rows.
    pub rows: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The client sends what no well-behaved client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client floods a channel")]
pub struct Flooded;

/// The inbox of one channel: one side puts in without waiting, the other awaits.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Waiting>,
    bytes: usize,
    requests: usize,
    discarded: bool,
}

#[derive(Debug)]
enum Waiting {
    Data(BytesMut),
    Other(Item),
}

impl Inbox {
    /// Puts data in.
    ///
    /// # Errors
    /// When the client has sent far more than its window.
    pub fn put_data(&self, data: &[u8]) -> Result<(), Flooded> {
        let mut queue = self.lock();
        if queue.bytes + data.len() > LIMIT {
            return Err(Flooded);
        }
        queue.bytes += data.len();
        match queue.items.back_mut() {
            Some(Waiting::Data(last)) if last.len() + data.len() <= PIECE => last.extend_from_slice(data),
            _ => queue.items.push_back(Waiting::Data(BytesMut::from(data))),
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts anything else in.
    ///
    /// # Errors
    /// When too many requests are waiting.
    pub fn put(&self, item: Item) -> Result<(), Flooded> {
        let mut queue = self.lock();
        if queue.requests >= MAX_REQUESTS {
            return Err(Flooded);
        }
        queue.requests += 1;
        queue.items.push_back(Waiting::Other(item));
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts things in front of everything, so that they are taken out next, in their own order. Limits are for what a
    /// client sends.
    pub fn put_back(&self, items: Vec<Item>) {
        let mut queue = self.lock();
        for item in items.into_iter().rev() {
            let waiting = match item {
                Item::Data(data) => {
                    queue.bytes += data.len();
                    Waiting::Data(data.into())
                }
                other => {
                    queue.requests += 1;
                    Waiting::Other(other)
                }
            };
            queue.items.push_front(waiting);
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Takes the next thing out, in the order in which they came; waits until there is one.
    pub async fn next(&self) -> Item {
        loop {
            let arrived = self.arrived.notified();
            if let Some(item) = self.take() {
                return item;
            }
            arrived.await;
        }
    }

    /// Whether the client must be held back.
    pub fn is_full(&self) -> bool {
        self.lock().bytes >= HIGH_WATER
    }

    /// Says that there will be no such channel.
    pub fn discard(&self) {
        self.lock().discarded = true;
    }

    /// Whether the channel was refused.
    pub fn is_discarded(&self) -> bool {
        self.lock().discarded
    }

    fn take(&self) -> Option<Item> {
        let mut queue = self.lock();
        match queue.items.pop_front()? {
            Waiting::Data(data) => {
                queue.bytes -= data.len();
                Some(Item::Data(data.freeze()))
            }
            Waiting::Other(item) => {
                queue.requests -= 1;
                Some(item)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change to the queue is complete before anything could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn small_pieces_are_put_together_and_order_is_kept() {
        let inbox = Inbox::default();
        inbox.put_data(b"a").unwrap();
        inbox.put_data(b"b").unwrap();
        inbox.put(Item::Eof).unwrap();
        inbox.put_data(b"c").unwrap();
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"ab"[..]));
        assert!(matches!(inbox.next().await, Item::Eof));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"c"[..]));
    }

    #[tokio::test]
    async fn it_holds_back_while_nobody_takes_and_lets_go_afterwards() {
        let inbox = Inbox::default();
        while !inbox.is_full() {
            inbox.put_data(&vec![0; PIECE]).unwrap();
        }
        while inbox.is_full() {
            inbox.next().await;
        }
    }

    #[test]
    fn a_client_that_heeds_no_window_is_found_out() {
        let inbox = Inbox::default();
        let piece = vec![0; PIECE];
        let sent = (0..1000).take_while(|_| inbox.put_data(&piece).is_ok()).count() * PIECE;
        assert!(sent <= LIMIT && sent >= HIGH_WATER + 2 * WINDOW as usize, "{sent}");
        let requests = (0..1000).take_while(|_| inbox.put(Item::Request(Request::Shell)).is_ok()).count();
        assert_eq!(requests, MAX_REQUESTS);
    }

    #[tokio::test]
    async fn what_is_put_back_comes_first_in_its_own_order() {
        let inbox = Inbox::default();
        inbox.put_data(b"b").unwrap();
        inbox.put_back(vec![Item::Request(Request::Shell), Item::Data(Bytes::from_static(b"a"))]);
        assert!(matches!(inbox.next().await, Item::Request(Request::Shell)));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"a"[..]));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"b"[..]));
        assert_eq!((inbox.lock().bytes, inbox.lock().requests), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let waiter = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.next().await }
        });
        tokio::task::yield_now().await;
        inbox.put(Item::Close).unwrap();
        assert!(matches!(waiter.await.unwrap(), Item::Close));
    }

    proptest! {
        /// What comes out is what went in, byte for byte and in order.
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50)) {
            let inbox = Inbox::default();
            for piece in &pieces { inbox.put_data(piece).unwrap(); }
            let mut out = Vec::new();
            while let Some(Item::Data(data)) = inbox.take() { out.extend_from_slice(&data); }
            prop_assert_eq!(out, pieces.concat());
            prop_assert_eq!(inbox.lock().bytes, 0);
        }
    }
}
