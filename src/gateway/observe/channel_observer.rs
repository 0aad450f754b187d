//! What passes through one channel, for the recording, the audit log and those who follow the session. The bridge shows it everything before it passes
//! it on.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::audit_log::AuditLog;
use super::broadcast::Broadcast;
use super::sftp::Follower;
use super::traffic::Traffic;
use crate::gateway::bridge::{PtyRequest, Request};
use crate::lifecycle::Exit;
use crate::recording::{Failure, Recorder, SessionRecording, Stream, Terminal};

/// What a user at a terminal reads before anything else.
const RECORDED: &str = "bastion: this session is recorded";
/// The longest name of a kind of terminal that is kept.
const MAX_KIND: usize = 64;

/// What the channels of a session share.
#[derive(Clone, Debug)]
pub struct Observers {
    /// Where it is said what the user does.
    pub audit: Arc<AuditLog>,
    /// Where it is recorded what the user sees.
    pub recording: Arc<SessionRecording>,
    /// Where it is shown, to those who follow the session.
    pub stage: Arc<Broadcast>,
}

/// One channel, observed.
#[derive(Debug)]
pub struct ChannelObserver {
    observers: Observers,
    state: Mutex<State>,
    recorder: OnceLock<Arc<Recorder>>,
    /// The number of the channel's terminal on the stage, where it has one.
    shown: OnceLock<u32>,
    /// Set for an sftp channel.
    sftp: OnceLock<Mutex<Follower>>,
    traffic: Traffic,
}

#[derive(Debug, Default)]
struct State {
    terminal: Option<Terminal>,
    /// What was started, and its command line.
    started: Option<(&'static str, Option<String>)>,
    exit: Exit,
}

impl ChannelObserver {
    /// An observer of a new channel.
    pub fn new(observers: Observers) -> Self {
        Self {
            observers,
            state: Mutex::default(),
            recorder: OnceLock::new(),
            shown: OnceLock::new(),
            sftp: OnceLock::new(),
            traffic: Traffic::default(),
        }
    }

    /// The user asks for something. What comes back is a line that the user is to read.
    ///
    /// # Errors
    /// When it must be recorded and cannot be; then it must not be passed on. The session ends.
    pub async fn request(&self, request: &Request) -> Result<Option<&'static str>, Failure> {
        match request {
            Request::Pty(PtyRequest { term, size, .. }) => {
                let kind = term.chars().take(MAX_KIND).collect();
                self.state().terminal = Some(Terminal { kind, columns: size.columns, rows: size.rows });
                Ok(None)
            }
            Request::WindowChange(size) => {
                if let Some(recorder) = self.recorder.get() {
                    recorder.resized(size.columns, size.rows);
                }
                if let Some(number) = self.shown.get() {
                    self.observers.stage.resized(*number, size.columns, size.rows);
                }
                if let Some(terminal) = &mut self.state().terminal {
                    (terminal.columns, terminal.rows) = (size.columns, size.rows);
                }
                Ok(None)
            }
            Request::Shell => self.start("shell", None).await,
            Request::Exec(command) => self.start("exec", Some(String::from_utf8_lossy(command).into_owned())).await,
            Request::Subsystem(_) => {
                // There are no others than sftp.
                let _ = self.sftp.set(Mutex::default());
                self.start("sftp", None).await
            }
            _ => Ok(None),
        }
    }

    /// A shell is recorded with a terminal or without, a command with one alone: what passes without one may be files of
    /// any size.
    async fn start(&self, what: &'static str, command: Option<String>) -> Result<Option<&'static str>, Failure> {
        let terminal = self.state().terminal.clone();
        let recorded = match (&terminal, what) {
            (_, "sftp") => None,
            (Some(terminal), _) => self.observers.recording.begin(terminal, command.clone()).await?,
            (None, "shell") => self.observers.recording.begin(&no_terminal(), None).await?,
            (None, _) => None,
        };
        self.observers.audit.started(what, command.as_deref(), terminal.is_some(), recorded.is_some());
        if let Some(terminal) = terminal.as_ref().filter(|_| what != "sftp") {
            let _ = self.shown.set(self.observers.stage.open(terminal.columns, terminal.rows));
        }
        self.state().started = Some((what, command));
        let notice = (recorded.is_some() && terminal.is_some()).then_some(RECORDED);
        if let Some(recorder) = recorded {
            let _ = self.recorder.set(recorder);
        }
        Ok(notice)
    }

    /// Bytes for the target.
    pub fn to_target(&self, bytes: &[u8]) {
        self.traffic.sent_to_target(bytes.len());
        self.follow(|follower, told| follower.request(bytes, told));
    }

    /// Bytes for the user. They may be passed on when this returns, and not before.
    pub async fn to_user(&self, stream: Stream, bytes: &[u8]) {
        self.traffic.sent_to_user(bytes.len());
        if let Some(recorder) = self.recorder.get() {
            recorder.output(stream, bytes).await;
        }
        if let Some(number) = self.shown.get() {
            self.observers.stage.output(*number, bytes);
        }
        if stream == Stream::Output {
            self.follow(|follower, told| follower.reply(bytes, told));
        }
    }

    /// What was started has ended.
    pub fn exited(&self, exit: &Exit) {
        exit.clone_into(&mut self.state().exit);
    }

    /// The channel is closed.
    pub fn closed(&self) {
        self.follow(Follower::finish);
        if let Some(number) = self.shown.get() {
            self.observers.stage.closed(*number);
        }
        let State { exit, started, .. } = std::mem::take(&mut *self.state());
        let result = match &exit {
            Exit { signal: Some(signal), .. } => format!("killed by signal {signal}"),
            Exit { code: Some(code), .. } => format!("exit status {code}"),
            Exit { .. } => "closed".to_owned(),
        };
        if let Some(recorder) = self.recorder.get() {
            recorder.end(exit.code, exit.code.is_none().then_some(result.as_str()));
        }
        if let Some((what, command)) = started {
            self.observers.audit.ended(what, command.as_deref(), self.traffic.bytes(), &result);
        }
    }

    fn follow(&self, follow: impl FnOnce(&mut Follower, &mut Vec<super::sftp::Operation>)) {
        let Some(follower) = self.sftp.get() else { return };
        let mut told = Vec::new();
        follow(&mut follower.lock().unwrap_or_else(PoisonError::into_inner), &mut told);
        for operation in &told {
            self.observers.audit.sftp(operation);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a shell without a terminal is shown in.
fn no_terminal() -> Terminal {
    Terminal { kind: "dumb".to_owned(), columns: 80, rows: 24 }
}
