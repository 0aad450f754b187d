//! The bridge: one channel of the user, joined to one channel on a connection of its own to the target.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use russh::Sig;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::inbox::Item;
use super::local_forward::Forward;
use super::remote_forward::Listening;
use super::request::{FromTarget, FromUser, PtyRequest, Request};
use super::types::{
    Announcement, BREAK, ChannelContext, ChannelEnd, END_OF_WRITE, LAST_WORDS, NOT_RUN, TargetSide, connect_failed,
    over,
};
use super::user_channel::UserChannel;
use crate::gateway::instance::PauseDetector;
use crate::gateway::observe::ChannelObserver;
use crate::gateway::session::Activity;
use crate::gateway::target::TargetConnection;
use crate::lifecycle::{Cause, Exit};
use crate::recording::Stream;

/// What the user's client opens, for which a connection to the target is needed.
pub enum Opened {
    /// A channel for a shell, a command or a subsystem; it is open.
    Session(UserChannel),
    /// Such a channel beside the session's own, whose end says nothing of the session's.
    Companion(UserChannel),
    /// A local forward; whether it opens is for the target to say.
    Forward(Box<Forward>),
    /// Ports for the target to listen on.
    Listening(mpsc::Receiver<Listening>),
}

impl Opened {
    /// Tells the user why there is no session, and that this channel is none.
    pub async fn refuse(self, notice: &str) {
        match self {
            Self::Session(channel) | Self::Companion(channel) => refuse(&channel, notice).await,
            Self::Forward(forward) => forward.refuse(connect_failed(notice)).await,
            // The client, whose wishes go with it, is answered that it cannot be.
            Self::Listening(wishes) => drop(wishes),
        }
    }
}

/// Joins the two sides until the target closes the channel or the session ends. The target's connection ends here too,
/// and with it whatever still runs on the target.
pub async fn join(
    user: UserChannel,
    connection: TargetConnection,
    tap: Arc<ChannelObserver>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { activity, pause_detector, mut announcements, cleanup_tasks } = context;
    let opened = tokio::select! {
        opened = connection.open_session() => opened.map_err(|error| {
            (ChannelEnd::TargetLost, Some(format!("bastion: the target opened no channel: {error}").into()))
        }),
        text = over(&mut announcements) => Err((ChannelEnd::Interrupted, text)),
    };
    let end = match opened {
        Ok(target) => {
            let (asked, progress) = (Mutex::default(), Mutex::default());
            let bridge = Bridge { user, target, tap: tap.clone(), activity, pause_detector, asked, progress };
            tokio::select! {
                // The target's last words come first.
                biased;
                end = bridge.run() => end,
                text = bridge.heed(&mut announcements) => {
                    bridge.last_words(text).await;
                    bridge.end_so_far()
                }
            }
        }
        Err((end, text)) => {
            if let Some(text) = text {
                refuse(&user, &text).await;
            }
            end
        }
    };
    tap.closed();
    // How long the target takes for it is nothing that the session's end should wait for.
    cleanup_tasks.spawn(connection.disconnect());
    end
}

/// Tells the user why there is no session, and closes the channel.
pub async fn refuse(user: &UserChannel, notice: &str) {
    close(user, Some(notice), NOT_RUN).await;
}

/// Closes the channel with this exit status, and these words where there are any.
pub async fn close(user: &UserChannel, notice: Option<&str>, status: u32) {
    say_and_close(user, "", notice, status).await;
}

async fn say_and_close(user: &UserChannel, begin: &str, notice: Option<&str>, status: u32) {
    let closed = async {
        user.exit_status(status).await?;
        user.eof().await?;
        user.close().await
    };
    // A client that does not read, or is gone, need not know why; the channel is closed all the same.
    if let Some(notice) = notice {
        let _ = timeout(LAST_WORDS, user.notice(begin, notice)).await;
    }
    let _ = timeout(LAST_WORDS, closed).await;
}

/// A request whose answer by the target is outstanding. Targets answer in order (RFC 4254, section 5.4).
#[derive(Clone, Copy, Debug)]
enum Asked {
    Pty,
    Run(&'static str),
}

struct Bridge {
    user: UserChannel,
    target: TargetSide,
    tap: Arc<ChannelObserver>,
    activity: Arc<Activity>,
    pause_detector: Arc<PauseDetector>,
    asked: Mutex<VecDeque<Asked>>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    exit: Exit,
    stage: ChannelState,
    terminal: bool,
    closed_by_user: bool,
}

/// How far a channel has come. It is set before the user's client is told, which may leave the moment it hears.
#[derive(Clone, Copy, Debug, Default)]
enum ChannelState {
    #[default]
    Open,
    Exited,
    TargetLost,
}

impl Bridge {
    /// Passes everything on until the target has closed the channel, or the user has asked for what is not allowed.
    async fn run(&self) -> ChannelEnd {
        tokio::select! {
            biased;
            end = self.to_user() => end,
            notice = self.to_target() => {
                // Only now, since nothing that the target says may come behind it.
                refuse(&self.user, notice).await;
                ChannelEnd::Closed(self.take_exit())
            }
            never = self.unread_by_user() => match never {},
            never = self.unread_by_target() => match never {},
        }
    }

    /// Passes on what the user sends, until it is refused; then it returns why. A channel that the user has closed is the target's to close, for the exit status of
    /// what still runs there comes before that.
    async fn to_target(&self) -> &'static str {
        let target = &self.target;
        loop {
            let item = self.user.next().await;
            // What was typed into a process that was frozen may be typed into a session that has ended.
            self.pause_detector.confirmed().await;
            let sent = match item {
                Item::Data(data) => {
                    self.tap.to_target(&data);
                    self.activity.sent_to_target(data.len());
                    target.send(None, data).await
                }
                Item::Extended(stream, data) => {
                    self.activity.sent_to_target(data.len());
                    target.send(Some(stream), data).await
                }
                Item::Said(FromUser::Refused(notice)) => return notice,
                Item::Said(FromUser::Request(request)) => self.request(request).await,
                Item::Said(FromUser::Eof) => target.eof().await,
                Item::Said(FromUser::Close) => {
                    self.progress().closed_by_user = true;
                    target.write.close().await
                }
            };
            if sent.is_err() {
                // The connection to the target is gone; the other direction finds out how.
                return pending().await;
            }
        }
    }

    /// Tells the target when the user's client reads no more (`ssh … 'cat big' | head`).
    async fn unread_by_user(&self) -> Infallible {
        self.user.inbox().unread().await;
        let _ = self.target.write.custom_request(END_OF_WRITE, false, Bytes::new()).await;
        pending().await
    }

    /// Tells the user's client when the program on the target reads no more (`ssh … head < big`).
    async fn unread_by_target(&self) -> Infallible {
        self.target.inbox.unread().await;
        self.user.stop_writing().await;
        pending().await
    }

    async fn request(&self, request: Request) -> Result<(), russh::Error> {
        match self.tap.request(&request).await {
            Ok(None) => {}
            Ok(Some(notice)) => self.note(notice).await?,
            // What must be recorded and cannot be is not done; the session hears of it, and ends.
            Err(_) => return pending().await,
        }
        let target = &self.target.write;
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
            Request::AgentForward => target.agent_forward(false).await,
            Request::Break(length) => target.custom_request(BREAK, false, length).await,
            Request::Notice(text) => self.say(text).await,
        }
    }

    /// Passes on what the target sends, until the target closes the channel.
    async fn to_user(&self) -> ChannelEnd {
        let user = &self.user;
        loop {
            let said = match self.target.next().await {
                Item::Data(data) => {
                    self.tap.to_user(Stream::Output, &data).await;
                    self.activity.sent_to_user(data.len());
                    user.send(None, data).await
                }
                Item::Extended(stream, data) => {
                    self.tap.to_user(Stream::Error, &data).await;
                    self.activity.sent_to_user(data.len());
                    user.send(Some(stream), data).await
                }
                Item::Said(FromTarget::Eof) => user.eof().await,
                Item::Said(FromTarget::ExitStatus(code)) => {
                    self.exited(Exit { code: Some(code), signal: None });
                    user.exit_status(code).await
                }
                Item::Said(FromTarget::ExitSignal { signal, core_dumped, message, language }) => {
                    self.exited(Exit { code: None, signal: Some(signal_text(&signal)) });
                    user.exit_signal(signal, core_dumped, message, language).await
                }
                Item::Said(FromTarget::Success) => {
                    self.answered();
                    Ok(())
                }
                Item::Said(FromTarget::Failure) => match self.answered() {
                    Some(Asked::Run(what)) => return self.not_run(what).await,
                    Some(Asked::Pty) => self.say("bastion: the target gave no terminal").await,
                    None => Ok(()),
                },
                Item::Said(FromTarget::Close) => return self.closed().await,
                Item::Said(FromTarget::Lost) => {
                    self.progress().stage = ChannelState::TargetLost;
                    self.last_words(Cause::TargetClosed.notice().map(Into::into)).await;
                    return ChannelEnd::TargetLost;
                }
            };
            if said.is_err() {
                // The user's connection is gone; the session hears of it.
                return pending().await;
            }
        }
    }

    /// The target has refused to run what the user asked for.
    async fn not_run(&self, what: &str) -> ChannelEnd {
        let exit = Exit { code: Some(NOT_RUN), signal: None };
        *self.progress() = Progress { exit, stage: ChannelState::Exited, ..Progress::default() };
        refuse(&self.user, &format!("bastion: the target refused {what}")).await;
        ChannelEnd::Closed(self.take_exit())
    }

    /// The target has closed the channel.
    async fn closed(&self) -> ChannelEnd {
        // The user's client may be gone the moment it reads this, and that is then no broken connection.
        self.progress().stage = ChannelState::Exited;
        let _ = self.user.close().await;
        ChannelEnd::Closed(self.take_exit())
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
        say_and_close(&self.user, self.line_begin(), Some(&text), NOT_RUN).await;
    }

    fn exited(&self, exit: Exit) {
        self.tap.exited(&exit);
        self.progress().exit = exit;
    }

    /// Says something before there is anything else on the screen.
    async fn note(&self, text: &str) -> Result<(), russh::Error> {
        self.user.notice("", text).await
    }

    async fn say(&self, text: &str) -> Result<(), russh::Error> {
        self.user.notice(self.line_begin(), text).await
    }

    /// What stands before a line that comes among others: on a terminal, an end of whatever line the cursor is in.
    fn line_begin(&self) -> &'static str {
        if self.progress().terminal { "\r\n" } else { "" }
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
        let Progress { stage, closed_by_user, .. } = *self.progress();
        match stage {
            ChannelState::Open if closed_by_user => ChannelEnd::Closed(self.take_exit()),
            ChannelState::Open => ChannelEnd::Interrupted,
            ChannelState::Exited => ChannelEnd::Closed(self.take_exit()),
            ChannelState::TargetLost => ChannelEnd::TargetLost,
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
