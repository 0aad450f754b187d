//! A real OpenSSH server as the target: unprivileged, with keys and configuration of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::proc::{descendants, unread_at};
use crate::process::{Process, with_files};
use crate::run::{Key, Run, unique};
use crate::wait::{default_timeout, eventually};

const SSHD: &str = "/usr/sbin/sshd";

/// A running sshd, in which the run's target key may sign in as the user who runs the tests.
pub struct Sshd {
    pub address: Ipv4Addr,
    pub port: u16,
    pub host_key: Key,
    pub login: String,
    process: Process,
}

impl Sshd {
    /// The one that all tests share that do not stop it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<Sshd>> = OnceCell::const_new();
        SHARED.get_or_init(async || Arc::new(Self::start().await)).await.clone()
    }

    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// Starts one at this address.
    pub async fn start_at(address: Ipv4Addr) -> Self {
        Self::configured(address, &[], |_, _| String::new()).await
    }

    /// Starts one with these lines first in its configuration, where the first of a keyword counts.
    pub async fn start_with(lines: &str) -> Self {
        Self::configured(Ipv4Addr::LOCALHOST, &[], |_, _| lines.to_owned()).await
    }

    /// Starts one whose configuration begins with what `prepare` says, which is given its folder and its host key. It sees
    /// the files of that folder that are named like these of the system in their place, for which it takes root.
    pub async fn configured(
        address: Ipv4Addr,
        in_place_of: &[&str],
        prepare: impl FnOnce(&Path, &Key) -> String,
    ) -> Self {
        let run = Run::get().await;
        let dir = run.dir.join(format!("sshd-{}", unique()));
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join("authorized_keys"), &run.target_key.public).expect("a file");
        if Uid::effective().is_root() {
            fs::create_dir_all("/run/sshd").expect("the folder that sshd wants when root starts it");
        }
        let host_key = Key::make(dir.join("host-key"));
        let first_lines = prepare(&dir, &host_key);
        let login = User::from_uid(Uid::effective()).expect("the user database").expect("a user").name;
        loop {
            let port = free_port().await;
            let configuration = format!("{first_lines}\n{}", configuration(dir.display(), address, port));
            if let Some(process) = listening(&dir, &configuration, in_place_of).await {
                return Self { address, port, host_key, login, process };
            }
        }
    }

    /// The process that listens, whose children serve the connections.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Kills the processes of all `connections` while each has unread data in its socket, so that the kernel resets the
    /// connections instead of closing them in order.
    pub async fn kill_with_unread_data(&self, connections: usize) {
        let processes = || descendants(self.pid().as_raw()).into_iter().map(Pid::from_raw);
        processes().for_each(|pid| {
            // A child that served the sign-in may be gone already.
            let _ = kill(pid, Signal::SIGSTOP);
        });
        eventually(default_timeout(), "a keepalive waits in each socket of the target", async || {
            let unread = unread_at(self.port);
            let all = unread.len() == connections && unread.iter().all(|bytes| *bytes > 0);
            if all { Ok(()) } else { Err(format!("{unread:?}")) }
        })
        .await;
        processes().for_each(|pid| {
            // A child of one that was killed may be gone already.
            let _ = kill(pid, Signal::SIGKILL);
        });
    }

    /// Kills the processes that serve connections. The kernel then closes the sockets.
    pub fn close_connections(&self) {
        for pid in descendants(self.pid().as_raw()) {
            // A child of one that was killed may be gone already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Returns how often a client has signed in.
    pub fn sign_ins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        self.process.last_words()
    }
}

/// Starts sshd on this port. Returns `None` if another program has taken the port.
async fn listening(dir: &Path, configuration: &str, in_place_of: &[&str]) -> Option<Process> {
    let config = dir.join("sshd_config");
    fs::write(&config, configuration).expect("a file");
    let mut command = with_files(dir, in_place_of, SSHD);
    command.args(["-D", "-e", "-f"]).arg(&config);
    let process = Process::start(dir.join("sshd"), command).await;
    process.listening(Process::stderr, "Server listening on").await
}

/// Whether an sshd of ours has a terminal to give: one that is not root gives it to the group `tty`, which takes a
/// /dev/pts that does so for it, or the help of hack/own-network.
pub fn gives_terminals() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let to_tty = mounts.lines().any(|mount| mount.contains(" /dev/pts ") && mount.contains("gid=5"));
    Uid::effective().is_root() || std::env::var_os("BASTION_OWN_NETWORK").is_some() || to_tty
}

/// Returns a port on which no program listens.
pub async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Sets another home, so that no user's start-up files run. Keepalives end the connection of a gateway that has
/// vanished, so that nothing is left after the tests.
fn configuration(dir: impl std::fmt::Display, address: Ipv4Addr, port: u16) -> String {
    format!(
        "ListenAddress {address}:{port}
HostKey {dir}/host-key
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
PrintMotd no
PrintLastLog no
SetEnv HOME={dir}
AcceptEnv LANG LC_* BASH_ENV
MaxStartups 500:30:1000
MaxSessions 200
ClientAliveInterval 20
ClientAliveCountMax 3
LogLevel VERBOSE
Subsystem sftp internal-sftp
"
    )
}
