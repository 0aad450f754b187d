//! The bridge: one channel of the user, joined to one channel on a connection of its own to the target.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::forward::{Forward, connect_failed};
use super::inbox::{Inbox, Item, PtyRequest, Request};
use super::instance::Instance;
use super::target::TargetConnection;
use crate::lifecycle::{Cause, Exit};

/// How long a user's client may take to read the last words of a session.
pub const LAST_WORDS: Duration = Duration::from_secs(1);
/// The exit status of a command that the bastion ended or never started, as `ssh` itself has for its own failures.
pub const NOT_RUN: u32 = 255;
const STDERR: u32 = 1;

/// What a session tells all its channels.
#[derive(Clone, Debug, Default)]
pub enum Announcement {
    /// Nothing yet.
    #[default]
    None,
    /// Something that users at a terminal see; the channel goes on.
    Warning(Arc<str>),
    /// The session is over. With a text, the user's side is there to read it.
    Over(Option<Arc<str>>),
}

/// A channel that the user opens.
pub enum Opened {
    /// For a shell, a command or a subsystem; it is open.
    Session(UserChannel),
    /// A local forward; whether it opens is for the target to say.
    Forward(Box<Forward>),
}

/// The user's side of a channel.
pub struct UserChannel {
    /// Its number.
    pub id: ChannelId,
    /// What comes from the user.
    pub inbox: Arc<Inbox>,
    /// What goes to the user. It waits for the channel's own window, so that a user who reads slowly holds up this
    /// channel and no other.
    pub write: ChannelWriteHalf<Msg>,
    /// For the one message that `write` has no method for.
    pub handle: Handle,
}

/// How a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// Closed by the target after its command, or by the user.
    Closed(Exit),
    /// A forward, closed by either side.
    ForwardClosed,
    /// A forward that the target did not open.
    NotOpened,
    /// Still open when the session ended.
    Interrupted,
    /// The target's connection broke off.
    TargetLost,
}

impl Opened {
    /// The user's side.
    pub fn channel(&self) -> &UserChannel {
        match self {
            Self::Session(channel) => channel,
            Self::Forward(forward) => &forward.channel,
        }
    }

    /// Tells the user why there is no session, and that this channel is none.
    pub async fn refuse(self, notice: &str) {
        match self {
            Self::Session(channel) => refuse(&channel, notice).await,
            Self::Forward(forward) => forward.refuse(connect_failed(notice)).await,
        }
    }
}

/// Joins the two sides until one of them closes the channel or the session ends. The target's connection ends here
/// too, and with it whatever still runs on the target.
pub async fn join(
    user: UserChannel,
    target: TargetConnection,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    mut announcements: watch::Receiver<Announcement>,
    farewells: TaskTracker,
) -> ChannelEnd {
    let bridge = Bridge { user, activity, instance, asked: Mutex::default(), progress: Mutex::default() };
    let end = tokio::select! {
        end = bridge.run(&target) => end,
        text = bridge.heed(&mut announcements) => {
            bridge.last_words(text).await;
            bridge.end_so_far()
        }
    };
    // How long the target takes for it is nothing that the session's end should wait for.
    farewells.spawn(target.disconnect());
    end
}

/// Tells the user why there is no session, and closes the channel.
pub async fn refuse(user: &UserChannel, notice: &str) {
    close(user, Some(notice), NOT_RUN).await;
}

/// Closes the channel with this exit status, and these words where there are any.
pub async fn close(user: &UserChannel, notice: Option<&str>, status: u32) {
    let said = async {
        if let Some(notice) = notice {
            user.write.extended_data_bytes(STDERR, format!("{notice}\r\n").into_bytes()).await?;
        }
        user.write.exit_status(status).await?;
        user.write.eof().await?;
        user.write.close().await
    };
    // A client that does not read, or is gone, need not know.
    let _ = timeout(LAST_WORDS, said).await;
}

/// A request whose answer by the target is outstanding. Targets answer in order (RFC 4254, section 5.4).
#[derive(Clone, Copy, Debug)]
enum Asked {
    Pty,
    Run(&'static str),
}

struct Bridge {
    user: UserChannel,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    asked: Mutex<VecDeque<Asked>>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    exit: Exit,
    stage: Stage,
    terminal: bool,
}

/// How far a channel has come. It is set before the user's client is told, which may leave the moment it hears.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Open,
    Exited,
    TargetLost,
}

impl Bridge {
    async fn run(&self, target: &TargetConnection) -> ChannelEnd {
        let (from_target, to_target) = match target.open_session().await {
            Ok(channel) => channel.split(),
            Err(error) => {
                refuse(&self.user, &format!("bastion: the target opened no channel: {error}")).await;
                return ChannelEnd::TargetLost;
            }
        };
        tokio::select! {
            // The target's last words come before the user's closing of the channel.
            biased;
            end = self.to_user(from_target) => end,
            () = self.to_target(to_target) => match self.end_so_far() {
                // Closed by the user, maybe because of what the user's client was just told.
                ChannelEnd::Interrupted => ChannelEnd::Closed(self.take_exit()),
                end => end,
            },
        }
    }

    /// Passes on what the user sends, until the user closes the channel.
    async fn to_target(&self, target: ChannelWriteHalf<client::Msg>) {
        loop {
            let item = self.user.inbox.next().await;
            // What was typed into a process that was frozen may be typed into a session that has ended.
            self.instance.pulse.sure().await;
            let sent = match item {
                Item::Data(data) => {
                    self.activity.sent_to_target(data.len());
                    target.data_bytes(data).await
                }
                Item::Request(request) => self.request(&target, request).await,
                Item::Eof => target.eof().await,
                Item::Close => return,
            };
            if sent.is_err() {
                // The connection to the target is gone; the other direction finds out how.
                return std::future::pending().await;
            }
        }
    }

    async fn request(&self, target: &ChannelWriteHalf<client::Msg>, request: Request) -> Result<(), russh::Error> {
        match request {
            Request::Pty(PtyRequest { term, size, modes }) => {
                self.progress().terminal = true;
                self.expect(Asked::Pty);
                target.request_pty(true, &term, size.columns, size.rows, size.width, size.height, &modes).await
            }
            Request::Env { name, value } => target.set_env(false, name, value).await,
            Request::Shell => {
                self.expect(Asked::Run("a shell"));
                target.request_shell(true).await
            }
            Request::Exec(command) => {
                self.expect(Asked::Run("the command"));
                target.exec(true, command).await
            }
            Request::Subsystem(name) => {
                self.expect(Asked::Run("the subsystem"));
                target.request_subsystem(true, name).await
            }
            Request::WindowChange(size) => target.window_change(size.columns, size.rows, size.width, size.height).await,
            Request::Signal(signal) => target.signal(signal).await,
            Request::Refused(notice) => {
                refuse(&self.user, notice).await;
                Ok(())
            }
        }
    }

    /// Passes on what the target sends, until the target closes the channel.
    async fn to_user(&self, mut target: ChannelReadHalf) -> ChannelEnd {
        let user = &self.user.write;
        while let Some(message) = target.wait().await {
            let sent = match message {
                ChannelMsg::Data { data } => {
                    self.activity.sent_to_user(data.len());
                    user.data_bytes(data).await
                }
                ChannelMsg::ExtendedData { data, ext } => {
                    self.activity.sent_to_user(data.len());
                    user.extended_data_bytes(ext, data).await
                }
                ChannelMsg::ExitStatus { exit_status } => {
                    self.progress().exit = Exit { code: Some(exit_status), signal: None };
                    user.exit_status(exit_status).await
                }
                ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, lang_tag } => {
                    self.progress().exit = Exit { code: None, signal: Some(signal_text(&signal_name)) };
                    let handle = &self.user.handle;
                    let sent =
                        handle.exit_signal_request(self.user.id, signal_name, core_dumped, error_message, lang_tag);
                    sent.await.map_err(|()| russh::Error::SendError)
                }
                ChannelMsg::Failure => match self.answered() {
                    Some(Asked::Run(what)) => {
                        *self.progress() = Progress {
                            exit: Exit { code: Some(NOT_RUN), signal: None },
                            stage: Stage::Exited,
                            terminal: false,
                        };
                        refuse(&self.user, &format!("bastion: the target refused {what}")).await;
                        return ChannelEnd::Closed(self.take_exit());
                    }
                    Some(Asked::Pty) => self.say("bastion: the target gave no terminal").await,
                    None => Ok(()),
                },
                ChannelMsg::Success => {
                    self.answered();
                    Ok(())
                }
                ChannelMsg::Close => {
                    // The user's client may be gone the moment it reads this, and that is then no broken connection.
                    self.progress().stage = Stage::Exited;
                    let _ = user.eof().await;
                    let _ = user.close().await;
                    return ChannelEnd::Closed(self.take_exit());
                }
                // The end of the output waits for the exit status: a client may close a channel as soon as both sides have
                // ended their output, the library answers that at once, and the status would come too late. The rest
                // is for the opening of channels, or for servers.
                _ => Ok(()),
            };
            if sent.is_err() {
                // The user's connection is gone; the session hears of it.
                return std::future::pending().await;
            }
        }
        self.progress().stage = Stage::TargetLost;
        self.last_words(Cause::TargetClosed.notice().map(Into::into)).await;
        ChannelEnd::TargetLost
    }

    /// Shows warnings to users at a terminal, and returns the last words when the session is over.
    async fn heed(&self, announcements: &mut watch::Receiver<Announcement>) -> Option<Arc<str>> {
        loop {
            let current = announcements.borrow_and_update().clone();
            match current {
                Announcement::Over(text) => return text,
                Announcement::Warning(text) if self.progress().terminal => {
                    let _ = timeout(LAST_WORDS, self.say(&text)).await;
                }
                Announcement::Warning(_) | Announcement::None => {}
            }
            if announcements.changed().await.is_err() {
                return None;
            }
        }
    }

    async fn last_words(&self, text: Option<Arc<str>>) {
        let Some(text) = text else { return };
        let begin = if self.progress().terminal { "\r\n" } else { "" };
        refuse(&self.user, &format!("{begin}{text}")).await;
    }

    async fn say(&self, text: &str) -> Result<(), russh::Error> {
        self.user.write.extended_data_bytes(STDERR, format!("\r\n{text}\r\n").into_bytes()).await
    }

    fn expect(&self, asked: Asked) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(asked);
    }

    fn answered(&self) -> Option<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ended the channel, if the session's end finds it ended.
    fn end_so_far(&self) -> ChannelEnd {
        let stage = self.progress().stage;
        match stage {
            Stage::Open => ChannelEnd::Interrupted,
            Stage::Exited => ChannelEnd::Closed(self.take_exit()),
            Stage::TargetLost => ChannelEnd::TargetLost,
        }
    }

    fn take_exit(&self) -> Exit {
        std::mem::take(&mut self.progress().exit)
    }
}

/// The name of a signal as RFC 4254 has it, without SIG.
fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.chars().take(32).collect(),
        known => format!("{known:?}"),
    }
}
