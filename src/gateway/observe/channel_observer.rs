//! Observes one channel for the recording, the audit log and live observers. The bridge calls it before it passes
//! anything on.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use super::audit_log::AuditLog;
use super::broadcast::Broadcast;
use super::sftp::{Operation, SftpParser};
use super::traffic::Traffic;
use crate::gateway::bridge::{PtyRequest, Request};
use crate::lifecycle::Exit;
use crate::recording::{Recorder, RecordingError, SessionRecording, Stream, Terminal};

/// The first line at a recorded terminal.
const RECORDED_NOTICE: &str = "bastion: this session is recorded";
/// The characters kept of a TERM value.
const MAX_TERM: usize = 64;

/// The observers of a session, which all of its channels share.
#[derive(Clone, Debug)]
pub struct Observers {
    /// Logs what the user does.
    pub audit: Arc<AuditLog>,
    /// Records what the user sees.
    pub recording: Arc<SessionRecording>,
    /// Shows terminals to live observers.
    pub broadcast: Arc<Broadcast>,
}

/// Observes one channel.
#[derive(Debug)]
pub struct ChannelObserver {
    observers: Observers,
    state: Mutex<State>,
    recorder: OnceLock<Arc<Recorder>>,
    /// The number of the channel's terminal in the broadcast, if it has one.
    terminal_number: OnceLock<u32>,
    /// Set for an SFTP channel.
    sftp: OnceLock<Mutex<SftpParser>>,
    traffic: Traffic,
}

#[derive(Debug, Default)]
struct State {
    terminal: Option<Terminal>,
    /// The program that was started, and its command line.
    started: Option<(&'static str, Option<String>)>,
    exit: Exit,
}

impl ChannelObserver {
    /// Returns the observer of a new channel.
    pub fn new(observers: Observers) -> Self {
        Self {
            observers,
            state: Mutex::default(),
            recorder: OnceLock::new(),
            terminal_number: OnceLock::new(),
            sftp: OnceLock::new(),
            traffic: Traffic::default(),
        }
    }

    /// Observes a request of the user. Returns a line to show to the user, if there is one.
    ///
    /// # Errors
    /// The channel must be recorded and cannot be. The bridge must not pass the request on, and the session ends.
    pub async fn request(&self, request: &Request) -> Result<Option<&'static str>, RecordingError> {
        match request {
            Request::Pty(PtyRequest { term, size, .. }) => {
                let term = term.chars().take(MAX_TERM).collect();
                self.state().terminal = Some(Terminal { term, columns: size.columns, rows: size.rows });
                Ok(None)
            }
            Request::WindowChange(size) => {
                if let Some(recorder) = self.recorder.get() {
                    recorder.resized(size.columns, size.rows);
                }
                if let Some(number) = self.terminal_number.get() {
                    self.observers.broadcast.resize(*number, size.columns, size.rows);
                }
                if let Some(terminal) = &mut self.state().terminal {
                    (terminal.columns, terminal.rows) = (size.columns, size.rows);
                }
                Ok(None)
            }
            Request::Shell => self.start("shell", None).await,
            Request::Exec(command) => self.start("exec", Some(String::from_utf8_lossy(command).into_owned())).await,
            Request::Subsystem(_) => {
                // The gateway admits only the sftp subsystem.
                let _ = self.sftp.set(Mutex::default());
                self.start("sftp", None).await
            }
            _ => Ok(None),
        }
    }

    /// Begins the recording of a shell, or of a command with a terminal. A command without one may transfer files of
    /// any size, and is not recorded.
    async fn start(
        &self,
        program: &'static str,
        command: Option<String>,
    ) -> Result<Option<&'static str>, RecordingError> {
        let terminal = self.state().terminal.clone();
        let recorded = match (&terminal, program) {
            (_, "sftp") => None,
            (Some(terminal), _) => self.observers.recording.begin(terminal, command.clone()).await?,
            (None, "shell") => self.observers.recording.begin(&no_terminal(), None).await?,
            (None, _) => None,
        };
        self.observers.audit.started(program, command.as_deref(), terminal.is_some(), recorded.is_some());
        if let Some(terminal) = terminal.as_ref().filter(|_| program != "sftp") {
            let _ = self.terminal_number.set(self.observers.broadcast.open(terminal.columns, terminal.rows));
        }
        self.state().started = Some((program, command));
        let notice = (recorded.is_some() && terminal.is_some()).then_some(RECORDED_NOTICE);
        if let Some(recorder) = recorded {
            let _ = self.recorder.set(recorder);
        }
        Ok(notice)
    }

    /// Observes bytes from the user to the target.
    pub fn to_target(&self, bytes: &[u8]) {
        self.traffic.sent_to_target(bytes.len());
        self.parse_sftp(|parser, operations| parser.request(bytes, operations));
    }

    /// Observes bytes from the target to the user. The bridge passes them on after this returns.
    pub async fn to_user(&self, stream: Stream, bytes: &[u8]) {
        self.traffic.sent_to_user(bytes.len());
        if let Some(recorder) = self.recorder.get() {
            recorder.output(stream, bytes).await;
        }
        if let Some(number) = self.terminal_number.get() {
            self.observers.broadcast.output(*number, bytes);
        }
        if stream == Stream::Output {
            self.parse_sftp(|parser, operations| parser.reply(bytes, operations));
        }
    }

    /// Observes the end of the program.
    pub fn exited(&self, exit: &Exit) {
        exit.clone_into(&mut self.state().exit);
    }

    /// Observes the close of the channel.
    pub fn closed(&self) {
        self.parse_sftp(SftpParser::finish);
        if let Some(number) = self.terminal_number.get() {
            self.observers.broadcast.close(*number);
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
        if let Some((program, command)) = started {
            self.observers.audit.ended(program, command.as_deref(), self.traffic.bytes(), &result);
        }
    }

    fn parse_sftp(&self, parse: impl FnOnce(&mut SftpParser, &mut Vec<Operation>)) {
        let Some(parser) = self.sftp.get() else { return };
        let mut operations = Vec::new();
        parse(&mut parser.lock(), &mut operations);
        for operation in &operations {
            self.observers.audit.sftp(operation);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Returns the terminal in the recording of a shell without one.
fn no_terminal() -> Terminal {
    Terminal { term: "dumb".to_owned(), columns: 80, rows: 24 }
}
