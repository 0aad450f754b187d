//! The three ways to one target.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::process;
use bastion_e2e::proc::descendants;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{
    Audit, ControlPlane, Controller, Gateway, Namespace, Run, Setting, Sshd, default_timeout, eventually,
};

/// The cipher and the key exchange of every leg: OpenSSH's own first choice of a key exchange would flatter us.
const ALGORITHMS: [&str; 2] = ["Ciphers=aes256-gcm@openssh.com", "KexAlgorithms=curve25519-sha256"];

/// The configuration of both sshds: they accept no other algorithms, log as usual, and accept many connections at once.
const SSHD: &str = "KexAlgorithms curve25519-sha256
Ciphers aes256-gcm@openssh.com
LogLevel INFO
MaxStartups 1000
";

/// The number of our gateway among the ways.
pub const OURS: usize = 0;
/// The number of the OpenSSH bastion.
pub const OPENSSH: usize = 1;
/// The number of the direct way.
pub const DIRECT: usize = 2;

/// Where it is measured. What is stopped first comes first.
pub struct Environment {
    pub ways: [Way; 3],
    pub gateway: Gateway,
    pub bastion: Sshd,
    pub target: Sshd,
    _programs: (Controller, Audit),
    pub namespace: Namespace,
}

/// A way to the target.
pub struct Way {
    address: SocketAddr,
    sign_in_name: String,
    known_hosts: PathBuf,
    key: PathBuf,
    dir: PathBuf,
}

impl Environment {
    pub async fn set_up() -> Self {
        let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
        let target = Sshd::start_with(SSHD).await;
        let bastion = Sshd::start_with(&format!("{SSHD}{}", force_command(&namespace, &target).await)).await;
        namespace.user("alice").await;
        namespace.target_with("web-1", &target, json!({"allow": {"localForward": true}})).await;
        let programs =
            (Controller::start(&namespace, "controller-0").await, Audit::start(&namespace, "audit-0", "10m").await);
        let gateway = gateway(&namespace, "gateway-0").await;
        let ours = way_through(&namespace, &gateway).await;
        let ways = [ours, way(&namespace, &bastion).await, way(&namespace, &target).await];
        Self { ways, gateway, bastion, target, _programs: programs, namespace }
    }

    /// Starts a gateway with this many worker threads. Returns it, and the way through it.
    pub async fn with_workers(&self, workers: usize) -> (Gateway, Way) {
        let env = vec![("TOKIO_WORKER_THREADS", workers.to_string().into())];
        let setting = Setting { env, ..Setting::default() };
        let pod = format!("gateway-{workers}-workers");
        let gateway = Gateway::start_in(&self.namespace, &pod, &["--grace-period", "0s"], &setting).await;
        let way = way_through(&self.namespace, &gateway).await;
        (gateway, way)
    }

    /// Measures each way so many times, in another order each time, so that none of them always comes after the same
    /// other.
    pub async fn interleaved<T>(&self, rounds: usize, measure: impl AsyncFn(usize) -> T) -> [Vec<T>; 3] {
        let mut measured = [(); 3].map(|()| Vec::new());
        for round in 0..rounds {
            for turn in 0..3 {
                let way = (round + turn) % 3;
                measured[way].push(measure(way).await);
                self.settled().await;
            }
        }
        measured
    }

    /// Waits until every connection has ended and its record is written.
    pub async fn settled(&self) {
        eventually(default_timeout(), "all connections have ended", async || {
            let sessions = self.gateway.sessions_active().await;
            let sshds = [&self.bastion, &self.target].map(|it| descendants(it.pid().as_raw()).len());
            if (sessions, sshds) == (0, [0, 0]) {
                Ok(())
            } else {
                Err(format!("{sessions} sessions, {sshds:?} processes"))
            }
        })
        .await;
        // The audit program puts the end on record, and the Events are published.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// The processor time of the bastion on a way until now, in seconds: of our gateway, or of all processes that the
    /// OpenSSH bastion ever had and that have ended.
    pub fn cpu(&self, way: usize) -> Option<f64> {
        match way {
            OURS => Some(process::cpu(self.gateway.process.pid().as_raw())),
            OPENSSH => Some(process::cpu_with_descendants(self.bastion.pid().as_raw())),
            _ => None,
        }
    }
}

impl Way {
    /// An `ssh` command line to the target.
    pub async fn ssh(&self) -> Ssh {
        let ssh = Ssh::new(&self.dir, &self.known_hosts, self.address, &self.sign_in_name).await.key(&self.key);
        ALGORITHMS.into_iter().fold(ssh, Ssh::set)
    }
}

/// Starts a gateway with default settings, but without a grace period.
pub async fn gateway(namespace: &Namespace, pod: &str) -> Gateway {
    Gateway::start_in(namespace, pod, &["--grace-period", "0s"], &Setting::default()).await
}

/// Returns alice's way to the target through a gateway.
async fn way_through(namespace: &Namespace, gateway: &Gateway) -> Way {
    Way {
        address: gateway.address,
        sign_in_name: "alice:web-1".to_owned(),
        known_hosts: gateway.known_hosts().to_owned(),
        key: Run::get().await.user_key.path.clone(),
        dir: namespace.dir.clone(),
    }
}

/// The way to an sshd, in which the key for targets may sign in.
async fn way(namespace: &Namespace, sshd: &Sshd) -> Way {
    Way {
        address: (sshd.address, sshd.port).into(),
        sign_in_name: sshd.login.clone(),
        known_hosts: known_hosts(namespace, sshd),
        key: Run::get().await.target_key.path.clone(),
        dir: namespace.dir.clone(),
    }
}

/// What makes an sshd a bastion: whatever its users ask for, they get on the target.
async fn force_command(namespace: &Namespace, target: &Sshd) -> String {
    let known_hosts = known_hosts(namespace, target);
    let to_target = Ssh::new(&namespace.dir, &known_hosts, (target.address, target.port).into(), &target.login).await;
    let ssh = ALGORITHMS.into_iter().fold(to_target.key(&Run::get().await.target_key.path), Ssh::set);
    let options = ssh.common_options().join(" ");
    let (terminal, command) = ("${SSH_TTY:+-tt}", r#"${SSH_ORIGINAL_COMMAND:+"$SSH_ORIGINAL_COMMAND"}"#);
    format!("ForceCommand exec ssh {options} {terminal} {} {command}\n", target.address)
}

fn known_hosts(namespace: &Namespace, sshd: &Sshd) -> PathBuf {
    let path = namespace.dir.join(format!("known-hosts-of-{}", sshd.port));
    fs::write(&path, format!("* {}\n", sshd.host_key.public)).expect("a file");
    path
}
