//! Relays one `session` channel between a user and a target (RFC 4254, sections 5 and 6).
//!
//! The channels of a session share its SSH connection to the target. The rules of the relay:
//!
//! - Each direction keeps its order. Data, `exit-status`, EOF and CLOSE reach the user as the target sent them.
//! - The target ends the channel. A CLOSE of the user is passed on, and the relay waits for the target's CLOSE, because
//!   the exit status comes before that. Data for a user who sent CLOSE is discarded.
//! - The target's CLOSE reaches the user after all earlier messages of the target. Messages of the user that are still
//!   queued then are discarded.
//! - If the target is lost, or the session ends, the gateway ends the channel itself: with a notice on standard error,
//!   exit status 255, EOF and CLOSE. What the target sent before and the gateway received comes first, if the user
//!   reads it.
//! - A side sends data only within the window of its receiver (RFC 4254, section 5.2); [`Inbox`](super::Inbox) says how
//!   the gateway grants it. Control messages need no window, so the gateway can close a channel that is not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use russh::Sig;
use tokio::sync::watch;
use tokio::time::timeout;

use super::inbox::ChannelMessage;
use super::notice::{SessionNotice, session_ended};
use super::request::{BREAK, END_OF_WRITE, FromTarget, FromUser, PtyRequest, Request};
use super::requested_forwards::RequestedForwards;
use super::side::TargetSide;
use super::types::{ChannelContext, ChannelEnd, EXIT_STATUS_NOT_RUN, USER_CLOSE_TIMEOUT};
use super::user_channel::{MAX_SIGNAL_NAME, UserChannel};
use crate::gateway::instance::PauseDetector;
use crate::gateway::observe::ChannelObserver;
use crate::gateway::session::Activity;
use crate::gateway::target::{OpenError, TargetConnection};
use crate::lifecycle::{Cause, Exit};
use crate::recording::Stream;

/// Opens the target's channel and relays both sides until the target closes it or the session ends.
///
/// # Errors
/// Returns the user's channel and the connection if the target opens no further channel on it.
pub async fn join(
    user: UserChannel,
    connection: Arc<TargetConnection>,
    observer: Arc<ChannelObserver>,
    context: ChannelContext,
) -> Result<ChannelEnd, (UserChannel, Arc<TargetConnection>)> {
    let ChannelContext { activity, pause_detector, requested, mut notices, cleanup_tasks } = context;
    let opened = tokio::select! {
        opened = connection.open_session() => match opened {
            Ok(target) => Ok(target),
            Err(OpenError::NoRoom) => return Err((user, connection)),
            Err(error) => {
                let text = format!("bastion: the target opened no channel: {error}");
                Err((ChannelEnd::TargetLost, Some(text.into())))
            }
        },
        text = session_ended(&mut notices) => Err((ChannelEnd::Interrupted, text)),
    };
    let end = match opened {
        Ok(target) => {
            let bridge = Bridge::new(user, target, observer.clone(), activity, pause_detector, requested);
            let end = bridge.relay(&mut notices).await;
            observer.closed();
            bridge.target.close(&mut notices).await;
            end
        }
        Err((end, text)) => {
            if let Some(text) = text {
                refuse(&user, &text).await;
            }
            observer.closed();
            end
        }
    };
    // The session's end must not wait for a slow target.
    cleanup_tasks.spawn(TargetConnection::release(connection));
    Ok(end)
}

/// Sends a notice to the user, and closes the channel with the exit status of a command that did not run.
pub async fn refuse(user: &UserChannel, notice: &str) {
    close(user, Some(notice), EXIT_STATUS_NOT_RUN).await;
}

/// Sends a notice, if there is one, then the exit status, EOF and CLOSE.
pub async fn close(user: &UserChannel, notice: Option<&str>, exit_status: u32) {
    notify_and_close(user, "", notice, exit_status).await;
}

async fn notify_and_close(user: &UserChannel, prefix: &str, notice: Option<&str>, exit_status: u32) {
    let closed = async {
        user.exit_status(exit_status).await?;
        user.eof().await?;
        user.close().await
    };
    // The notice needs window. A client that grants none misses the notice, and its channel is closed without it.
    if let Some(notice) = notice {
        let _ = timeout(USER_CLOSE_TIMEOUT, user.notice(prefix, notice)).await;
    }
    let _ = timeout(USER_CLOSE_TIMEOUT, closed).await;
}

/// A request that the target has not answered yet. Targets answer in the order of the requests (RFC 4254, section 5.4).
#[derive(Clone, Copy, Debug)]
enum PendingRequest {
    Pty,
    /// A `shell`, `exec` or `subsystem` request, with its name in the notice of a failure.
    Start(&'static str),
}

struct Bridge {
    user: UserChannel,
    target: TargetSide,
    observer: Arc<ChannelObserver>,
    activity: Arc<Activity>,
    pause_detector: Arc<PauseDetector>,
    requested: Arc<RequestedForwards>,
    pending_requests: Mutex<VecDeque<PendingRequest>>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    exit: Exit,
    state: ChannelState,
    has_terminal: bool,
    closed_by_user: bool,
}

/// The state of the channel as the target left it.
///
/// It is set before the user's client is notified: the client may disconnect at once, which ends the session.
#[derive(Clone, Copy, Debug, Default)]
enum ChannelState {
    #[default]
    Open,
    Exited,
    TargetLost,
}

impl Bridge {
    fn new(
        user: UserChannel,
        target: TargetSide,
        observer: Arc<ChannelObserver>,
        activity: Arc<Activity>,
        pause_detector: Arc<PauseDetector>,
        requested: Arc<RequestedForwards>,
    ) -> Self {
        let (pending_requests, progress) = (Mutex::default(), Mutex::default());
        Self { user, target, observer, activity, pause_detector, requested, pending_requests, progress }
    }

    /// Relays both directions until the channel or the session ends.
    async fn relay(&self, notices: &mut watch::Receiver<SessionNotice>) -> ChannelEnd {
        tokio::select! {
            // Messages of the target that have arrived come before the session's final notice.
            biased;
            end = self.run() => end,
            text = self.handle_notices(notices) => {
                self.send_final_notice(text).await;
                self.end_so_far()
            }
        }
    }

    /// Relays both directions until the target has closed the channel, or a request of the user is refused.
    async fn run(&self) -> ChannelEnd {
        tokio::select! {
            biased;
            end = self.relay_to_user() => end,
            notice = self.relay_to_target() => {
                // The other direction has stopped, so nothing from the target can follow the notice.
                refuse(&self.user, notice).await;
                ChannelEnd::Closed(self.take_exit())
            }
            never = self.relay_end_of_write_to_target() => match never {},
            never = self.relay_end_of_write_to_user() => match never {},
        }
    }

    /// Relays the user's messages until a request is refused, and returns the notice for it.
    ///
    /// A CLOSE of the user does not end this: the target must close the channel, because its exit status comes before
    /// that.
    async fn relay_to_target(&self) -> &'static str {
        let target = &self.target;
        loop {
            let message = self.user.next().await;
            // After a pause of this process, the session may have been declared lost. It must not pass on input then.
            self.pause_detector.confirmed().await;
            let sent = match message {
                ChannelMessage::Data(data) => {
                    self.observer.to_target(&data);
                    self.activity.sent_to_target(data.len());
                    target.send(None, data).await
                }
                ChannelMessage::ExtendedData(stream, data) => {
                    self.activity.sent_to_target(data.len());
                    target.send(Some(stream), data).await
                }
                ChannelMessage::Control(FromUser::Refused(notice)) => return notice,
                ChannelMessage::Control(FromUser::Request(request)) => self.relay_request(request).await,
                ChannelMessage::Control(FromUser::Eof) => target.eof().await,
                ChannelMessage::Control(FromUser::Close) => {
                    self.progress().closed_by_user = true;
                    target.write.close().await
                }
            };
            if sent.is_err() {
                // The connection to the target is gone. The other direction receives `FromTarget::Lost`.
                return pending().await;
            }
        }
    }

    /// Sends `eow@openssh.com` to the target when the user's client stops reading, as in `ssh … 'cat big' | head`. Never
    /// returns.
    async fn relay_end_of_write_to_target(&self) -> Infallible {
        self.user.inbox().end_of_write().await;
        let _ = self.target.write.custom_request(END_OF_WRITE, false, Bytes::new()).await;
        pending().await
    }

    /// Sends `eow@openssh.com` to the user's client when the program on the target stops reading, as in
    /// `ssh … head < big`. Never returns.
    async fn relay_end_of_write_to_user(&self) -> Infallible {
        self.target.inbox.end_of_write().await;
        self.user.send_end_of_write().await;
        pending().await
    }

    async fn relay_request(&self, request: Request) -> Result<(), russh::Error> {
        match self.observer.request(&request).await {
            Ok(None) => {}
            // The command has not started, so the notice stands at the beginning of a line.
            Ok(Some(notice)) => self.user.notice("", notice).await?,
            // The recording failed, so the command must not start. The session observes the failure too, and ends.
            Err(_) => return pending().await,
        }
        let target = &self.target.write;
        match request {
            Request::Pty(PtyRequest { term, size, modes }) => {
                self.progress().has_terminal = true;
                self.push_pending(PendingRequest::Pty);
                target.request_pty(true, &term, size.columns, size.rows, size.width, size.height, &modes).await
            }
            Request::Env { name, value } => target.set_env(false, name, value).await,
            Request::Shell => {
                self.push_pending(PendingRequest::Start("a shell"));
                target.request_shell(true).await
            }
            Request::Exec(command) => {
                self.push_pending(PendingRequest::Start("the command"));
                target.exec(true, command).await
            }
            Request::Subsystem(name) => {
                self.push_pending(PendingRequest::Start("the subsystem"));
                target.request_subsystem(true, name).await
            }
            Request::WindowChange(size) => target.window_change(size.columns, size.rows, size.width, size.height).await,
            Request::Signal(signal) => target.signal(signal).await,
            Request::AgentForward => {
                self.requested.agent();
                target.agent_forward(false).await
            }
            Request::Break(length) => target.custom_request(BREAK, false, length).await,
            Request::Notice(text) => self.notify(text).await,
        }
    }

    /// Relays the target's messages until the target closes the channel or its connection is lost.
    async fn relay_to_user(&self) -> ChannelEnd {
        let user = &self.user;
        loop {
            let sent = match self.target.next().await {
                ChannelMessage::Data(data) => {
                    self.observer.to_user(Stream::Output, &data).await;
                    self.activity.sent_to_user(data.len());
                    user.send(None, data).await
                }
                ChannelMessage::ExtendedData(stream, data) => {
                    self.observer.to_user(Stream::Error, &data).await;
                    self.activity.sent_to_user(data.len());
                    user.send(Some(stream), data).await
                }
                ChannelMessage::Control(FromTarget::Eof) => user.eof().await,
                ChannelMessage::Control(FromTarget::ExitStatus(code)) => {
                    self.record_exit(Exit { code: Some(code), signal: None });
                    user.exit_status(code).await
                }
                ChannelMessage::Control(FromTarget::ExitSignal { signal, core_dumped, message, language }) => {
                    self.record_exit(Exit { code: None, signal: Some(signal_name(&signal)) });
                    user.exit_signal(signal, core_dumped, message, language).await
                }
                ChannelMessage::Control(FromTarget::Success) => {
                    self.pop_pending();
                    Ok(())
                }
                ChannelMessage::Control(FromTarget::Failure) => match self.pop_pending() {
                    Some(PendingRequest::Start(what)) => return self.close_not_started(what).await,
                    Some(PendingRequest::Pty) => self.notify("bastion: the target gave no terminal").await,
                    None => Ok(()),
                },
                ChannelMessage::Control(FromTarget::Close) => return self.close_after_target().await,
                ChannelMessage::Control(FromTarget::Lost) => {
                    self.progress().state = ChannelState::TargetLost;
                    self.send_final_notice(Cause::TargetClosed.notice().map(Into::into)).await;
                    return ChannelEnd::TargetLost;
                }
            };
            if sent.is_err() {
                // The user's connection is gone. The session observes that, and ends.
                return pending().await;
            }
        }
    }

    /// Closes the channel because the target refused to start what the user requested.
    async fn close_not_started(&self, what: &str) -> ChannelEnd {
        let exit = Exit { code: Some(EXIT_STATUS_NOT_RUN), signal: None };
        *self.progress() = Progress { exit, state: ChannelState::Exited, ..Progress::default() };
        refuse(&self.user, &format!("bastion: the target refused {what}")).await;
        ChannelEnd::Closed(self.take_exit())
    }

    /// Closes the user's side because the target has closed its own.
    async fn close_after_target(&self) -> ChannelEnd {
        // The client may disconnect as soon as it reads the CLOSE. That is the usual end, and no interruption.
        self.progress().state = ChannelState::Exited;
        let _ = self.user.close().await;
        ChannelEnd::Closed(self.take_exit())
    }

    /// Shows warnings to users at a terminal until the session ends, and returns its final notice.
    async fn handle_notices(&self, notices: &mut watch::Receiver<SessionNotice>) -> Option<Arc<str>> {
        loop {
            let current = notices.borrow_and_update().clone();
            match current {
                SessionNotice::Ended(text) => return text,
                SessionNotice::Warning(text) if self.progress().has_terminal => {
                    let _ = timeout(USER_CLOSE_TIMEOUT, self.notify(&text)).await;
                }
                SessionNotice::Warning(_) | SessionNotice::None => {}
            }
            if notices.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Sends the session's final notice and closes the user's side. Does nothing without a notice: the user is gone
    /// then.
    async fn send_final_notice(&self, text: Option<Arc<str>>) {
        let Some(text) = text else { return };
        notify_and_close(&self.user, self.line_prefix(), Some(&text), EXIT_STATUS_NOT_RUN).await;
    }

    fn record_exit(&self, exit: Exit) {
        self.observer.exited(&exit);
        self.progress().exit = exit;
    }

    /// Sends a notice that may follow output of the target.
    async fn notify(&self, text: &str) -> Result<(), russh::Error> {
        self.user.notice(self.line_prefix(), text).await
    }

    /// Returns the line break that separates a notice from the output on a terminal, where the cursor may be anywhere.
    fn line_prefix(&self) -> &'static str {
        if self.progress().has_terminal { "\r\n" } else { "" }
    }

    fn push_pending(&self, request: PendingRequest) {
        self.pending_requests.lock().push_back(request);
    }

    fn pop_pending(&self) -> Option<PendingRequest> {
        self.pending_requests.lock().pop_front()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// Returns how the channel ended, for a session that ends before the relay has finished.
    fn end_so_far(&self) -> ChannelEnd {
        let Progress { state, closed_by_user, .. } = *self.progress();
        match state {
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

/// Returns the signal's name as in RFC 4254, section 6.10: without SIG.
fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.chars().take(MAX_SIGNAL_NAME).collect(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests;
