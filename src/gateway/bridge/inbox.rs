//! What one side sends on one channel, waiting to be passed to the other.
//!
//! A connection's loop must never wait for the other connection: it would no longer see the window adjustments of its
//! own peer, and a transfer in both directions would stand still for good. So the loop puts everything in here at
//! once. What waits is bounded by the peer's window, which is granted as its data is taken out (RFC 4254,
//! section 5.2): a channel that stands still holds up nothing but itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The window of a channel: the bytes that may wait here.
pub const WINDOW: u32 = 2 * 1024 * 1024;
/// How many bytes are taken out before that much window is granted again.
const GRANT: usize = WINDOW as usize / 8;
/// More waiting requests than any peer has.
const MAX_REQUESTS: usize = 256;
/// More bytes in them than any peer has.
const MAX_REQUEST_BYTES: usize = 512 * 1024;
/// More waiting pieces than any peer has that sends data worth sending: each costs memory beside its bytes.
const MAX_ITEMS: usize = 64 * 1024;
/// Small pieces are put together up to this size.
const PIECE: usize = 32 * 1024;

/// One thing that a side sent; `T` is what it may say besides data.
#[derive(Debug)]
pub enum Item<T> {
    /// Bytes.
    Data(Bytes),
    /// Bytes of another stream, which is standard error where its number is 1.
    Extended(u32, Bytes),
    /// Anything else.
    Said(T),
}

/// The peer sends what no well-behaved peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer floods a channel")]
pub struct Flooded;

impl From<Flooded> for russh::Error {
    fn from(_: Flooded) -> Self {
        Self::Inconsistent
    }
}

/// The inbox of one side of a channel: its connection puts in without waiting, the other side awaits.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    arrived: Notify,
    closed: CancellationToken,
    unread: CancellationToken,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Waiting<T>>,
    requests: usize,
    request_bytes: usize,
    /// Bytes that were taken out, and are not granted again yet.
    taken: usize,
}

#[derive(Debug)]
enum Waiting<T> {
    Data(Option<u32>, BytesMut),
    /// With its size.
    Said(T, usize),
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let queue = Queue { items: VecDeque::new(), requests: 0, request_bytes: 0, taken: 0 };
        Self {
            queue: Mutex::new(queue),
            arrived: Notify::new(),
            closed: CancellationToken::new(),
            unread: CancellationToken::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Puts data in, of the main stream or an extended one. Its amount is bounded by the window.
    ///
    /// # Errors
    /// When it comes in too many pieces that cannot be put together.
    pub fn put_data(&self, extended: Option<u32>, data: &[u8]) -> Result<(), Flooded> {
        if data.is_empty() {
            return Ok(());
        }
        let mut queue = self.lock();
        if queue.items.len() >= MAX_ITEMS {
            return Err(Flooded);
        }
        match queue.items.back_mut() {
            Some(Waiting::Data(stream, last)) if *stream == extended && last.len() + data.len() <= PIECE => {
                last.extend_from_slice(data);
            }
            _ => queue.items.push_back(Waiting::Data(extended, BytesMut::from(data))),
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts anything else in, of this size.
    ///
    /// # Errors
    /// When too much of it is waiting.
    pub fn put(&self, said: T, bytes: usize) -> Result<(), Flooded> {
        let mut queue = self.lock();
        if queue.requests >= MAX_REQUESTS || queue.request_bytes + bytes > MAX_REQUEST_BYTES {
            return Err(Flooded);
        }
        queue.requests += 1;
        queue.request_bytes += bytes;
        queue.items.push_back(Waiting::Said(said, bytes));
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts back what was taken out, in front of everything and in its own order.
    pub fn put_back(&self, items: Vec<Item<T>>) {
        let mut queue = self.lock();
        for item in items.into_iter().rev() {
            let waiting = match item {
                Item::Data(data) => {
                    queue.taken = queue.taken.saturating_sub(data.len());
                    Waiting::Data(None, data.into())
                }
                Item::Extended(stream, data) => {
                    queue.taken = queue.taken.saturating_sub(data.len());
                    Waiting::Data(Some(stream), data.into())
                }
                Item::Said(said) => {
                    queue.requests += 1;
                    Waiting::Said(said, 0)
                }
            };
            queue.items.push_front(waiting);
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Puts in the last thing that this side says, after which it takes nothing more either.
    pub fn close(&self, last: T) {
        let mut queue = self.lock();
        queue.requests += 1;
        queue.items.push_back(Waiting::Said(last, 0));
        drop(queue);
        self.closed.cancel();
        self.arrived.notify_one();
    }

    /// Waits until this side has closed the channel, whatever still waits to be taken out.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether this side has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// This side reads no more of what it is sent, and says so (`eow@openssh.com`).
    pub fn stop_reading(&self) {
        self.unread.cancel();
    }

    /// Waits until this side reads no more of what it is sent.
    pub async fn unread(&self) {
        self.unread.cancelled().await;
    }

    /// Takes the next thing out, in the order in which they came; waits until there is one.
    pub async fn next(&self) -> Item<T> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(item) = self.take() {
                return item;
            }
            arrived.await;
        }
    }

    fn take(&self) -> Option<Item<T>> {
        let mut queue = self.lock();
        match queue.items.pop_front()? {
            Waiting::Data(extended, data) => {
                queue.taken += data.len();
                let data = data.freeze();
                Some(match extended {
                    None => Item::Data(data),
                    Some(stream) => Item::Extended(stream, data),
                })
            }
            Waiting::Said(said, bytes) => {
                queue.requests -= 1;
                queue.request_bytes -= bytes;
                Some(Item::Said(said))
            }
        }
    }

    /// How many bytes the peer is to be granted now.
    pub fn to_grant(&self) -> Option<u32> {
        let taken = self.lock().taken;
        if taken >= GRANT { u32::try_from(taken).ok() } else { None }
    }

    /// They were granted.
    pub fn granted(&self, bytes: u32) {
        self.lock().taken -= bytes as usize;
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Every change to the queue is complete before anything could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inboxes of a connection's channels, which its loop fills.
#[derive(Debug)]
pub struct Inboxes<T>(Mutex<Books<T>>);

#[derive(Debug)]
struct Books<T> {
    channels: HashMap<ChannelId, Entry<T>>,
    /// What every channel says last, once the connection has ended.
    lost: Option<T>,
}

#[derive(Debug)]
struct Entry<T> {
    inbox: Arc<Inbox<T>>,
    /// Whether somebody takes out what comes. The loop may hear of a channel first, and of its end too.
    claimed: bool,
    /// Whether nothing more will come.
    over: bool,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { inbox: Arc::default(), claimed: false, over: false }
    }
}

impl<T> Default for Inboxes<T> {
    fn default() -> Self {
        Self(Mutex::new(Books { channels: HashMap::new(), lost: None }))
    }
}

impl<T: Clone> Inboxes<T> {
    /// The loop hears that a channel is open which this side has asked for.
    pub fn expect(&self, channel: ChannelId) {
        self.lock().channels.entry(channel).or_default();
    }

    /// The inbox of a channel for whoever takes out what comes on it, also if that was all already.
    pub fn claim(&self, channel: ChannelId) -> Arc<Inbox<T>> {
        let mut books = self.lock();
        let lost = books.lost.clone();
        let entry = books.channels.entry(channel).or_default();
        entry.claimed = true;
        let (inbox, over) = (entry.inbox.clone(), entry.over);
        if let Some(lost) = lost.filter(|_| !over) {
            inbox.close(lost);
            books.channels.remove(&channel);
        } else if over {
            books.channels.remove(&channel);
        }
        inbox
    }

    /// The inbox of an open channel.
    pub fn get(&self, channel: ChannelId) -> Option<Arc<Inbox<T>>> {
        self.lock().channels.get(&channel).map(|entry| entry.inbox.clone())
    }

    /// Puts data into a channel's inbox, as [`Inbox::put_data`] does. What comes on a channel that is not open is nobody's.
    ///
    /// # Errors
    /// When it comes in too many pieces that cannot be put together.
    pub fn put_data(&self, channel: ChannelId, extended: Option<u32>, data: &[u8]) -> Result<(), Flooded> {
        self.get(channel).map_or(Ok(()), |inbox| inbox.put_data(extended, data))
    }

    /// Puts anything else into a channel's inbox, as [`Inbox::put`] does.
    ///
    /// # Errors
    /// When too much of it is waiting.
    pub fn put(&self, channel: ChannelId, said: T, bytes: usize) -> Result<(), Flooded> {
        self.get(channel).map_or(Ok(()), |inbox| inbox.put(said, bytes))
    }

    /// The peer has closed a channel, and said this last.
    pub fn close(&self, channel: ChannelId, last: T) {
        let mut books = self.lock();
        let Some(entry) = books.channels.get_mut(&channel) else { return };
        entry.over = true;
        entry.inbox.close(last);
        if entry.claimed {
            books.channels.remove(&channel);
        }
    }

    /// Puts in that the connection has ended, as the last item of each channel that the peer has not closed. Returns whether
    /// there was one.
    pub fn lose(&self, last: T) -> bool {
        let mut books = self.lock();
        let mut interrupted = false;
        for entry in books.channels.values_mut().filter(|entry| !entry.over) {
            entry.over = true;
            entry.inbox.close(last.clone());
            interrupted = true;
        }
        books.channels.retain(|_, entry| !entry.claimed);
        books.lost = Some(last);
        interrupted
    }

    /// Forgets a channel that will not be.
    pub fn remove(&self, channel: ChannelId) {
        self.lock().channels.remove(&channel);
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.lock().channels.len()
    }

    fn lock(&self) -> MutexGuard<'_, Books<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One side of a channel: what comes from it, and the way to send to it. `M` is the library's message to its connection.
#[derive(Debug)]
pub struct Side<M: From<(ChannelId, ChannelMsg)>, T> {
    /// What comes from it.
    pub inbox: Arc<Inbox<T>>,
    /// The way to send to it what is not data.
    pub write: ChannelWriteHalf<M>,
    /// Whether it was told that no more data will come. It is held while data waits for the channel's window.
    ended: tokio::sync::Mutex<bool>,
}

impl<M: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static, T> Side<M, T> {
    /// A channel's side, with what was put in for it.
    pub fn new(inbox: Arc<Inbox<T>>, write: ChannelWriteHalf<M>) -> Self {
        Self { inbox, write, ended: tokio::sync::Mutex::default() }
    }

    /// The next thing that this side sent. Asking for it says that what came before was passed on, and grants this side
    /// the window for more.
    pub async fn next(&self) -> Item<T> {
        if let Some(bytes) = self.inbox.to_grant() {
            // A connection that is gone will say so itself.
            let _ = self.write.grant_window(bytes).await;
            self.inbox.granted(bytes);
        }
        self.inbox.next().await
    }

    /// Sends data as far as the channel's window lets it, unless this side has closed the channel or was told that no more
    /// will come: then nobody wants it.
    ///
    /// # Errors
    /// When its connection is gone.
    pub async fn send(&self, extended: Option<u32>, data: Bytes) -> Result<(), russh::Error> {
        let sent = async {
            let ended = self.ended.lock().await;
            match extended {
                _ if *ended => Ok(()),
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

    /// Says that no more data will come, once and behind all data.
    ///
    /// # Errors
    /// When its connection is gone.
    pub async fn eof(&self) -> Result<(), russh::Error> {
        let mut ended = self.ended.lock().await;
        if std::mem::replace(&mut *ended, true) {
            return Ok(());
        }
        self.write.eof().await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use russh::keys::ssh_key::encoding::Decode;

    use super::*;

    #[tokio::test]
    async fn small_pieces_are_put_together_and_order_is_kept() {
        let inbox = Inbox::default();
        inbox.put_data(None, b"a").unwrap();
        inbox.put_data(None, b"b").unwrap();
        inbox.put_data(Some(1), b"x").unwrap();
        inbox.put((), 0).unwrap();
        inbox.put_data(None, b"c").unwrap();
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"ab"[..]));
        assert!(matches!(inbox.next().await, Item::Extended(1, data) if data == b"x"[..]));
        assert!(matches!(inbox.next().await, Item::Said(())));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"c"[..]));
    }

    #[tokio::test]
    async fn window_is_granted_for_what_was_taken_and_for_no_more() {
        let (inbox, piece) = (Inbox::<()>::default(), vec![0; PIECE]);
        inbox.put_data(None, &piece).unwrap();
        inbox.next().await;
        assert_eq!(inbox.to_grant(), None);
        for _ in 1..GRANT / PIECE {
            inbox.put_data(None, &piece).unwrap();
            inbox.next().await;
        }
        inbox.put_data(None, &piece).unwrap();
        assert_eq!(inbox.to_grant(), Some(u32::try_from(GRANT).unwrap()));
        inbox.granted(u32::try_from(GRANT).unwrap());
        assert_eq!(inbox.to_grant(), None);
    }

    #[test]
    fn a_peer_that_floods_it_with_requests_is_found_out() {
        let inbox = Inbox::default();
        let requests = (0..1000).take_while(|_| inbox.put((), 0).is_ok()).count();
        assert_eq!(requests, MAX_REQUESTS);
    }

    #[tokio::test]
    async fn what_is_put_back_comes_first_in_its_own_order() {
        let inbox = Inbox::default();
        inbox.put_data(None, b"b").unwrap();
        inbox.put_back(vec![Item::Said(()), Item::Data(Bytes::from_static(b"a"))]);
        assert!(matches!(inbox.next().await, Item::Said(())));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"a"[..]));
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"b"[..]));
        let queue = inbox.lock();
        assert_eq!((queue.taken, queue.requests), (2, 0));
    }

    #[test]
    fn a_peer_that_floods_it_with_bytes_in_requests_or_with_crumbs_is_found_out() {
        let inbox = Inbox::default();
        assert!(inbox.put((), MAX_REQUEST_BYTES).is_ok());
        assert_eq!(inbox.put((), 1), Err(Flooded));
        let inbox = Inbox::<()>::default();
        assert!((0..MAX_ITEMS).all(|number| inbox.put_data(Some(u32::from(number % 2 == 0)), b"x").is_ok()));
        assert_eq!(inbox.put_data(None, b"x"), Err(Flooded));
        let inbox = Inbox::<()>::default();
        assert!((0..2 * MAX_ITEMS).all(|_| inbox.put_data(None, b"").is_ok()), "nothing costs nothing");
    }

    fn channel(number: u8) -> ChannelId {
        ChannelId::decode(&mut &[0, 0, 0, number][..]).unwrap()
    }

    /// The loop of a connection may be ahead of whoever opens a channel.
    #[tokio::test]
    async fn what_ended_before_it_was_claimed_is_not_lost() {
        let channel = channel(7);
        let inboxes = Inboxes::default();
        inboxes.expect(channel);
        inboxes.get(channel).unwrap().put_data(None, b"all there was").unwrap();
        inboxes.close(channel, "closed");
        let inbox = inboxes.claim(channel);
        assert!(matches!(inbox.next().await, Item::Data(data) if data == b"all there was"[..]));
        assert!(matches!(inbox.next().await, Item::Said("closed")));
        assert_eq!(inboxes.len(), 0);
    }

    #[tokio::test]
    async fn a_lost_connection_is_lost_also_for_those_who_come_late() {
        let [early, expected, late] = [1, 2, 3].map(channel);
        let inboxes = Inboxes::default();
        let early = inboxes.claim(early);
        inboxes.expect(expected);
        assert!(inboxes.lose("lost"), "two channels were open");
        for inbox in [early, inboxes.claim(expected), inboxes.claim(late)] {
            assert!(matches!(inbox.next().await, Item::Said("lost")));
            assert!(inbox.is_closed());
        }
        assert_eq!(inboxes.len(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let inbox = Arc::new(Inbox::default());
        let waiter = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.next().await }
        });
        tokio::task::yield_now().await;
        inbox.close("closed");
        assert!(matches!(waiter.await.unwrap(), Item::Said("closed")));
        inbox.closed().await;
    }

    proptest! {
        /// What comes out is what went in, byte for byte and in order.
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50)) {
            let inbox = Inbox::<()>::default();
            for piece in &pieces { inbox.put_data(None, piece).unwrap(); }
            let mut out = Vec::new();
            while let Some(Item::Data(data)) = inbox.take() { out.extend_from_slice(&data); }
            prop_assert_eq!(inbox.lock().taken, out.len());
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
