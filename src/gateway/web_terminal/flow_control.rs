//! One channel of a session on a page's WebSocket. In either direction no more of it is on the way than the other side has
//! said that it has room for; so the gateway always reads what a page says, and keeps little of what a page does not take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc, watch};

use super::message::Channel;
use crate::gateway::bridge::{FromUser, Inbox, Request, ToUser, UserEnd, WINDOW};

/// What no page of ours does.
pub type Violation = &'static str;

/// How many bytes a frame has at most: over a slow network, each is a sign of life.
const FRAME: u32 = 8 * 1024;

/// What both directions of a channel know.
struct Flow {
    /// Permits for the bytes that the page has room for; closed when the page has closed the channel.
    room: Semaphore,
    /// How many bytes the page was sent.
    sent: AtomicU64,
    /// Whether the channel is closed.
    over: AtomicBool,
}

impl Flow {
    /// Waits until the page has room for so many bytes, and takes it. A page that has closed the channel has room for all: it
    /// acknowledges nothing more, and must still be told that the channel is closed.
    async fn room_for(&self, bytes: u32) {
        if let Ok(room) = self.room.acquire_many(bytes).await {
            room.forget();
        }
    }
}

/// What a page sends on a channel.
pub struct Inbound {
    inbox: Arc<Inbox<FromUser>>,
    granted: watch::Receiver<u64>,
    received: u64,
    acknowledged: u64,
    flow: Arc<Flow>,
}

/// What a page is sent on a channel.
pub struct Outbound {
    channel: Channel,
    from_target: mpsc::Receiver<ToUser>,
    granted: watch::Receiver<u64>,
    acknowledged: u64,
    /// What is to be sent as soon as the page has room.
    pending: Bytes,
    flow: Arc<Flow>,
}

/// What is to be said next of a channel.
pub enum Step {
    /// A binary frame.
    Frame(Bytes),
    /// So many bytes more were passed on to the target.
    Acknowledge(u64),
    /// A line of the bastion's own.
    Notice(String),
    /// It is closed.
    Closed,
}

/// Both directions of a channel, of which the page has room for this many bytes.
pub fn flow(channel: Channel, end: UserEnd, window: usize) -> (Inbound, Outbound) {
    let UserEnd { inbox, granted, from_target } = end;
    let (room, sent, over) = (Semaphore::new(window), AtomicU64::new(0), AtomicBool::new(false));
    let flow = Arc::new(Flow { room, sent, over });
    let intake = Inbound { inbox, granted: granted.clone(), received: 0, acknowledged: 0, flow: flow.clone() };
    (intake, Outbound { channel, from_target, granted, acknowledged: 0, pending: Bytes::new(), flow })
}

impl Inbound {
    /// Bytes for the target.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.inbox.is_closed() {
            return Ok(());
        }
        self.received += bytes.len() as u64;
        if self.received > *self.granted.borrow() + u64::from(WINDOW) {
            return Err("bastion: the page sends more than it may");
        }
        self.inbox.put_data(None, bytes).map_err(|_| "bastion: the page sends too many small pieces")
    }

    /// A request.
    pub fn request(&self, request: Request) -> Result<(), Violation> {
        self.inbox.put(FromUser::Request(request), 0).map_err(|_| "bastion: the page changes its size too often")
    }

    /// The page has taken so many bytes more. Nothing can be taken that was not sent.
    pub fn taken(&mut self, bytes: u64) {
        let taken = bytes.min(self.flow.sent.load(Ordering::Relaxed).saturating_sub(self.acknowledged));
        self.acknowledged += taken;
        self.flow.room.add_permits(usize::try_from(taken).unwrap_or_default());
    }

    /// The page wants the channel no more.
    pub fn close(&self) {
        self.inbox.close(FromUser::Close);
        self.flow.room.close();
    }

    /// Whether the page knows, or is about to be told, that the channel is closed.
    pub fn is_over(&self) -> bool {
        self.flow.over.load(Ordering::Acquire)
    }
}

impl Outbound {
    /// Waits for the next step. Nothing is lost if it is no longer waited for. After [`Step::Closed`] there is none.
    pub async fn next(&mut self) -> Step {
        loop {
            let frame = self.next_frame();
            let over = self.flow.over.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                Ok(()) = self.granted.changed() => {
                    let granted = *self.granted.borrow_and_update();
                    return Step::Acknowledge(granted - std::mem::replace(&mut self.acknowledged, granted));
                }
                what = self.from_target.recv(), if frame == 0 && !over => match what {
                    Some(ToUser::Data(data)) => self.pending = data,
                    Some(ToUser::Notice(text)) => return Step::Notice(text),
                    None => {
                        self.flow.over.store(true, Ordering::Release);
                        return Step::Closed;
                    }
                },
                () = self.flow.room_for(frame), if frame > 0 => return Step::Frame(self.take_frame()),
                else => std::future::pending().await,
            }
        }
    }

    /// What is left when the session is over, whether the page has room for it or not: it is bounded.
    pub fn rest(&mut self) -> Option<Step> {
        while self.pending.is_empty() {
            match self.from_target.try_recv().ok()? {
                ToUser::Data(data) => self.pending = data,
                ToUser::Notice(text) => return Some(Step::Notice(text)),
            }
        }
        Some(Step::Frame(self.take_frame()))
    }

    /// How many bytes the next frame has.
    fn next_frame(&self) -> u32 {
        u32::try_from(self.pending.len()).map_or(FRAME, |bytes| bytes.min(FRAME))
    }

    fn take_frame(&mut self) -> Bytes {
        let bytes = self.next_frame();
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
    use super::*;
    use crate::gateway::bridge::user_channel::inner;

    #[tokio::test]
    async fn a_page_that_has_closed_a_channel_is_told_so_whatever_still_comes() {
        const WINDOW: usize = 16 * 1024;
        let (channel, end) = inner();
        let (intake, mut outlet) = flow(Channel::Files, end, WINDOW);
        intake.close();
        let target = tokio::spawn(async move {
            for _ in 0..10 {
                channel.send(None, Bytes::from(vec![b'x'; WINDOW])).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let closed = async { while !matches!(outlet.next().await, Step::Closed) {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), closed).await.expect("the page is told");
        target.await.unwrap();
    }
}
