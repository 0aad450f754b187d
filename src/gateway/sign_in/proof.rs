//! The proof of identity that a session depends on until it ends.

use std::sync::Arc;

use kube::ResourceExt;
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};

use super::certificate;
use super::key_line::{Authority, KeyLine};
use super::presence::PresenceRequirement;
use super::web_terminal_access::WebTerminalBlocker;
use crate::api::{BastionTarget, BastionUser, Factor};
use crate::gateway::access::AccessError;

/// How a user authenticated.
#[derive(Clone, Debug)]
pub enum Proof {
    /// One of the user's keys.
    Key(PublicKey),
    /// An OpenSSH user certificate.
    Certificate(Arc<Certificate>),
    /// Passwords or one-time codes alone.
    Secrets,
    /// A Kubernetes user name that the API server has authenticated, for the web terminal.
    KubernetesUser(Arc<str>),
}

impl Proof {
    /// Returns a text that is the same for equal proofs. Sessions with the same text are checked together.
    pub fn identity(&self) -> String {
        match self {
            Self::Key(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            Self::Certificate(certificate) => {
                let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
                format!("{signer} {}", certificate.valid_principals().join(","))
            }
            Self::Secrets => String::new(),
            Self::KubernetesUser(subject) => format!("cluster {subject}"),
        }
    }

    /// Checks that the user may still use this proof. Does not check the validity period of a certificate, because a session
    /// may outlast it.
    ///
    /// # Errors
    /// The reason why the user may no longer use this proof.
    pub fn check(&self, user: &BastionUser) -> Result<(), AccessError> {
        match self {
            Self::Key(key) => requirement_for_key(user, key).map(|_| ()).ok_or(AccessError::UnknownKey),
            Self::Certificate(certificate) => {
                certificate::authority_of(certificate, &user.name_any(), &authorities(user))?;
                Ok(())
            }
            Self::Secrets if user.spec.authentication.contains(&Factor::Publickey) => Err(AccessError::KeyRequired),
            Self::Secrets => Ok(()),
            Self::KubernetesUser(subject) if user.subject() == **subject => Ok(()),
            Self::KubernetesUser(_) => Err(AccessError::SubjectChanged),
        }
    }

    /// Returns what keeps the user from a session with this proof on the target; `None` if nothing does. Only web terminals are
    /// kept from targets: over SSH, the restrictions of keys hold.
    pub fn blocker(&self, user: &BastionUser, target: &BastionTarget) -> Option<WebTerminalBlocker> {
        match self {
            Self::KubernetesUser(_) => WebTerminalBlocker::of(user, target),
            Self::Key(_) | Self::Certificate(_) | Self::Secrets => None,
        }
    }
}

/// Returns whether the user may sign in with certificates.
pub fn accepts_certificates(user: &BastionUser) -> bool {
    user.spec.public_keys.iter().any(|line| line.as_str().starts_with("cert-authority"))
}

/// Returns what the user's first line with this key requires, or `None` if no line has the key.
pub fn requirement_for_key(user: &BastionUser, key: &PublicKey) -> Option<PresenceRequirement> {
    let requirement = |line| match line {
        KeyLine::Own(own, presence) => (own.key_data() == key.key_data()).then_some(presence),
        KeyLine::Authority(_) => None,
    };
    user.spec.public_keys.iter().filter_map(|line| KeyLine::parse(line.as_str())).find_map(requirement)
}

/// Returns the authorities whose certificates the user may sign in with.
pub fn authorities(user: &BastionUser) -> Vec<Authority> {
    let lines = user.spec.public_keys.iter().filter_map(|line| KeyLine::parse(line.as_str()));
    let authority = |line| match line {
        KeyLine::Authority(authority) => Some(authority),
        KeyLine::Own(..) => None,
    };
    lines.filter_map(authority).collect()
}
