//! A certificate authority for users, whose certificates the real `ssh-keygen` makes.

use std::path::{Path, PathBuf};

use crate::process::{Process, command};
use crate::run::{Key, Run, unique};

/// A key that signs certificates.
pub struct Authority {
    pub key: Key,
}

impl Authority {
    /// With an Ed25519 key.
    pub async fn new() -> Self {
        Self { key: Key::make(Run::get().await.dir.join(format!("authority-{}", unique()))) }
    }

    /// A line of `publicKeys`, with these options behind `cert-authority`.
    pub fn line(&self, options: &str) -> String {
        format!("cert-authority{options} {}", self.key.public)
    }

    /// A certificate for the key that all users of the run have, with these arguments of ssh-keygen.
    pub async fn sign(&self, arguments: &[&str]) -> PathBuf {
        self.sign_key(&Run::get().await.user_key.path, arguments).await
    }

    /// A certificate for the key in this file.
    pub async fn sign_key(&self, key: &Path, arguments: &[&str]) -> PathBuf {
        // ssh-keygen puts the certificate beside the public key.
        let copy = Run::get().await.dir.join(format!("signed-{}.pub", unique()));
        std::fs::copy(key.with_added_extension("pub"), &copy).expect("a copy of the public key");
        let mut keygen = command("ssh-keygen");
        keygen.args(["-q", "-I", "test", "-s"]).arg(&self.key.path).args(arguments).arg(&copy);
        Process::succeeds(copy.with_extension("keygen"), keygen).await;
        PathBuf::from(copy.to_string_lossy().replace(".pub", "-cert.pub"))
    }
}
