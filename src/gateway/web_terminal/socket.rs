//! A page's WebSocket, joined to the user's end of the session's channels: the shell, and files beside it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::flow_control::{Inbound, Outbound, Step, Violation, flow};
use super::message;
use super::message::{Channel, FromPage, ToPage};
use crate::gateway::bridge::{FromUser, Opened, Request, Size, UserEnd, user_channel};
use crate::gateway::session::{Activity, ClientEvent, GOODBYE};
use crate::lifecycle::{Cause, KEEPALIVE_EVERY, NetworkWatch, PeerSide, TcpHealth};

/// How many bytes of the terminal a page may be sent that it has not said it has shown.
pub const SHELL_WINDOW: usize = 128 * 1024;
/// The same of files, which nobody waits for at each key.
const FILES_WINDOW: usize = 1024 * 1024;
/// How long a page that takes no more may take to have said why.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often it is looked whether a page is silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a browser says for a frame of closing without a code.
const NO_STATUS: u16 = 1005;

/// A page that has a session, or will have one.
pub struct PageSocket {
    /// The user's end of the shell's channel.
    pub end: UserEnd,
    /// What the page is told of its session.
    pub news: mpsc::Receiver<ClientEvent>,
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
    /// The way to the target's files.
    pub files: Files,
    /// Whether something is between the page and this gateway that answers the kernel's questions in its place.
    pub proxied: bool,
}

/// The way to the target's files.
pub struct Files {
    /// What is to be asked for on a channel for them, unless the person may not have them, and why.
    pub asked: Result<Vec<Request>, &'static str>,
    /// Takes the channel.
    pub opened: mpsc::Sender<Opened>,
}

impl Files {
    /// Opens a channel of the session for them; nothing where it takes none any more.
    fn open(&self) -> Option<UserEnd> {
        let (channel, end) = user_channel::inner();
        let asked = self.asked.clone().map_or_else(
            |why| vec![FromUser::Refused(why)],
            |requests| requests.into_iter().map(FromUser::Request).collect(),
        );
        end.ask(asked);
        self.opened.try_send(Opened::Companion(channel)).ok().map(|()| end)
    }
}

/// What reading and writing share.
struct Shared {
    heard: Mutex<Instant>,
    asked: Notify,
}

impl PageSocket {
    /// Passes everything on until the page has left, or the session is over and the page knows.
    pub async fn run(self, socket: WebSocket) {
        let Self { end, mut news, gone, cut, closed, left, activity, whose, files, proxied } = self;
        let (mut sink, stream) = socket.split();
        let desk = Shared { heard: Mutex::new(Instant::now()), asked: Notify::new() };
        let (intake, shell) = flow(Channel::Shell, end, SHELL_WINDOW);
        let has_files = files.asked.is_ok();
        // One channel for files is open at a time.
        let (opens, opened) = mpsc::channel(1);
        let reader =
            Reader { desk: &desk, shell: intake, files: None, way: files, opens, activity: &activity, left: &left };
        let mut reading = std::pin::pin!(reader.run(stream));
        let mut writer = Writer {
            desk: &desk,
            sink: &mut sink,
            shell,
            opened,
            files: None,
            news: &mut news,
            gone: &gone,
            whose: &whose,
            has_files,
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
                let _ = left.set(Cause::NetworkLost(PeerSide::User));
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

impl Shared {
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
    desk: &'a Shared,
    shell: Inbound,
    files: Option<Inbound>,
    way: Files,
    /// Takes the other direction of a channel for files.
    opens: mpsc::Sender<Outbound>,
    activity: &'a Activity,
    left: &'a OnceLock<Cause>,
}

impl Reader<'_> {
    /// Reads until the page has left.
    async fn run(mut self, mut stream: SplitStream<WebSocket>) -> Result<(), Violation> {
        while let Some(Ok(message)) = stream.next().await {
            self.desk.heard();
            match message {
                Message::Binary(frame) => self.data(&frame)?,
                Message::Text(text) => {
                    let said = serde_json::from_str(&text).map_err(|_| "bastion: the page says what it cannot say")?;
                    self.said(said)?;
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

    fn data(&mut self, frame: &[u8]) -> Result<(), Violation> {
        let (channel, bytes) = Channel::of(frame).ok_or("bastion: the page sends on a channel that is not there")?;
        self.activity.input();
        // What was on its way when a channel was closed is nobody's.
        self.intake(channel).map_or(Ok(()), |intake| intake.data(bytes))
    }

    fn said(&mut self, said: FromPage) -> Result<(), Violation> {
        match said {
            FromPage::Resize { cols: 0, .. } | FromPage::Resize { rows: 0, .. } => Ok(()),
            FromPage::Resize { cols, rows } => {
                let size = Size { columns: cols.into(), rows: rows.into(), width: 0, height: 0 };
                self.activity.resized(size.columns, size.rows);
                self.shell.request(Request::WindowChange(size))
            }
            FromPage::Ack { channel, bytes } => {
                if let Some(intake) = self.intake(channel) {
                    intake.taken(bytes);
                }
                Ok(())
            }
            FromPage::OpenFiles => self.open_files(),
            FromPage::CloseFiles => {
                if let Some(files) = &self.files {
                    files.close();
                }
                Ok(())
            }
            FromPage::Ping => {
                self.desk.asked.notify_one();
                Ok(())
            }
        }
    }

    fn open_files(&mut self) -> Result<(), Violation> {
        if self.files.as_ref().is_some_and(|files| !files.is_over()) {
            return Err("bastion: the page has files already");
        }
        if let Some(end) = self.way.open() {
            let (intake, outlet) = flow(Channel::Files, end, FILES_WINDOW);
            self.files = Some(intake);
            // The one before is over, so there is room; where the writer is gone, so is the page.
            let _ = self.opens.try_send(outlet);
        }
        Ok(())
    }

    fn intake(&mut self, channel: Channel) -> Option<&mut Inbound> {
        match channel {
            Channel::Shell => Some(&mut self.shell),
            Channel::Files => self.files.as_mut(),
        }
    }
}

struct Writer<'a> {
    desk: &'a Shared,
    sink: &'a mut SplitSink<WebSocket, Message>,
    shell: Outbound,
    opened: mpsc::Receiver<Outbound>,
    /// The channel for files, and what the bastion has said on it.
    files: Option<(Outbound, String)>,
    news: &'a mut mpsc::Receiver<ClientEvent>,
    gone: &'a CancellationToken,
    whose: &'a [String; 3],
    has_files: bool,
}

impl Writer<'_> {
    /// Writes until the page was told of the end.
    async fn run(&mut self) -> Result<(), axum::Error> {
        let mut pings = interval(KEEPALIVE_EVERY);
        loop {
            tokio::select! {
                // The shell comes before files.
                biased;
                told = self.news.recv() => match told {
                    Some(ClientEvent::Opened(name, id)) => {
                        let [user, target, login] = self.whose;
                        let files = self.has_files;
                        self.say(ToPage::Session { name: &name, id: &id, user, target, login, files }).await?;
                    }
                    Some(ClientEvent::Over(parting)) => {
                        while let Some(step) = self.shell.rest() {
                            self.shell_step(step).await?;
                        }
                        self.sink.send(Message::Text(message::end(&parting))).await?;
                        let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
                        return self.sink.send(Message::Close(Some(close))).await;
                    }
                    None => return Ok(()),
                },
                _ = pings.tick() => self.sink.send(Message::Ping(Bytes::new())).await?,
                () = self.desk.asked.notified() => self.say(ToPage::Pong).await?,
                step = self.shell.next() => self.shell_step(step).await?,
                step = next_of(&mut self.files) => self.files_step(step).await?,
                Some(files) = self.opened.recv() => self.files = Some((files, String::new())),
            }
        }
    }

    async fn shell_step(&mut self, step: Step) -> Result<(), axum::Error> {
        match step {
            Step::Frame(frame) => self.sink.send(Message::Binary(frame)).await,
            Step::Acknowledge(bytes) => self.say(ToPage::Ack { channel: Channel::Shell, bytes }).await,
            Step::Notice(text) => self.say(ToPage::Notice { text: &text }).await,
            Step::Closed => {
                self.gone.cancel();
                Ok(())
            }
        }
    }

    async fn files_step(&mut self, step: Step) -> Result<(), axum::Error> {
        match step {
            Step::Frame(frame) => self.sink.send(Message::Binary(frame)).await,
            Step::Acknowledge(bytes) => self.say(ToPage::Ack { channel: Channel::Files, bytes }).await,
            Step::Notice(text) => {
                if let Some((_, said)) = &mut self.files {
                    *said = text;
                }
                Ok(())
            }
            Step::Closed => {
                let message = self.files.take().map(|(_, said)| said).unwrap_or_default();
                self.say(ToPage::FilesClosed { message: &message }).await
            }
        }
    }

    async fn say(&mut self, what: ToPage<'_>) -> Result<(), axum::Error> {
        self.sink.send(Message::Text(what.frame())).await
    }
}

async fn next_of(files: &mut Option<(Outbound, String)>) -> Step {
    match files {
        Some((outlet, _)) => outlet.next().await,
        None => std::future::pending().await,
    }
}
