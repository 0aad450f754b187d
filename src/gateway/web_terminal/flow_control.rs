//! Flow control of one channel on a page's WebSocket. In each direction, at most a window of bytes is unacknowledged.
//! The gateway therefore never stops reading, and buffers little for a page that reads slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc, watch};

use super::message::Channel;
use crate::gateway::bridge::{FromUser, Inbox, PAGE_WINDOW, Request, ToUser, UserEnd};

/// How a page broke the protocol, as the reason of the close frame.
pub type Violation = &'static str;

/// The most bytes in a frame. Small frames show on a slow network that the connection works.
const MAX_FRAME: u32 = 8 * 1024;

/// The state that both directions share.
struct Flow {
    /// A permit for each byte that may be sent to the page; closed once the page has closed the channel.
    window: Semaphore,
    /// The bytes sent to the page.
    sent: AtomicU64,
    /// Whether the channel is closed towards the page.
    closed: AtomicBool,
}

impl Flow {
    /// Waits for this many bytes of the window, and takes them. Once the page has closed the channel, returns at once:
    /// the page sends no more acknowledgements, and must still learn that the channel is closed.
    async fn take_window(&self, bytes: u32) {
        if let Ok(permits) = self.window.acquire_many(bytes).await {
            permits.forget();
        }
    }
}

/// The direction from the page to the target.
pub struct Inbound {
    inbox: Arc<Inbox<FromUser>>,
    /// The bytes that have left the inbox.
    granted: watch::Receiver<u64>,
    received: u64,
    /// The bytes that the page has acknowledged of the other direction.
    acknowledged: u64,
    flow: Arc<Flow>,
}

/// The direction from the target to the page.
pub struct Outbound {
    channel: Channel,
    from_target: mpsc::Receiver<ToUser>,
    /// The bytes of the other direction that have left the inbox.
    granted: watch::Receiver<u64>,
    /// The bytes of the other direction that have been acknowledged to the page.
    acknowledged: u64,
    /// Output that waits for the window.
    pending: Bytes,
    flow: Arc<Flow>,
}

/// The next thing to send to the page.
pub enum Step {
    /// A binary frame of output.
    Frame(Bytes),
    /// An acknowledgement of this many further bytes of input.
    Acknowledge(u64),
    /// A line of the bastion itself.
    Notice(String),
    /// The channel is closed.
    Closed,
}

/// Returns both directions of a channel. The page may be sent `window` bytes before it acknowledges them.
pub fn flow(channel: Channel, end: UserEnd, window: usize) -> (Inbound, Outbound) {
    let UserEnd { inbox, granted, from_target } = end;
    let (window, sent, closed) = (Semaphore::new(window), AtomicU64::new(0), AtomicBool::new(false));
    let flow = Arc::new(Flow { window, sent, closed });
    let inbound = Inbound { inbox, granted: granted.clone(), received: 0, acknowledged: 0, flow: flow.clone() };
    (inbound, Outbound { channel, from_target, granted, acknowledged: 0, pending: Bytes::new(), flow })
}

impl Inbound {
    /// Passes on input of the page.
    ///
    /// # Errors
    /// The page exceeds its window.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.inbox.is_closed() {
            return Ok(());
        }
        self.received += bytes.len() as u64;
        if self.received > *self.granted.borrow() + u64::from(PAGE_WINDOW) {
            return Err("bastion: the page exceeds its window");
        }
        self.inbox.push_data(None, bytes);
        Ok(())
    }

    /// Passes on a request of the page.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn request(&self, request: Request) -> Result<(), Violation> {
        self.inbox
            .push_control(FromUser::Request(request), 0)
            .map_err(|_| "bastion: the page changes its size too often")
    }

    /// Adds bytes that the page has acknowledged to its window. Bytes that were never sent do not count.
    pub fn acknowledged(&mut self, bytes: u64) {
        let bytes = bytes.min(self.flow.sent.load(Ordering::Relaxed).saturating_sub(self.acknowledged));
        self.acknowledged += bytes;
        self.flow.window.add_permits(usize::try_from(bytes).unwrap_or_default());
    }

    /// Closes the channel for the page. A page may ask for it again and again.
    pub fn close(&self) {
        if !self.inbox.is_closed() {
            self.inbox.close(FromUser::Close);
            self.flow.window.close();
        }
    }

    /// Returns whether the page has been sent the close of the channel, or is about to be.
    pub fn is_closed(&self) -> bool {
        self.flow.closed.load(Ordering::Acquire)
    }
}

impl Outbound {
    /// Waits for the next step. Cancel-safe. Never returns after [`Step::Closed`].
    pub async fn next(&mut self) -> Step {
        loop {
            let frame = self.next_frame_size();
            let closed = self.flow.closed.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                Ok(()) = self.granted.changed() => {
                    let granted = *self.granted.borrow_and_update();
                    return Step::Acknowledge(granted - std::mem::replace(&mut self.acknowledged, granted));
                }
                received = self.from_target.recv(), if frame == 0 && !closed => match received {
                    Some(ToUser::Data(data)) => self.pending = data,
                    Some(ToUser::Notice(text)) => return Step::Notice(text),
                    None => {
                        self.flow.closed.store(true, Ordering::Release);
                        return Step::Closed;
                    }
                },
                () = self.flow.take_window(frame), if frame > 0 => return Step::Frame(self.take_frame()),
                else => std::future::pending().await,
            }
        }
    }

    /// Returns the output that remains when the session has ended. It ignores the window: the output is bounded.
    pub fn remaining(&mut self) -> Option<Step> {
        while self.pending.is_empty() {
            match self.from_target.try_recv().ok()? {
                ToUser::Data(data) => self.pending = data,
                ToUser::Notice(text) => return Some(Step::Notice(text)),
            }
        }
        Some(Step::Frame(self.take_frame()))
    }

    /// Returns the size of the next frame's data in bytes.
    fn next_frame_size(&self) -> u32 {
        u32::try_from(self.pending.len()).map_or(MAX_FRAME, |bytes| bytes.min(MAX_FRAME))
    }

    fn take_frame(&mut self) -> Bytes {
        let bytes = self.next_frame_size();
        self.flow.sent.fetch_add(bytes.into(), Ordering::Relaxed);
        let data = self.pending.split_to(bytes as usize);
        let mut frame = BytesMut::with_capacity(1 + data.len());
        frame.put_u8(self.channel.number());
        frame.put(data);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::gateway::bridge::ChannelMessage;
    use crate::gateway::bridge::user_channel::in_process;
    use crate::memory_budget::MEMORY_BUDGET;

    #[test]
    fn a_channel_that_a_page_closes_again_and_again_is_closed_once() {
        let (channel, end) = in_process(&MEMORY_BUDGET.of_user("alice")).unwrap();
        let (inbound, _outbound) = flow(Channel::Files, end, 1024);
        (0..1000).for_each(|_| inbound.close());
        let first = channel.inbox().next().now_or_never();
        assert!(matches!(first, Some(ChannelMessage::Control(FromUser::Close))), "{first:?}");
        assert!(channel.inbox().next().now_or_never().is_none(), "nothing more waits");
    }

    #[tokio::test]
    async fn a_page_that_closes_a_channel_receives_the_close_despite_more_output() {
        const WINDOW: usize = 16 * 1024;
        let (channel, end) = in_process(&MEMORY_BUDGET.of_user("alice")).unwrap();
        let (inbound, mut outbound) = flow(Channel::Files, end, WINDOW);
        inbound.close();
        let target = tokio::spawn(async move {
            for _ in 0..10 {
                channel.send(None, Bytes::from(vec![b'x'; WINDOW])).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let closed = async { while !matches!(outbound.next().await, Step::Closed) {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), closed).await.expect("the close is sent");
        target.await.unwrap();
    }
}
