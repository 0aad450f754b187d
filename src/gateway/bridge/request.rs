//! The messages of a session channel other than data (RFC 4254, sections 5.3 to 6.10).

use bytes::Bytes;
use russh::{Pty, Sig};

/// OpenSSH's channel request by which a side says that it reads no more data. The channel stays open otherwise.
pub const END_OF_WRITE: &str = "eow@openssh.com";
/// SSH_EXTENDED_DATA_STDERR (RFC 4254, section 5.2).
pub const STDERR: u32 = 1;
/// The channel request for a serial break (RFC 4335).
pub const BREAK: &str = "break";

/// A control message of the user's side.
#[derive(Clone, Debug)]
pub enum FromUser {
    /// A channel request that the target may see.
    Request(Request),
    /// A channel request that the target's `spec.allow` refuses. The text is the notice to the user; the channel is
    /// closed.
    Refused(&'static str),
    /// SSH_MSG_CHANNEL_EOF: the user's side sends no more data.
    Eof,
    /// SSH_MSG_CHANNEL_CLOSE.
    Close,
}

/// A control message of the target's side.
#[derive(Clone, Debug)]
pub enum FromTarget {
    /// SSH_MSG_CHANNEL_SUCCESS: the oldest pending request succeeded.
    Success,
    /// SSH_MSG_CHANNEL_FAILURE: the oldest pending request failed.
    Failure,
    /// `exit-status`: the command ended with this exit code (RFC 4254, section 6.10).
    ExitStatus(u32),
    /// `exit-signal`: a signal killed the command (RFC 4254, section 6.10).
    ExitSignal {
        /// The signal's name.
        signal: Sig,
        /// Whether the command dumped core.
        core_dumped: bool,
        /// The target's error message.
        message: String,
        /// The language tag of the message.
        language: String,
    },
    /// SSH_MSG_CHANNEL_EOF: the target's side sends no more data.
    Eof,
    /// SSH_MSG_CHANNEL_CLOSE.
    Close,
    /// The connection to the target ended without SSH_MSG_CHANNEL_CLOSE.
    Lost,
}

impl FromUser {
    /// Returns the messages for what the session's permissions decided: the requests to pass on, or the notice of the
    /// refusal.
    pub fn from_decision(decision: Result<Vec<Request>, &'static str>) -> Vec<Self> {
        decision.map_or_else(
            |notice| vec![Self::Refused(notice)],
            |requests| requests.into_iter().map(Self::Request).collect(),
        )
    }

    /// Returns the message's variable length in bytes, which counts against the inbox's limit.
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
    /// Returns the message's variable length in bytes, which counts against the inbox's limit.
    pub fn size(&self) -> usize {
        match self {
            Self::ExitSignal { message, language, .. } => message.len() + language.len(),
            Self::Success | Self::Failure | Self::ExitStatus(_) | Self::Eof | Self::Close | Self::Lost => 0,
        }
    }
}

/// A channel request of the user.
#[derive(Clone, Debug)]
pub enum Request {
    /// `pty-req`
    Pty(PtyRequest),
    /// `env`
    Env {
        /// The variable's name.
        name: String,
        /// The variable's value.
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
    /// `break` (RFC 4335), with the encoded break length in milliseconds.
    Break(Bytes),
    /// A notice from the gateway to the user, in order with the requests. The target does not see it.
    Notice(&'static str),
}

/// The parameters of `pty-req`.
#[derive(Clone, Debug)]
pub struct PtyRequest {
    /// The value of TERM.
    pub term: String,
    /// The terminal's size.
    pub size: Size,
    /// The encoded terminal modes.
    pub modes: Vec<(Pty, u32)>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The width in characters.
    pub columns: u32,
    /// The height in rows.
    pub rows: u32,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
}
