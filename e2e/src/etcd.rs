//! What an administrator does to the etcd of a control plane: compaction, and restoration from a copy. And a second API server
//! on it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Request;
use kube::config::Kubeconfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::control_plane::{ControlPlane, client_of};
use crate::namespace::{ApiRoute, lead_through};
use crate::proc::{command_line, stat, stat_in};
use crate::process::{Process, command, spawn};
use crate::run::unique;
use crate::sshd::free_port;
use crate::wait::{default_timeout, eventually};

/// The etcd of a control plane of the test's own.
pub struct Etcd {
    /// Its program and flags.
    command: Vec<String>,
    data: PathBuf,
    pid: Pid,
    restarted: Option<Child>,
}

/// A copy of all that etcd had at one moment.
pub struct EtcdCopy(PathBuf);

impl Etcd {
    /// Finds the etcd of a control plane.
    pub fn of(control_plane: &ControlPlane) -> Self {
        let pid = pid_in(&control_plane.dir.join("etcd.pid"));
        Self { command: command_line(pid), data: control_plane.dir.join("etcd"), pid, restarted: None }
    }

    /// Where it serves clients.
    pub fn address(&self) -> SocketAddr {
        let url = flag(&self.command, "--listen-client-urls");
        url.trim_start_matches("http://").parse().expect("an address")
    }

    /// Removes all revisions but the present one, as `etcdctl compaction --physical` does.
    pub async fn compact(&self) {
        let put = self.request("kv/put", json!({"key": "Y29tcGFjdGlvbg==", "value": ""})).await;
        let revision = &put["header"]["revision"];
        assert!(revision.is_string(), "{put}");
        self.request("kv/compaction", json!({"revision": revision, "physical": true})).await;
    }

    /// Sends a request to its JSON gateway.
    async fn request(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}/v3/{path}", self.address());
        let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.expect("etcd answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Copies its data at one moment, in which it stands still.
    pub async fn copy(&self) -> EtcdCopy {
        let copy = self.data.with_file_name(format!("etcd-copy-{}", unique()));
        kill(self.pid, Signal::SIGSTOP).expect("etcd runs");
        eventually(default_timeout(), "etcd stands still", async || {
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("its threads").flatten();
            let moving = threads.filter(|thread| stat_in(thread.path()).is_some_and(|stat| stat[0] != "T")).count();
            if moving == 0 { Ok(()) } else { Err(format!("{moving} threads move")) }
        })
        .await;
        copy_folder(&self.data, &copy);
        kill(self.pid, Signal::SIGCONT).expect("etcd runs");
        EtcdCopy(copy)
    }

    /// Replaces its data by a copy. The API server must be stopped, as whenever etcd is restored.
    pub async fn restore(&mut self, copy: &EtcdCopy) {
        kill(self.pid, Signal::SIGKILL).expect("etcd runs");
        eventually(default_timeout(), "etcd has ended", async || {
            let stat = stat(self.pid.as_raw()).filter(|stat| stat[0] != "Z");
            stat.map_or(Ok(()), |stat| Err(format!("{stat:?}")))
        })
        .await;
        fs::remove_dir_all(&self.data).expect("its data");
        copy_folder(&copy.0, &self.data);
        let mut restarted = command(&self.command[0]);
        restarted.args(&self.command[1..]);
        let log = fs::File::options().append(true).open(self.data.with_file_name("etcd.log")).expect("its log");
        restarted.stderr(log);
        let child = spawn(restarted).await;
        self.pid = Pid::from_raw(child.id().expect("it runs").cast_signed());
        self.restarted = Some(child);
    }
}

/// An API server beside the control plane's own, with the same etcd. It ends when it is dropped.
pub struct SecondApiServer {
    address: SocketAddr,
    certificate: String,
    _process: Process,
}

impl SecondApiServer {
    /// Starts one that reaches etcd at this address, and returns once it serves the bastion's objects.
    pub async fn start(control_plane: &ControlPlane, etcd: SocketAddr) -> Self {
        let first = command_line(pid_in(&control_plane.dir.join("apiserver.pid")));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().await));
        let folder = control_plane.dir.join(format!("second-{}", unique()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut server = command(&first[0]);
        server.args(with_flags(
            &first[1..],
            &[
                ("--etcd-servers", &format!("http://{etcd}")),
                ("--secure-port", &address.port().to_string()),
                ("--cert-dir", &folder.display().to_string()),
            ],
        ));
        let process = Process::start(folder.join("apiserver"), server).await;
        let certificate = eventually(default_timeout(), "its certificate", async || {
            let text = fs::read_to_string(folder.join("apiserver.crt")).map_err(|error| error.to_string())?;
            if text.contains("END CERTIFICATE") { Ok(text) } else { Err(text) }
        })
        .await;
        let second = Self { address, certificate, _process: process };
        second.await_service(control_plane.read_kubeconfig()).await;
        second
    }

    async fn await_service(&self, mut kubeconfig: Kubeconfig) {
        lead_through(&mut kubeconfig, self);
        let client = client_of(kubeconfig);
        let request = || Request::get("/apis/bastion.dev/v1alpha1/bastionsessions").body(vec![]).expect("a request");
        eventually(default_timeout() + Duration::from_secs(30), "the second API server serves sessions", async || {
            client.request_text(request()).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

impl ApiRoute for SecondApiServer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn certificate(&self) -> Option<&str> {
        Some(&self.certificate)
    }
}

fn pid_in(file: &Path) -> Pid {
    let pid = fs::read_to_string(file).expect("a file with a process id");
    Pid::from_raw(pid.trim().parse().expect("a process id"))
}

/// Returns the value of a flag that is an argument of its own.
fn flag<'a>(command: &'a [String], name: &str) -> &'a str {
    let at = command.iter().position(|argument| argument == name).unwrap_or_else(|| panic!("{name} in {command:?}"));
    &command[at + 1]
}

/// Returns the arguments with other values of these flags.
fn with_flags(arguments: &[String], flags: &[(&str, &str)]) -> Vec<String> {
    let mut changed = arguments.to_vec();
    for (name, value) in flags {
        let at = changed.iter().position(|argument| argument == name).unwrap_or_else(|| panic!("{name}"));
        (*value).clone_into(&mut changed[at + 1]);
    }
    changed
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target);
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}
