//! The audit log: one line for each action of a session's user, under the log target `audit`.

use std::sync::Arc;

use tracing::info;

use super::sftp::Operation;
use crate::gateway::access::Grant;
use kube::ResourceExt;

/// The bytes kept of a command or an address.
const MAX_TEXT: usize = 4096;

/// Writes the audit log of one session.
#[derive(Debug)]
pub struct AuditLog {
    /// The session's name.
    pub session: Arc<str>,
    user: String,
    target: String,
    login: String,
}

/// The fields of a line in addition to the session's. `bytes` counts the bytes to the target, and to the user.
#[derive(Debug, Default)]
struct Line<'a> {
    operation: &'a str,
    who: Option<&'a str>,
    command: Option<&'a str>,
    path: Option<&'a str>,
    to: Option<&'a str>,
    address: Option<String>,
    terminal: Option<bool>,
    recorded: Option<bool>,
    bytes: Option<(u64, u64)>,
    result: &'a str,
}

impl AuditLog {
    /// Returns the audit log of the session with this name.
    pub fn new(session: Arc<str>, grant: &Grant) -> Self {
        let (user, target, login) = (grant.user.name_any(), grant.target.name_any(), grant.login.clone());
        Self { session, user, target, login }
    }

    /// Logs the start of a shell, a command (`exec`) or a subsystem.
    pub fn started(&self, operation: &str, command: Option<&str>, terminal: bool, recorded: bool) {
        let (terminal, recorded) = (Some(terminal), Some(recorded));
        let command = command.map(cut);
        self.write(Line { operation, command, terminal, recorded, result: "started", ..Line::default() });
    }

    /// Logs the end of a shell, a command or a subsystem.
    pub fn ended(&self, operation: &str, command: Option<&str>, bytes: (u64, u64), result: &str) {
        let command = command.map(cut);
        self.write(Line { operation, command, bytes: Some(bytes), result, ..Line::default() });
    }

    /// Logs an SFTP operation.
    pub fn sftp(&self, operation: &Operation) {
        let Operation { name, path, to, read, written, result } = operation;
        let name = format!("sftp_{name}");
        let bytes = (name == "sftp_close").then_some((*written, *read));
        self.write(Line { operation: &name, path: Some(path), to: to.as_deref(), bytes, result, ..Line::default() });
    }

    /// Logs that an observer joined (`started`) or left (`ended`).
    pub fn observed(&self, observer: &str, result: &str) {
        self.write(Line { operation: "followed", who: Some(observer), result, ..Line::default() });
    }

    /// Returns the names of the session, its user, its target and the login there.
    pub fn names(&self) -> [&str; 4] {
        [&self.session, &self.user, &self.target, &self.login]
    }

    /// Logs that a forward or agent connection was opened, refused or closed. `bytes` are present once it is closed;
    /// `result` holds the reason of a refusal.
    pub fn tunnel(&self, operation: &str, host: &str, port: u32, bytes: Option<(u64, u64)>, result: &str) {
        let address = (!host.is_empty()).then(|| format!("{}:{port}", cut(host)));
        self.write(Line { operation, address, bytes, result, ..Line::default() });
    }

    fn write(&self, line: Line<'_>) {
        let Self { session, user, target, login } = self;
        let Line { operation, who, command, path, to, address, terminal, recorded, bytes, result } = line;
        let (bytes_in, bytes_out) = bytes.unzip();
        info!(
            target: "audit", session = &**session, user, target, login, operation, who, command, path, to,
            address, terminal, recorded, bytes_in, bytes_out, result, "audit"
        );
    }
}

/// Cuts a text to [`MAX_TEXT`] bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
