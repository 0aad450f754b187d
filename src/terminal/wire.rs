//! A page's WebSocket, joined to the user's end of a channel. Binary frames are the bytes of the terminal; of these no more
//! are on the way, in either direction, than the other side has said that it has room for. So the gateway always reads what
//! a page says, and keeps little of what a page does not take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::message::{self, FromPage, ToPage};
use crate::gateway::activity::Activity;
use crate::gateway::client_side::{GOODBYE, News};
use crate::gateway::inbox::{Inbox, WINDOW};
use crate::gateway::request::{FromUser, Request, Size};
use crate::gateway::user_channel::{ToUser, UserEnd};
use crate::lifecycle::{Cause, KEEPALIVE_EVERY, Leg, NetworkWatch, TcpHealth};

/// How many bytes a page may be sent that it has not said it has shown.
pub const PAGE_WINDOW: usize = 128 * 1024;
/// How many bytes a frame has at most: over a slow network, each is a sign of life.
const FRAME: u32 = 8 * 1024;
/// How long a page that takes no more may take to have said why.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often it is looked whether a page is silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a browser says for a frame of closing without a code.
const NO_STATUS: u16 = 1005;

/// A page that has a session, or will have one.
pub struct Wire {
    /// The user's end of the shell's channel.
    pub end: UserEnd,
    /// What the page is told of its session.
    pub news: mpsc::Receiver<News>,
    /// Is cancelled when the page has left, or its shell has ended.
    pub gone: CancellationToken,
    /// Cancelling it cuts the page off.
    pub cut: CancellationToken,
    /// Is cancelled when nothing more can be told.
    pub closed: CancellationToken,
    /// Takes how the page left.
    pub left: Arc<OnceLock<Cause>>,
    /// Is told of what the user does.
    pub activity: Arc<Activity>,
    /// User, target and login.
    pub whose: [String; 3],
    /// Whether something is between the page and this gateway that answers the kernel's questions in its place.
    pub proxied: bool,
}

/// What reading and writing share.
struct Desk {
    /// Permits for the bytes that the page has room for.
    room: Semaphore,
    /// How many bytes the page was sent.
    sent: AtomicU64,
    heard: Mutex<Instant>,
    asked: Notify,
}

/// What no page of ours does.
type Violation = &'static str;

impl Wire {
    /// Passes everything on until the page has left, or the session is over and the page knows.
    pub async fn run(self, socket: WebSocket) {
        let Self { end, mut news, gone, cut, closed, left, activity, whose, proxied } = self;
        let UserEnd { inbox, granted, mut from_target } = end;
        let (mut sink, stream) = socket.split();
        let desk = Desk {
            room: Semaphore::new(PAGE_WINDOW),
            sent: AtomicU64::new(0),
            heard: Mutex::new(Instant::now()),
            asked: Notify::new(),
        };
        let reader = Reader { desk: &desk, inbox: &inbox, granted: granted.clone(), activity: &activity, left: &left };
        let mut reading = std::pin::pin!(reader.run(stream));
        let mut writer = Writer {
            desk: &desk,
            sink: &mut sink,
            from_target: &mut from_target,
            news: &mut news,
            granted,
            gone: &gone,
            whose: &whose,
            pending: Bytes::new(),
        };
        let over = tokio::select! {
            biased;
            () = cut.cancelled() => Ok(false),
            read = &mut reading => read.map(|()| false),
            written = writer.run() => {
                if written.is_err() {
                    // A tab that is closed in the midst of output has said so before it took no more.
                    let _ = timeout(LAST_WORDS, &mut reading).await;
                }
                Ok(written.is_ok())
            }
            () = desk.silence(), if proxied => {
                let _ = left.set(Cause::NetworkLost(Leg::User));
                Ok(false)
            }
        };
        gone.cancel();
        match over {
            // The page closes too, now that it was told.
            Ok(true) => drop(timeout(GOODBYE, &mut reading).await),
            Ok(false) => {}
            Err(violation) => {
                let close = CloseFrame { code: close_code::POLICY, reason: violation.into() };
                let _ = timeout(GOODBYE, sink.send(Message::Close(Some(close)))).await;
            }
        }
        let _ = timeout(GOODBYE, sink.close()).await;
        closed.cancel();
    }
}

impl Desk {
    fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until the page has said nothing for so long that it must be lost: it is asked all the time.
    async fn silence(&self) {
        let (mut looks, mut watch) = (interval(LOOK_EVERY), NetworkWatch::default());
        loop {
            looks.tick().await;
            let now = Instant::now();
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let silent = now.saturating_duration_since(heard);
            let health = TcpHealth { since_data: silent, since_ack: silent, unacknowledged: true, probing: false };
            if watch.is_lost(health, now) {
                return;
            }
        }
    }
}

struct Reader<'a> {
    desk: &'a Desk,
    inbox: &'a Inbox<FromUser>,
    granted: watch::Receiver<u64>,
    activity: &'a Activity,
    left: &'a OnceLock<Cause>,
}

impl Reader<'_> {
    /// Reads until the page has left.
    async fn run(self, mut stream: SplitStream<WebSocket>) -> Result<(), Violation> {
        let (mut received, mut acked) = (0, 0);
        while let Some(Ok(message)) = stream.next().await {
            self.desk.heard();
            match message {
                Message::Binary(bytes) => {
                    received += bytes.len() as u64;
                    self.typed(&bytes, received)?;
                }
                Message::Text(text) => {
                    let said = serde_json::from_str(&text).map_err(|_| "bastion: the page says what it cannot say")?;
                    self.said(said, &mut acked)?;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => {
                    let code = frame.map_or(NO_STATUS, |frame| frame.code);
                    if matches!(code, close_code::NORMAL | close_code::AWAY | NO_STATUS) {
                        let _ = self.left.set(Cause::TabClosed);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn typed(&self, bytes: &[u8], received: u64) -> Result<(), Violation> {
        if received > *self.granted.borrow() + u64::from(WINDOW) {
            return Err("bastion: the page sends more than it may");
        }
        self.activity.input();
        self.inbox.put_data(None, bytes).map_err(|_| "bastion: the page sends too many small pieces")
    }

    fn said(&self, said: FromPage, acked: &mut u64) -> Result<(), Violation> {
        match said {
            FromPage::Resize { cols: 0, .. } | FromPage::Resize { rows: 0, .. } => {}
            FromPage::Resize { cols, rows } => {
                let size = Size { columns: cols.into(), rows: rows.into(), width: 0, height: 0 };
                self.activity.resized(size.columns, size.rows);
                let change = FromUser::Request(Request::WindowChange(size));
                self.inbox.put(change, 0).map_err(|_| "bastion: the page changes its size too often")?;
            }
            FromPage::Ack { bytes } => {
                // Nothing can be shown that was not sent.
                let shown = bytes.min(self.desk.sent.load(Ordering::Relaxed).saturating_sub(*acked));
                *acked += shown;
                self.desk.room.add_permits(usize::try_from(shown).unwrap_or_default());
            }
            FromPage::Ping => self.desk.asked.notify_one(),
        }
        Ok(())
    }
}

struct Writer<'a> {
    desk: &'a Desk,
    sink: &'a mut SplitSink<WebSocket, Message>,
    from_target: &'a mut mpsc::Receiver<ToUser>,
    news: &'a mut mpsc::Receiver<News>,
    granted: watch::Receiver<u64>,
    gone: &'a CancellationToken,
    whose: &'a [String; 3],
    /// What the page is to be sent as soon as it has room.
    pending: Bytes,
}

impl Writer<'_> {
    /// Writes until the page was told of the end.
    async fn run(&mut self) -> Result<(), axum::Error> {
        let (mut pings, mut open, mut acked) = (interval(KEEPALIVE_EVERY), true, 0);
        loop {
            let frame = self.next_frame();
            tokio::select! {
                biased;
                told = self.news.recv() => match told {
                    Some(News::Opened(name, id)) => {
                        let [user, target, login] = self.whose;
                        self.say(ToPage::Session { name: &name, id: &id, user, target, login }).await?;
                    }
                    Some(News::Over(parting)) => {
                        self.last_output().await?;
                        self.sink.send(Message::Text(message::end(&parting))).await?;
                        let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
                        return self.sink.send(Message::Close(Some(close))).await;
                    }
                    None => return Ok(()),
                },
                _ = pings.tick() => self.sink.send(Message::Ping(Bytes::new())).await?,
                () = self.desk.asked.notified() => self.say(ToPage::Pong).await?,
                Ok(()) = self.granted.changed() => {
                    let granted = *self.granted.borrow_and_update();
                    let bytes = granted - std::mem::replace(&mut acked, granted);
                    self.say(ToPage::Ack { bytes }).await?;
                }
                what = self.from_target.recv(), if open && frame == 0 => match what {
                    Some(ToUser::Data(data)) => self.pending = data,
                    Some(ToUser::Notice(text)) => self.say(ToPage::Notice { text: &text }).await?,
                    None => {
                        open = false;
                        self.gone.cancel();
                    }
                },
                Ok(room) = self.desk.room.acquire_many(frame), if frame > 0 => {
                    room.forget();
                    self.send_frame().await?;
                }
            }
        }
    }

    /// What is left when the session is over, whether the page has room for it or not: it is bounded.
    async fn last_output(&mut self) -> Result<(), axum::Error> {
        loop {
            while !self.pending.is_empty() {
                self.send_frame().await?;
            }
            match self.from_target.try_recv() {
                Ok(ToUser::Data(data)) => self.pending = data,
                Ok(ToUser::Notice(text)) => self.say(ToPage::Notice { text: &text }).await?,
                Err(_) => return Ok(()),
            }
        }
    }

    /// How many bytes the next frame has.
    fn next_frame(&self) -> u32 {
        u32::try_from(self.pending.len()).map_or(FRAME, |bytes| bytes.min(FRAME))
    }

    async fn send_frame(&mut self) -> Result<(), axum::Error> {
        let bytes = self.next_frame();
        self.desk.sent.fetch_add(bytes.into(), Ordering::Relaxed);
        let frame = self.pending.split_to(bytes as usize);
        self.sink.send(Message::Binary(frame)).await
    }

    async fn say(&mut self, what: ToPage<'_>) -> Result<(), axum::Error> {
        self.sink.send(Message::Text(what.frame())).await
    }
}
