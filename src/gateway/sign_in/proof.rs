//! What somebody has signed in with, which a session rests on for as long as it lasts.

use std::sync::Arc;

use kube::ResourceExt;
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};

use super::certificate;
use super::key_line::{Authority, KeyLine};
use super::presence::Presence;
use crate::api::{BastionUser, Factor};
use crate::gateway::access::AccessError;

/// What somebody signed in with.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A key of the user's own.
    Key(PublicKey),
    /// A certificate.
    Certificate(Arc<Certificate>),
    /// Neither: a password.
    Secrets,
    /// What the cluster said of a page's person: the Kubernetes user name, which the user stands for.
    Cluster(Arc<str>),
}

impl Proof {
    /// What tells one from another.
    pub fn identity(&self) -> String {
        match self {
            Self::Key(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            Self::Certificate(certificate) => {
                let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
                format!("{signer} {}", certificate.valid_principals().join(","))
            }
            Self::Secrets => String::new(),
            Self::Cluster(subject) => format!("cluster {subject}"),
        }
    }

    /// Whether the user has what it rests on still. That the time of a certificate has passed meanwhile does not matter: it
    /// is for signing in.
    ///
    /// # Errors
    /// Why it is not good any more.
    pub fn still_good(&self, user: &BastionUser) -> Result<(), AccessError> {
        match self {
            Self::Key(key) => own_key(user, key).map(|_| ()).ok_or(AccessError::UnknownKey),
            Self::Certificate(certificate) => {
                certificate::authority_of(certificate, &user.name_any(), &authorities(user))?;
                Ok(())
            }
            Self::Secrets if user.spec.authentication.contains(&Factor::Publickey) => Err(AccessError::KeyNeeded),
            Self::Secrets => Ok(()),
            Self::Cluster(subject) if user.subject() == **subject => Ok(()),
            Self::Cluster(_) => Err(AccessError::OtherSubject),
        }
    }
}

/// Whether the user may sign in with certificates.
pub fn takes_certificates(user: &BastionUser) -> bool {
    user.spec.public_keys.iter().any(|line| line.as_str().starts_with("cert-authority"))
}

/// What the first line asks for that has this key, if it is one of the user's own.
pub fn own_key(user: &BastionUser, key: &PublicKey) -> Option<Presence> {
    let own = |line| match line {
        KeyLine::Own(own, presence) => (own.key_data() == key.key_data()).then_some(presence),
        KeyLine::Authority(_) => None,
    };
    user.spec.public_keys.iter().filter_map(|line| KeyLine::parse(line.as_str())).find_map(own)
}

/// The authorities whose certificates the user may sign in with.
pub fn authorities(user: &BastionUser) -> Vec<Authority> {
    let lines = user.spec.public_keys.iter().filter_map(|line| KeyLine::parse(line.as_str()));
    let authority = |line| match line {
        KeyLine::Authority(authority) => Some(authority),
        KeyLine::Own(..) => None,
    };
    lines.filter_map(authority).collect()
}
