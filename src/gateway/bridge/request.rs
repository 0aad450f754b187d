//! What each side of a session channel says besides data (RFC 4254, section 6).

use bytes::Bytes;
use russh::{Pty, Sig};

/// What the user's side says.
#[derive(Clone, Debug)]
pub enum FromUser {
    /// A channel request.
    Request(Request),
    /// A request that the target's `allow` refuses; the user is told so, and the channel is closed.
    Refused(&'static str),
    /// No more bytes will come.
    Eof,
    /// The user's side closed the channel.
    Close,
}

/// What the target's side says.
#[derive(Clone, Debug)]
pub enum FromTarget {
    /// The last request with an answer outstanding succeeded.
    Success,
    /// It failed.
    Failure,
    /// `exit-status`
    ExitStatus(u32),
    /// `exit-signal`
    ExitSignal {
        /// The signal.
        signal: Sig,
        /// Whether there is a core file.
        core_dumped: bool,
        /// What the target says of it.
        message: String,
        /// The language of that.
        language: String,
    },
    /// No more bytes will come.
    Eof,
    /// The target's side closed the channel.
    Close,
    /// The connection to the target has ended.
    Lost,
}

impl FromUser {
    /// What it takes to keep it, in bytes, beyond what all take.
    pub fn size(&self) -> usize {
        let Self::Request(request) = self else { return 0 };
        match request {
            Request::Pty(PtyRequest { term, modes, .. }) => term.len() + modes.len() * size_of::<(Pty, u32)>(),
            Request::Env { name, value } => name.len() + value.len(),
            Request::Exec(command) => command.len(),
            Request::Subsystem(name) | Request::Signal(Sig::Custom(name)) => name.len(),
            Request::Break(length) => length.len(),
            Request::Shell
            | Request::WindowChange(_)
            | Request::Signal(_)
            | Request::AgentForward
            | Request::Notice(_) => 0,
        }
    }
}

impl FromTarget {
    /// What it takes to keep it, in bytes, beyond what all take.
    pub fn size(&self) -> usize {
        match self {
            Self::ExitSignal { message, language, .. } => message.len() + language.len(),
            Self::Success | Self::Failure | Self::ExitStatus(_) | Self::Eof | Self::Close | Self::Lost => 0,
        }
    }
}

/// A channel request that is passed to the target.
#[derive(Clone, Debug)]
pub enum Request {
    /// `pty-req`
    Pty(PtyRequest),
    /// `env`
    Env {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `shell`
    Shell,
    /// `exec`
    Exec(Vec<u8>),
    /// `subsystem`
    Subsystem(String),
    /// `window-change`
    WindowChange(Size),
    /// `signal`
    Signal(Sig),
    /// `auth-agent-req@openssh.com`
    AgentForward,
    /// `break` (RFC 4335), with its length as it came.
    Break(Bytes),
    /// Something that the user is told before anything else; the channel goes on.
    Notice(&'static str),
}

/// A request for a terminal.
#[derive(Clone, Debug)]
pub struct PtyRequest {
    /// The value of TERM.
    pub term: String,
    /// Its size.
    pub size: Size,
    /// Its modes.
    pub modes: Vec<(Pty, u32)>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width in characters.
    pub columns: u32,
    /// Height in rows.
    pub rows: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}
