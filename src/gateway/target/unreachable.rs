//! Why there is no connection to a target, in words for those who run the bastion and in words for its users.

use russh::AlgorithmKind;

use super::address::{Tried, plain};
use super::algorithms;
use super::host_trust::HostKeyError;

/// How many of a target's algorithms are named, and how long a name may be: they are the target's own words.
const NAMED: usize = 12;
const LONGEST_NAME: usize = 64;

/// Why there is no connection to a target. The text is for the log and `status.message`.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Its name has no address.
    #[error("the address of target {target:?}, {address}, cannot be resolved: {why}; see spec.address")]
    Unresolved { target: String, address: String, why: String },
    /// No TCP connection.
    #[error("target {target:?} cannot be reached {tried}")]
    Connect { target: String, tried: Tried },
    /// Signing in took too long.
    #[error(
        "target {target:?} took the connection at {address}, but the bastion was not signed in within {seconds} seconds"
    )]
    Slow { target: String, address: String, seconds: u64 },
    /// Something else than an SSH server.
    #[error("target {target:?} does not speak SSH at {address}: {why}; see spec.address and spec.port")]
    NoSsh { target: String, address: String, why: &'static str },
    /// Another host key than the pinned ones, or a certificate that is not good.
    #[error("the {} of target {target:?} {host_key_error}", host_key_error.subject())]
    Host { target: String, host_key_error: HostKeyError },
    /// None of the pinned host keys can be read.
    #[error("spec.hostKeys of target {target:?} has no usable key; ssh-keyscan prints them")]
    NoHostKey { target: String },
    /// Nothing that both sides speak.
    #[error("target {target:?} and the bastion have no {kind} in common; it offers {offered}; {way_out}")]
    NothingInCommon { target: String, kind: &'static str, offered: String, way_out: String },
    /// The Secret cannot be used.
    #[error("the credentials of target {target:?} cannot be used: {why}")]
    Credentials { target: String, why: String },
    /// The target does not take the credential.
    #[error("target {target:?} refused the bastion's {credential} for login {login:?}{hint}")]
    Login { target: String, login: String, credential: &'static str, hint: String },
    /// The SSH conversation broke down.
    #[error("the SSH connection to target {target:?} failed: {why}")]
    Ssh { target: String, why: String },
}

impl Unreachable {
    /// What the user is told, who has no business with the names of Secrets and with addresses.
    pub fn told(&self) -> String {
        let silent = |what: String| format!("{what}; whoever runs the bastion can see why");
        match self {
            Self::Unresolved { target, .. } => silent(format!("the address of target {target:?} cannot be resolved")),
            Self::Connect { target, tried } => format!("target {target:?} cannot be reached: {}", tried.reasons()),
            Self::Slow { target, seconds, .. } => {
                format!("target {target:?} took the connection, but was not signed in to within {seconds} seconds")
            }
            Self::NoSsh { target, .. } => silent(format!("target {target:?} does not speak SSH")),
            Self::Host { target, host_key_error: HostKeyError::OtherHost { .. } } => {
                silent(format!("the host certificate of target {target:?} is made out to another host"))
            }
            Self::Credentials { target, .. } => silent(format!("the credentials of target {target:?} cannot be used")),
            other => other.to_string(),
        }
    }

    /// A bounded word for the metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "name",
            Self::Connect { .. } => "address",
            Self::Slow { .. } => "slow",
            Self::NoSsh { .. } => "no_ssh",
            Self::Host { .. } | Self::NoHostKey { .. } => "host_key",
            Self::NothingInCommon { .. } => "algorithms",
            Self::Credentials { .. } => "credentials",
            Self::Login { .. } => "login",
            Self::Ssh { .. } => "ssh",
        }
    }

    /// What the library says when the conversation with a target breaks down before the bastion is signed in.
    pub fn broken(target: String, address: String, error: &russh::Error) -> Self {
        match error {
            russh::Error::Version => Self::NoSsh { target, address, why: "it answers with something else" },
            russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. } => {
                let host_key_error = HostKeyError::NoSuchKind { offered: named(theirs), way_out: way_out(theirs) };
                Self::Host { target, host_key_error }
            }
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                Self::NothingInCommon { target, kind: kind_of(kind), offered: named(theirs), way_out: way_out(theirs) }
            }
            russh::Error::Disconnect | russh::Error::HUP => {
                let why = "it closed the connection; it turns new ones away (MaxStartups), or is no SSH server";
                Self::Ssh { target, why: why.to_owned() }
            }
            russh::Error::IO(error) => Self::Ssh { target, why: plain(error) },
            error => Self::Ssh { target, why: error.to_string() },
        }
    }
}

const fn kind_of(kind: &AlgorithmKind) -> &'static str {
    match kind {
        AlgorithmKind::Kex => "key exchange method",
        AlgorithmKind::Key => "host key type",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    }
}

/// What whoever runs the bastion can do for a target that has only these algorithms.
fn way_out(theirs: &[String]) -> String {
    match algorithms::would_help(theirs).as_slice() {
        [] => "update the target".to_owned(),
        names => format!("update the target, or let its spec.legacyAlgorithms name one of {}", names.join(", ")),
    }
}

/// Names of algorithms as a target has them, which may send anything.
fn named(names: &[String]) -> String {
    let plain = |name: &&String| {
        name.len() <= LONGEST_NAME && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-@._+".contains(&it))
    };
    let known: Vec<&str> = names.iter().filter(plain).take(NAMED).map(String::as_str).collect();
    if known.is_empty() { "none that has a name".to_owned() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn broken(error: &russh::Error) -> Unreachable {
        Unreachable::broken("web-1".to_owned(), "192.0.2.7:22".to_owned(), error)
    }

    fn nothing_in_common(kind: AlgorithmKind, theirs: &[&str]) -> russh::Error {
        russh::Error::NoCommonAlgo { kind, ours: Vec::new(), theirs: theirs.iter().map(ToString::to_string).collect() }
    }

    #[rstest]
    #[case::no_ssh(
        &russh::Error::Version,
        "target \"web-1\" does not speak SSH at 192.0.2.7:22: it answers with something else; see spec.address and spec.port",
        "target \"web-1\" does not speak SSH; whoever runs the bastion can see why"
    )]
    #[case::reset(
        &russh::Error::IO(std::io::Error::from_raw_os_error(104)),
        "the SSH connection to target \"web-1\" failed: Connection reset by peer",
        "the SSH connection to target \"web-1\" failed: Connection reset by peer"
    )]
    fn what_breaks_is_told_in_words(#[case] error: &russh::Error, #[case] text: &str, #[case] told: &str) {
        assert_eq!((broken(error).to_string().as_str(), broken(error).told().as_str()), (text, told));
    }

    #[test]
    fn algorithms_are_named_but_not_whatever_a_target_sends() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let error = nothing_in_common(AlgorithmKind::Cipher, &["aes128-cbc", "\u{1b}[2J", &long, "3des-cbc"]);
        let told = "target \"web-1\" and the bastion have no cipher in common; it offers aes128-cbc, 3des-cbc; update the \
                    target, or let its spec.legacyAlgorithms name one of aes128-cbc";
        assert_eq!(broken(&error).told(), told);
        let many = vec!["aes128-cbc"; 1000];
        assert!(broken(&nothing_in_common(AlgorithmKind::Mac, &many)).to_string().len() < 1000);
    }
}
