//! The queue of messages that one side of a channel has sent and the gateway has not relayed yet.
//!
//! The read loop of a connection pushes each message into an inbox and never waits. If it waited for the other
//! connection, it would also stop reading its own peer's SSH_MSG_CHANNEL_WINDOW_ADJUST messages, and a transfer in both
//! directions could deadlock.
//!
//! The channel's receive window bounds the data in the queue (RFC 4254, section 5.2). A peer may send [`INITIAL_WINDOW`] bytes,
//! and gets more window only for bytes that the gateway has taken out and sent on. So a slow receiver stops the sender
//! of its own channel, and no other channel. The window of a fast transfer grows up to [`MAX_WINDOW`], as far as the user may
//! take more of the process's [memory budget](crate::memory_budget). A slow transfer gets a smaller window again. A channel
//! without a transfer keeps its window: SSH has no message that takes window back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::pieces::Pieces;
use crate::memory_budget::{Charge, UserBudget};

/// The first window of a channel, in bytes, and its smallest.
pub const INITIAL_WINDOW: u32 = 32 * 1024;
/// The largest window of a channel, in bytes: the most data that waits in an inbox.
const MAX_WINDOW: usize = 2 * 1024 * 1024;
/// The memory that a byte of window may take: a buffer that grows has up to twice the size of its data, and so do
/// [`Pieces`].
const BYTES_PER_WINDOW_BYTE: usize = 2;
/// The memory of control messages that an inbox may take without more of the budget, in bytes. It is enough for all messages of
/// well-behaved peers but long commands and environment variables.
const CONTROL_ALLOWANCE: usize = 8 * 1024;
/// The memory that an inbox may take without more of the budget, in bytes.
pub const INBOX_MEMORY: usize = BYTES_PER_WINDOW_BYTE * INITIAL_WINDOW as usize + CONTROL_ALLOWANCE;
/// The share of what the user may take that one window may be: one of this many parts. It leaves room for the user's other
/// channels.
const SHARES_OF_ALLOWANCE: usize = 16;
/// Window is granted again in parts of at least this share of the window.
const GRANTS_PER_WINDOW: usize = 8;
/// The least window that is granted at once, in bytes.
const MIN_GRANT: usize = INITIAL_WINDOW as usize / 2;
/// A window doubles if two grants follow each other within this time.
const FAST: Duration = Duration::from_millis(500);
/// A window halves if no grant was due for this time.
const SLOW: Duration = Duration::from_secs(5);
/// The maximum number of queued control messages. Well-behaved peers stay far below it.
const MAX_CONTROLS: usize = 256;
/// The maximum total size of queued control messages, in bytes.
const MAX_CONTROL_BYTES: usize = 512 * 1024;
/// The size up to which small messages of the same stream are merged, in bytes.
const MAX_MERGED: usize = 32 * 1024;
/// The capacity that an empty queue keeps, in entries.
const KEPT_CAPACITY: usize = 32;

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

impl<T> ChannelMessage<T> {
    /// Returns the message of data, or of extended data of this type code.
    const fn data(extended: Option<u32>, data: Bytes) -> Self {
        match extended {
            None => Self::Data(data),
            Some(stream) => Self::ExtendedData(stream, data),
        }
    }
}

/// Why an inbox takes no control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The peer queued more messages than any well-behaved peer does.
    #[error("the peer floods a channel")]
    Flood,
    /// The user may take no more of the memory budget. It happens only to messages with a text.
    #[error("the memory budget has no room for the message")]
    NoMemory,
}

impl From<PushError> for russh::Error {
    fn from(_: PushError) -> Self {
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
    window: Window,
    /// The memory beyond [`INBOX_MEMORY`].
    charge: Charge,
}

/// The receive window of a channel: the bytes that wait, that are being sent on, and that the peer may still send.
#[derive(Debug)]
struct Window {
    bytes: usize,
    /// Whether the size follows the speed of the transfer. The peer of a fixed window knows its size.
    adapts: bool,
    /// When window was granted last.
    granted: Option<Instant>,
}

#[derive(Debug)]
enum Entry<T> {
    /// The data type code of extended data, and the data.
    Data(Option<u32>, BytesMut),
    /// Short data of several streams.
    Pieces(Pieces),
    /// A control message, and its size in bytes.
    Control(T, usize),
}

impl<T> Inbox<T> {
    /// Creates an inbox with the first window, which then follows the speed of the transfer.
    pub fn new(memory: &Arc<UserBudget>) -> Self {
        Self::with(memory.take(0), Window { bytes: INITIAL_WINDOW as usize, adapts: true, granted: None })
    }

    /// Creates an inbox whose window has this size in bytes and keeps it. Returns `None` if the user may not take the memory.
    pub fn with_fixed_window(memory: &Arc<UserBudget>, bytes: u32) -> Option<Self> {
        let window = Window { bytes: bytes as usize, adapts: false, granted: None };
        memory.try_take(window_memory(window.bytes)).map(|charge| Self::with(charge, window))
    }

    fn with(charge: Charge, window: Window) -> Self {
        let entries = VecDeque::new();
        let queue = Queue { entries, controls: 0, control_bytes: 0, ungranted: 0, window, charge };
        Self {
            queue: Mutex::new(queue),
            pushed: Notify::new(),
            closed: CancellationToken::new(),
            end_of_write: CancellationToken::new(),
        }
    }

    /// Pushes data, or extended data of this type code. The window bounds the amount, whatever the size of its pieces.
    pub fn push_data(&self, extended: Option<u32>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        let merged = match queue.entries.back_mut() {
            Some(Entry::Data(stream, last)) if *stream == extended && last.len() + data.len() <= MAX_MERGED => {
                last.extend_from_slice(data);
                true
            }
            Some(Entry::Pieces(pieces)) => pieces.push(extended, data),
            // The first short data of another stream. More of both may follow, and an entry for each would cost a hundred times its
            // size.
            Some(Entry::Data(stream, _)) if *stream != extended => match Pieces::of(extended, data) {
                Some(pieces) => {
                    queue.entries.push_back(Entry::Pieces(pieces));
                    true
                }
                None => false,
            },
            Some(Entry::Data(..) | Entry::Control(..)) | None => false,
        };
        if !merged {
            queue.entries.push_back(Entry::Data(extended, BytesMut::from(data)));
        }
        drop(queue);
        self.pushed.notify_one();
    }

    /// Pushes a control message of this size in bytes.
    ///
    /// # Errors
    /// Fails when too many control messages are queued, too many bytes of them, or more than the user may take memory for. A
    /// message of 0 bytes always has memory.
    pub fn push_control(&self, control: T, bytes: usize) -> Result<(), PushError> {
        let mut queue = self.queue.lock();
        if queue.controls >= MAX_CONTROLS || queue.control_bytes + bytes > MAX_CONTROL_BYTES {
            return Err(PushError::Flood);
        }
        let more = beyond_allowance(queue.control_bytes + bytes) - beyond_allowance(queue.control_bytes);
        if more > 0 && !queue.charge.try_grow(more) {
            return Err(PushError::NoMemory);
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
        let message = queue.take()?;
        if queue.entries.is_empty() && queue.entries.capacity() > KEPT_CAPACITY {
            queue.entries = VecDeque::new();
        }
        Some(message)
    }

    /// Returns the window to grant to the peer now, in bytes, and counts it as granted; `None` while little was taken out.
    ///
    /// The caller has sent on all messages that it has taken out.
    pub fn grant(&self, now: Instant) -> Option<u32> {
        self.queue.lock().grant(now)
    }
}

impl<T> Queue<T> {
    fn take(&mut self) -> Option<ChannelMessage<T>> {
        match self.entries.pop_front()? {
            Entry::Data(extended, data) => {
                self.ungranted += data.len();
                Some(ChannelMessage::data(extended, data.freeze()))
            }
            Entry::Pieces(mut pieces) => {
                let (extended, data) = pieces.take()?;
                if !pieces.is_empty() {
                    self.entries.push_front(Entry::Pieces(pieces));
                }
                self.ungranted += data.len();
                Some(ChannelMessage::data(extended, data))
            }
            Entry::Control(control, bytes) => {
                self.controls -= 1;
                let left = self.control_bytes - bytes;
                self.charge.shrink(beyond_allowance(self.control_bytes) - beyond_allowance(left));
                self.control_bytes = left;
                Some(ChannelMessage::Control(control))
            }
        }
    }

    fn grant(&mut self, now: Instant) -> Option<u32> {
        if self.ungranted < (self.window.bytes / GRANTS_PER_WINDOW).max(MIN_GRANT) {
            return None;
        }
        let since = self.window.granted.replace(now).map(|last| now.saturating_duration_since(last));
        if self.window.adapts {
            let window = adapted(self.window.bytes, since, max_window(self.charge.allowance()));
            self.resize(window);
        }
        u32::try_from(std::mem::take(&mut self.ungranted)).ok().filter(|bytes| *bytes > 0)
    }

    /// Changes the window to this size: grants more if the user may take the memory, or withholds what was taken out. The peer keeps what
    /// it was granted, so a window shrinks only as far as the peer has used it.
    fn resize(&mut self, window: usize) {
        let bytes = self.window.bytes;
        if let Some(more) = window.checked_sub(bytes) {
            if self.charge.try_grow(window_memory(window) - window_memory(bytes)) {
                self.window.bytes += more;
                self.ungranted += more;
            }
        } else {
            let less = (bytes - window).min(self.ungranted);
            self.window.bytes -= less;
            self.ungranted -= less;
            self.charge.shrink(window_memory(bytes) - window_memory(bytes - less));
        }
    }
}

/// Returns the memory of a window beyond that of the first one, in bytes.
const fn window_memory(window: usize) -> usize {
    window.saturating_sub(INITIAL_WINDOW as usize) * BYTES_PER_WINDOW_BYTE
}

/// Returns how many bytes of control messages need room in the budget.
const fn beyond_allowance(control_bytes: usize) -> usize {
    control_bytes.saturating_sub(CONTROL_ALLOWANCE)
}

/// Returns the largest window that a channel may have now, if its user may take this many bytes more.
fn max_window(allowance: usize) -> usize {
    (allowance / SHARES_OF_ALLOWANCE / BYTES_PER_WINDOW_BYTE).clamp(INITIAL_WINDOW as usize, MAX_WINDOW)
}

/// Returns the size that a window should have. `since` is the time since the last grant, if there was one.
fn adapted(window: usize, since: Option<Duration>, max: usize) -> usize {
    let wanted = match since {
        Some(since) if since <= FAST => window * 2,
        Some(since) if since >= SLOW => window / 2,
        _ => window,
    };
    wanted.min(max).max(INITIAL_WINDOW as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::memory_budget::{MEMORY_BUDGET, MemoryBudget};

    impl<T> Default for Inbox<T> {
        fn default() -> Self {
            Self::new(&MEMORY_BUDGET.of_user("alice"))
        }
    }

    #[tokio::test]
    async fn small_messages_are_merged_and_order_is_kept() {
        let inbox = Inbox::default();
        inbox.push_data(None, b"a");
        inbox.push_data(None, b"b");
        inbox.push_data(Some(1), b"x");
        inbox.push_control((), 0).unwrap();
        inbox.push_data(None, b"c");
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"ab"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::ExtendedData(1, data) if data == b"x"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::Control(())));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"c"[..]));
    }

    fn budget(bytes: usize) -> &'static MemoryBudget {
        Box::leak(Box::new(MemoryBudget::new(bytes)))
    }

    fn inbox(budget: &'static MemoryBudget, user: &str) -> Inbox<()> {
        Inbox::new(&budget.of_user(user))
    }

    /// Sends all of the window through the inbox, `interval` after the last time. Returns the next window.
    fn pass_window(inbox: &Inbox<()>, window: u32, now: &mut Instant, interval: Duration) -> u32 {
        let (mut left, mut granted) = (window, 0);
        while left > 0 {
            let size = left.min(INITIAL_WINDOW / 2);
            inbox.push_data(None, &vec![0; size as usize]);
            inbox.take().unwrap();
            *now += interval;
            granted += inbox.grant(*now).unwrap_or_default();
            left -= size;
        }
        granted
    }

    #[test]
    fn window_is_granted_for_consumed_data_only() {
        let (inbox, now) = (inbox(budget(usize::MAX), "alice"), Instant::now());
        inbox.push_data(None, &[0; MIN_GRANT - 1]);
        assert_eq!(inbox.grant(now), None);
        inbox.take().unwrap();
        assert_eq!(inbox.grant(now), None);
        inbox.push_data(None, b"x");
        inbox.take().unwrap();
        assert_eq!(inbox.grant(now), Some(INITIAL_WINDOW / 2));
        assert_eq!(inbox.grant(now), None);
    }

    #[test]
    fn the_window_follows_the_speed_of_the_transfer() {
        let budget = budget(1 << 30);
        let (inbox, mut now) = (inbox(budget, "alice"), Instant::now());
        let mut window = INITIAL_WINDOW;
        for _ in 0..10 {
            window = pass_window(&inbox, window, &mut now, Duration::from_millis(1));
        }
        let total = inbox.queue.lock().window.bytes;
        assert_eq!((total, budget.taken()), (MAX_WINDOW, window_memory(MAX_WINDOW)));
        for _ in 0..200 {
            pass_window(&inbox, INITIAL_WINDOW, &mut now, SLOW);
        }
        assert!(inbox.queue.lock().window.bytes < MAX_WINDOW / 2);
        drop(inbox);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn windows_together_stay_within_the_share_of_their_user() {
        let budget = budget(64 << 20);
        let mut now = Instant::now();
        let inboxes: Vec<_> = (0..1000).map(|_| inbox(budget, "alice")).collect();
        for inbox in &inboxes {
            let mut window = INITIAL_WINDOW;
            for _ in 0..8 {
                window = pass_window(inbox, window, &mut now, Duration::from_millis(1)).max(1);
                assert!(budget.taken() <= budget.limit() / 4);
            }
        }
        let smallest = inboxes.iter().map(|inbox| inbox.queue.lock().window.bytes).min();
        assert_eq!(smallest, Some(INITIAL_WINDOW as usize), "the last channels keep the smallest window");
        let (others, mut window) = (inbox(budget, "bob"), INITIAL_WINDOW);
        for _ in 0..8 {
            window = pass_window(&others, window, &mut now, Duration::from_millis(1));
        }
        assert!(window >= 8 * INITIAL_WINDOW, "another user's window grows to {window} bytes");
    }

    #[test]
    fn a_fixed_window_needs_room() {
        let budget = budget(4 * window_memory(MAX_WINDOW));
        let bytes = u32::try_from(MAX_WINDOW).unwrap();
        let fixed = || Inbox::<()>::with_fixed_window(&budget.of_user("alice"), bytes);
        let first = fixed();
        assert_eq!((first.is_some(), budget.taken()), (true, window_memory(MAX_WINDOW)));
        assert!(fixed().is_none());
        drop(first);
        assert!(fixed().is_some());
    }

    #[rstest]
    #[case::first_grant(64, None, 2048, 64)]
    #[case::fast(64, Some(FAST), 2048, 128)]
    #[case::fast_at_the_limit(64, Some(FAST), 96, 96)]
    #[case::steady(64, Some(Duration::from_secs(1)), 2048, 64)]
    #[case::slow(64, Some(SLOW), 2048, 32)]
    #[case::slow_at_the_smallest(32, Some(SLOW), 2048, 32)]
    #[case::others_need_the_room(256, Some(FAST), 64, 64)]
    fn a_window_adapts(
        #[case] kibibytes: usize,
        #[case] since: Option<Duration>,
        #[case] max: usize,
        #[case] expected: usize,
    ) {
        assert_eq!(adapted(kibibytes * 1024, since, max * 1024), expected * 1024);
    }

    #[test]
    fn small_pieces_of_several_streams_cost_about_their_size() {
        let inbox = Inbox::<()>::default();
        for number in 0..MAX_WINDOW {
            inbox.push_data((number % 2 == 0).then_some(1), b"x");
        }
        let queue = inbox.queue.lock();
        let sizes = queue.entries.iter().map(|entry| match entry {
            Entry::Data(_, data) => size_of::<Entry<()>>() + data.capacity(),
            Entry::Pieces(pieces) => size_of::<Entry<()>>() + pieces.memory(),
            Entry::Control(..) => 0,
        });
        let memory: usize = sizes.sum();
        assert!(memory <= BYTES_PER_WINDOW_BYTE * MAX_WINDOW + MAX_WINDOW / 4, "{memory}");
    }

    #[test]
    fn control_messages_need_room_beyond_their_allowance() {
        let budget = budget(4000);
        let inbox = inbox(budget, "alice");
        assert!(inbox.push_control((), CONTROL_ALLOWANCE).is_ok());
        assert_eq!(budget.taken(), 0);
        assert!(inbox.push_control((), 1000).is_ok());
        assert_eq!(inbox.push_control((), 1), Err(PushError::NoMemory));
        assert!(inbox.push_control((), 0).is_ok(), "a message without a text always has memory");
        for _ in 0..3 {
            inbox.take().unwrap();
        }
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_others_hold_makes_no_request_a_flood() {
        let budget = budget(1000);
        let _held = budget.of_user("mallory").take(2000);
        let inbox = inbox(budget, "alice");
        assert_eq!(inbox.push_control((), CONTROL_ALLOWANCE + 1), Err(PushError::NoMemory));
        assert!(inbox.push_control((), CONTROL_ALLOWANCE).is_ok());
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
        inbox.push_data(None, b"b");
        inbox.push_front(vec![ChannelMessage::Control(()), ChannelMessage::Data(Bytes::from_static(b"a"))]);
        assert!(matches!(inbox.next().await, ChannelMessage::Control(())));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"a"[..]));
        assert!(matches!(inbox.next().await, ChannelMessage::Data(data) if data == b"b"[..]));
        let queue = inbox.queue.lock();
        assert_eq!((queue.ungranted, queue.controls), (2, 0));
    }

    #[test]
    fn too_many_request_bytes_are_a_flood() {
        let inbox = Inbox::default();
        assert!(inbox.push_control((), MAX_CONTROL_BYTES).is_ok());
        assert_eq!(inbox.push_control((), 1), Err(PushError::Flood));
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
            pieces in prop::collection::vec(
                (prop::sample::select(vec![None, Some(1), Some(7)]), prop::collection::vec(any::<u8>(), 0..2000)),
                0..50,
            ),
        ) {
            let inbox = Inbox::<()>::default();
            for (stream, piece) in &pieces {
                inbox.push_data(*stream, piece);
            }
            let mut out: Vec<(Option<u32>, u8)> = Vec::new();
            while let Some(message) = inbox.take() {
                match message {
                    ChannelMessage::Data(data) => out.extend(data.iter().map(|byte| (None, *byte))),
                    ChannelMessage::ExtendedData(stream, data) => out.extend(data.iter().map(|byte| (Some(stream), *byte))),
                    ChannelMessage::Control(()) => {}
                }
            }
            let sent: Vec<_> =
                pieces.iter().flat_map(|(stream, piece)| piece.iter().map(|byte| (*stream, *byte))).collect();
            prop_assert_eq!(inbox.queue.lock().ungranted, out.len());
            prop_assert_eq!(out, sent);
        }
    }
}
