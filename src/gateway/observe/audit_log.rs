//! The audit log: what a session's user does, one line each, under the log target `audit`.

use std::sync::Arc;

use tracing::info;

use super::sftp::Operation;
use crate::gateway::access::Grant;
use kube::ResourceExt;

/// What is kept of a command or an address.
const MAX_TEXT: usize = 4096;

/// Writes what the user of one session does.
#[derive(Debug)]
pub struct AuditLog {
    /// The session's name.
    pub session: Arc<str>,
    user: String,
    target: String,
    login: String,
}

/// One line. `bytes_in` go from the user to the target.
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
    /// The audit log of the session of this name.
    pub fn new(session: Arc<str>, grant: &Grant) -> Self {
        let (user, target, login) = (grant.user.name_any(), grant.target.name_any(), grant.login.clone());
        Self { session, user, target, login }
    }

    /// A shell, a command (`exec`) or a subsystem is started.
    pub fn started(&self, operation: &str, command: Option<&str>, terminal: bool, recorded: bool) {
        let (terminal, recorded) = (Some(terminal), Some(recorded));
        let command = command.map(beginning);
        self.write(Line { operation, command, terminal, recorded, result: "started", ..Line::default() });
    }

    /// It is over.
    pub fn ended(&self, operation: &str, command: Option<&str>, bytes: (u64, u64), result: &str) {
        let command = command.map(beginning);
        self.write(Line { operation, command, bytes: Some(bytes), result, ..Line::default() });
    }

    /// Something was done over SFTP.
    pub fn sftp(&self, operation: &Operation) {
        let Operation { name, path, to, read, written, result } = operation;
        let name = format!("sftp_{name}");
        let bytes = (name == "sftp_close").then_some((*written, *read));
        self.write(Line { operation: &name, path: Some(path), to: to.as_deref(), bytes, result, ..Line::default() });
    }

    /// Somebody has begun to follow the session, or does so no more.
    pub fn followed(&self, who: &str, result: &str) {
        self.write(Line { operation: "followed", who: Some(who), result, ..Line::default() });
    }

    /// The names of the session, its user and target, and the login on it.
    pub fn about(&self) -> [&str; 4] {
        [&self.session, &self.user, &self.target, &self.login]
    }

    /// A forward, or the way to the user's agent, was opened, refused (then `result` says why) or closed (then there are `bytes`).
    pub fn tunnel(&self, operation: &str, host: &str, port: u32, bytes: Option<(u64, u64)>, result: &str) {
        let address = (!host.is_empty()).then(|| format!("{}:{port}", beginning(host)));
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

/// As much of a text as a line of the log has room for.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
