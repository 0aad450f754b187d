//! What all tests of one run share: a folder, a copy of the program under test, and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use russh::keys::ssh_key::{Algorithm, LineEnding, PrivateKey};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::process::spawn;

/// One run of the tests or of the demo.
pub struct Run {
    /// Removed when this process has ended.
    pub dir: PathBuf,
    /// A copy of the `bastion` program, so that a build meanwhile does not change what is tested.
    pub bastion: PathBuf,
    /// The key of every user that tests make.
    pub user_key: Key,
    /// A key that no user has.
    pub wrong_key: Key,
    /// What the gateway signs in to targets with.
    pub target_key: Key,
    _janitor: Child,
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
        Self { dir, bastion, user_key, wrong_key, target_key, _janitor: janitor }
    }
}

/// A thousand sessions are some thousand sockets, here and in the programs that this process starts.
fn raise_file_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many open files as are allowed");
}

/// Waits for the end of its standard input, whose other end only this process holds, and removes the folder. First it
/// unmounts what a [`crate::small_disk::SmallDisk`] mounted there.
fn remover(dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"cat; umount "$1"/disk-* 2>/dev/null; rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#, "sh"])
        .arg(dir);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

/// Returns the root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns the folder in which the current build of `kubectl-bastion` is.
pub fn plugin_folder() -> &'static Path {
    // Checked once: an edit while the tests run is no reason to fail.
    static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| built("kubectl-bastion"));
    PLUGIN.parent().expect("a folder")
}

/// Returns the program that `BASTION_PROGRAM` names, or the `bastion` that was built beside this program.
fn built_bastion() -> PathBuf {
    std::env::var_os("BASTION_PROGRAM").map_or_else(|| built("bastion"), PathBuf::from)
}

/// Returns a program of the workspace from the folder into which Cargo builds this one.
fn built(name: &str) -> PathBuf {
    let program = build_folder().join(name);
    if let Err(why) = check_current(&program) {
        panic!("{why}: run `cargo build --bins` first, as `make test` does");
    }
    program
}

/// Returns `target/debug`, for `target/debug/demo` as for `target/debug/deps/e2e-0123456789abcdef`.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("a folder above") } else { folder };
    folder.to_owned()
}

/// Checks that a program is there and not older than the sources that Cargo lists in the `.d` file beside it.
fn check_current(program: &Path) -> Result<(), String> {
    let modified = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    let built = modified(program).ok_or_else(|| format!("{} is not built", program.display()))?;
    let dependencies = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources = dependencies.split_once(": ").map_or("", |(_, sources)| sources);
    // Cargo escapes a space within a path.
    let sources = sources.trim().replace("\\ ", "\0");
    let mut sources = sources.split(' ').map(|it| PathBuf::from(it.replace('\0', " ")));
    match sources.find(|source| modified(source) > Some(built)) {
        Some(source) => Err(format!("{} is older than {}", program.display(), source.display())),
        None => Ok(()),
    }
}

/// Returns the path of a program that hack/build-tools builds with this group.
pub async fn built_tool(group: &str, program: &str) -> PathBuf {
    let script = repository().join("hack/build-tools");
    let built = Command::new(script).arg(group).output().await.expect("hack/build-tools runs");
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim()).join(program)
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_program_that_is_missing_or_older_than_a_source_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let [program, old, new] = ["program", "old source", "new source"].map(|name| dir.path().join(name));
        assert!(check_current(&program).is_err_and(|why| why.contains("is not built")));
        let make = |path: &Path, age: u64| {
            let file = File::create(path).expect("a file");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("a time");
        };
        make(&old, 20);
        make(&program, 10);
        make(&new, 0);
        let depends_on = |sources: &[&Path]| {
            let escaped = sources.iter().map(|it| it.display().to_string().replace(' ', "\\ "));
            let line = format!("{}: {}\n", program.display(), escaped.collect::<Vec<_>>().join(" "));
            fs::write(dir.path().join("program.d"), line).expect("a file");
        };
        depends_on(&[&old]);
        assert_eq!(check_current(&program), Ok(()));
        depends_on(&[&old, &new]);
        assert!(check_current(&program).is_err_and(|why| why.contains("is older than") && why.ends_with("new source")));
    }
}
