//! Why a target could not be dialled, in words for administrators and in words for users.

use std::io;

use russh::AlgorithmKind;

use super::address::{FailedAttempts, ResolveError, plain};
use super::algorithms;
use super::credential::CredentialError;
use super::host_trust::HostKeyError;
use crate::lifecycle::Cause;

/// The maximum number of a target's algorithms that a message names.
const MAX_NAMES: usize = 12;
/// The longest name of an algorithm that a message contains, in bytes.
const MAX_NAME: usize = 64;

/// Why a target could not be dialled. The text is for the log and `status.message`.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The target's name could not be resolved.
    #[error("the address of target {target:?}, {address}, cannot be resolved: {source}; see spec.address")]
    Resolve { target: String, address: String, source: ResolveError },
    /// 90 % of the gateway's open files are in use.
    #[error(
        "no connection to target {target:?} is made: this gateway has almost as many connections as its limit of open files \
         allows"
    )]
    OpenFiles { target: String },
    /// No TCP connection could be made.
    #[error("target {target:?} cannot be reached {source}")]
    Connect { target: String, source: FailedAttempts },
    /// The handshake and the sign-in took too long.
    #[error(
        "target {target:?} accepted the connection at {address}, but the bastion was not signed in within {seconds} \
         seconds"
    )]
    Timeout { target: String, address: String, seconds: u64 },
    /// The target is not an SSH server.
    #[error("target {target:?} does not speak SSH at {address}: {reason}; see spec.address and spec.port")]
    NotSsh { target: String, address: String, reason: &'static str },
    /// The host key is not pinned, or the host certificate is not valid.
    #[error("the {} of target {target:?} {source}", source.subject())]
    HostKey { target: String, source: HostKeyError },
    /// `spec.hostKeys` has no readable key.
    #[error("spec.hostKeys of target {target:?} has no usable key; ssh-keyscan prints them")]
    NoHostKey { target: String },
    /// The key exchange found no common algorithm.
    #[error("target {target:?} and the bastion have no {kind} in common; it offers {offered}; {remedy}")]
    NoCommonAlgorithm { target: String, kind: &'static str, offered: String, remedy: String },
    /// The target's credential cannot be used.
    #[error("the credentials of target {target:?} cannot be used: {source}")]
    Credentials { target: String, source: CredentialError },
    /// The target refused the credential.
    #[error("target {target:?} refused the bastion's {credential} for login {login:?}{hint}")]
    Login { target: String, login: String, credential: &'static str, hint: String },
    /// The target closed the connection before the keys were exchanged. Another attempt may succeed.
    #[error("the SSH connection to target {target:?} failed: {reason}")]
    Dropped { target: String, reason: String },
    /// The SSH connection failed during the handshake or the sign-in.
    #[error("the SSH connection to target {target:?} failed: {reason}")]
    Ssh { target: String, reason: String },
}

impl DialError {
    /// Returns the text for users, which names no Secrets and no addresses.
    pub fn user_message(&self) -> String {
        let redacted = |text: String| format!("{text}; the bastion's administrators can see why");
        match self {
            Self::Resolve { target, .. } => redacted(format!("the address of target {target:?} cannot be resolved")),
            Self::Connect { target, source } => format!("target {target:?} cannot be reached: {}", source.reasons()),
            Self::Timeout { target, seconds, .. } => {
                format!(
                    "target {target:?} accepted the connection, but the bastion was not signed in within {seconds} seconds"
                )
            }
            Self::NotSsh { target, .. } => redacted(format!("target {target:?} does not speak SSH")),
            Self::HostKey { target, source: HostKeyError::OtherHost { .. } } => {
                redacted(format!("the host certificate of target {target:?} is issued for another host"))
            }
            Self::Credentials { target, .. } => {
                redacted(format!("the credentials of target {target:?} cannot be used"))
            }
            other => other.to_string(),
        }
    }

    /// Returns the cause of the end of a session that never had a connection to its target.
    pub fn end_cause(&self) -> Cause {
        Cause::TargetUnreachable { detail: self.to_string(), user_message: self.user_message() }
    }

    /// Returns the value of the metric's label `reason`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "name",
            Self::OpenFiles { .. } => "open_files",
            Self::Connect { .. } => "address",
            Self::Timeout { .. } => "slow",
            Self::NotSsh { .. } => "no_ssh",
            Self::HostKey { .. } | Self::NoHostKey { .. } => "host_key",
            Self::NoCommonAlgorithm { .. } => "algorithms",
            Self::Credentials { .. } => "credentials",
            Self::Login { .. } => "login",
            Self::Dropped { .. } | Self::Ssh { .. } => "ssh",
        }
    }

    /// Converts an error of russh from the handshake.
    pub fn from_handshake(target: String, address: String, error: &russh::Error) -> Self {
        match error {
            russh::Error::Disconnect | russh::Error::HUP => {
                let reason =
                    "it closed the connection; it limits new connections (MaxStartups), or is not an SSH server";
                Self::Dropped { target, reason: reason.to_owned() }
            }
            // A limit of connections resets those whose first bytes the target has not read.
            russh::Error::IO(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Self::Dropped { target, reason: plain(error) }
            }
            error => Self::from_ssh(target, address, error),
        }
    }

    /// Converts an error of russh from the handshake or the sign-in.
    pub fn from_ssh(target: String, address: String, error: &russh::Error) -> Self {
        match error {
            russh::Error::Version => Self::NotSsh { target, address, reason: "it answers in another protocol" },
            russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. } => {
                let source = HostKeyError::TypeNotPinned { offered: names(theirs), remedy: remedy(theirs) };
                Self::HostKey { target, source }
            }
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                let (kind, offered, remedy) = (kind_text(kind), names(theirs), remedy(theirs));
                Self::NoCommonAlgorithm { target, kind, offered, remedy }
            }
            russh::Error::Disconnect | russh::Error::HUP => {
                Self::Ssh { target, reason: "it closed the connection".to_owned() }
            }
            russh::Error::IO(error) => Self::Ssh { target, reason: plain(error) },
            error => Self::Ssh { target, reason: error.to_string() },
        }
    }
}

const fn kind_text(kind: &AlgorithmKind) -> &'static str {
    match kind {
        AlgorithmKind::Kex => "key exchange method",
        AlgorithmKind::Key => "host key type",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    }
}

/// Returns what an administrator can do about a target that offers only these algorithms.
fn remedy(theirs: &[String]) -> String {
    match algorithms::supported_legacy(theirs).as_slice() {
        [] => "update the target".to_owned(),
        names => format!("update the target, or let its spec.legacyAlgorithms name one of {}", names.join(", ")),
    }
}

/// Lists a target's algorithms. Leaves out names that the protocol forbids, because the target may send any text.
fn names(offered: &[String]) -> String {
    let is_valid = |name: &&String| {
        name.len() <= MAX_NAME && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-@._+".contains(&it))
    };
    let valid: Vec<&str> = offered.iter().filter(is_valid).take(MAX_NAMES).map(String::as_str).collect();
    if valid.is_empty() { "none with a valid name".to_owned() } else { valid.join(", ") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn from_ssh(error: &russh::Error) -> DialError {
        DialError::from_ssh("web-1".to_owned(), "192.0.2.7:22".to_owned(), error)
    }

    fn no_common_algorithm(kind: AlgorithmKind, theirs: &[&str]) -> russh::Error {
        russh::Error::NoCommonAlgo { kind, ours: Vec::new(), theirs: theirs.iter().map(ToString::to_string).collect() }
    }

    #[rstest]
    #[case::not_ssh(
        &russh::Error::Version,
        "target \"web-1\" does not speak SSH at 192.0.2.7:22: it answers in another protocol; see spec.address and spec.port",
        "target \"web-1\" does not speak SSH; the bastion's administrators can see why"
    )]
    #[case::reset(
        &russh::Error::IO(std::io::Error::from_raw_os_error(104)),
        "the SSH connection to target \"web-1\" failed: Connection reset by peer",
        "the SSH connection to target \"web-1\" failed: Connection reset by peer"
    )]
    fn ssh_errors_have_texts(#[case] error: &russh::Error, #[case] text: &str, #[case] user_message: &str) {
        assert_eq!(
            (from_ssh(error).to_string().as_str(), from_ssh(error).user_message().as_str()),
            (text, user_message)
        );
    }

    #[test]
    fn only_valid_algorithm_names_are_listed() {
        let long = "x".repeat(MAX_NAME + 1);
        let error = no_common_algorithm(AlgorithmKind::Cipher, &["aes128-cbc", "\u{1b}[2J", &long, "3des-cbc"]);
        let expected = "target \"web-1\" and the bastion have no cipher in common; it offers aes128-cbc, 3des-cbc; update the \
                    target, or let its spec.legacyAlgorithms name one of aes128-cbc";
        assert_eq!(from_ssh(&error).user_message(), expected);
        let many = vec!["aes128-cbc"; 1000];
        assert!(from_ssh(&no_common_algorithm(AlgorithmKind::Mac, &many)).to_string().len() < 1000);
    }
}
