//! What all tests of one run share: a folder, a copy of the program under test, and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use russh::keys::ssh_key::{Algorithm, LineEnding, PrivateKey};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use super::process::spawn;

/// One run of the tests or of the demo.
pub struct Run {
    /// Removed when this process has ended.
    pub dir: PathBuf,
    /// A copy of the `bastion` program, so that a build meanwhile does not change what is tested.
    pub bastion: PathBuf,
    /// The key of every user that tests make.
    pub user_key: Key,
    /// A key that nobody accepts.
    pub wrong_key: Key,
    /// What the gateway signs in to targets with.
    pub target_key: Key,
    janitor: Child,
}

impl Run {
    /// The run of this process.
    pub async fn get() -> &'static Self {
        static RUN: OnceCell<Run> = OnceCell::const_new();
        RUN.get_or_init(Self::prepare).await
    }

    async fn prepare() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        raise_file_limit();
        let dir = tempfile::Builder::new().prefix("bastion-e2e.").tempdir().expect("a temporary folder").keep();
        let bastion = dir.join("bastion");
        fs::copy(built_bastion(), &bastion).expect("the bastion program is built");
        let key = |name: &str| Key::make(dir.join(name));
        let (user_key, wrong_key, target_key) = (key("user-key"), key("wrong-key"), key("target-key"));
        let janitor = spawn(remover(&dir)).await;
        Self { dir, bastion, user_key, wrong_key, target_key, janitor }
    }
}

/// A thousand sessions are some thousand sockets, here and in the programs that this process starts.
fn raise_file_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many open files as are allowed");
}

/// Waits for the end of its standard input, whose other end only this process holds, and removes the folder.
fn remover(dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"cat; rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#, "sh"]).arg(dir);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

/// The program that is named, as where it is one of another build; else the one that was built with this.
fn built_bastion() -> PathBuf {
    if let Some(path) = std::env::var_os("BASTION_PROGRAM") {
        return path.into();
    }
    if let Some(path) = option_env!("CARGO_BIN_EXE_bastion") {
        return path.into();
    }
    // Of an example cargo does not say it: target/debug/examples/demo and target/debug/bastion.
    let here = std::env::current_exe().expect("the path of this program");
    here.parent().and_then(Path::parent).expect("a folder above").join("bastion")
}

/// An Ed25519 key pair in a file.
pub struct Key {
    /// The file of the private key.
    pub path: PathBuf,
    /// The public key in one line.
    pub public: String,
}

impl Key {
    /// Makes a key pair in `path` and `path`.pub.
    pub fn make(path: PathBuf) -> Self {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a random key");
        let public = key.public_key().to_openssh().expect("a public key");
        fs::write(path.with_added_extension("pub"), format!("{public}\n")).expect("a key file");
        fs::write(&path, key.to_openssh(LineEnding::LF).expect("a private key")).expect("a key file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a private file");
        Self { path, public }
    }

    /// The private key in OpenSSH's format.
    pub fn private(&self) -> String {
        fs::read_to_string(&self.path).expect("the key file is there")
    }
}

/// A number that no other caller in this process gets.
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
