//! The bastion's programs, each under the rights of its own ServiceAccount.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bastion_operator::audit::{AuditSettings, AuditTls, HistoryFilter, SessionRecord, Store};
use bastion_operator::lifecycle::LOST_AFTER;
use k8s_openapi::api::core::v1::Secret;
use nix::unistd::Uid;
use serde_json::Value;
use tokio::process::Command;

use crate::control_plane::service_account_user;
use crate::http::get;
use crate::metrics::metric;
use crate::namespace::{ApiRoute, Namespace};
use crate::process::{Process, command, with_files};
use crate::run::{Run, unique};
use crate::ssh::Ssh;
use crate::wait::{default_timeout, eventually, note_start};

/// What a program is started in, where that is not the usual.
#[derive(Clone, Default)]
pub struct Setting<'a> {
    /// Another `bastion` than the one under test.
    pub program: Option<&'a Path>,
    /// The way to the API server.
    pub api: Option<&'a dyn ApiRoute>,
    /// Where a gateway listens for SSH.
    pub listen: Option<Ipv4Addr>,
    /// Shell commands by which it first makes itself a place, in a mount namespace of its own.
    pub mounts: Option<String>,
    /// What /etc/hosts says to it, for which it takes root.
    pub hosts: Option<&'a str>,
    /// A program that starts it, with that program's arguments.
    pub starter: Vec<String>,
    /// Environment variables.
    pub env: Vec<(&'a str, OsString)>,
}

/// A running `bastion gateway`.
pub struct Gateway {
    pub process: Process,
    pub pod: String,
    /// Where it listens for SSH.
    pub address: SocketAddr,
    /// Where it serves its metrics and probes.
    pub http: SocketAddr,
    /// Where it serves web terminals.
    pub web: SocketAddr,
    /// The address on which it accepts observers from consoles.
    pub follow: SocketAddr,
    dir: PathBuf,
    known_hosts: PathBuf,
}

impl Gateway {
    /// Starts one as the Pod of this name, and returns once it listens.
    pub async fn start(namespace: &Namespace, pod: &str) -> Self {
        Self::start_with(namespace, pod, &["--grace-period", "0s"]).await
    }

    /// Starts one with these flags more.
    pub async fn start_with(namespace: &Namespace, pod: &str, flags: &[&str]) -> Self {
        Self::start_in(namespace, pod, flags, &Setting::default()).await
    }

    /// Starts one with these flags in a setting of its own.
    pub async fn start_in(namespace: &Namespace, pod: &str, flags: &[&str], setting: &Setting<'_>) -> Self {
        let listen = format!("{}:0", setting.listen.unwrap_or(Ipv4Addr::LOCALHOST));
        let mut arguments = vec!["gateway", "--listen", &listen, "--web-listen", &listen, "--follow-listen", &listen];
        arguments.extend(flags);
        let mut setting = with_cookie_keys(namespace, setting);
        let console = service_account_user(&namespace.name, "bastion-console");
        setting.env.insert(0, ("BASTION_CONSOLE_USER", console.into()));
        // Many tests open hundreds of sessions as one user.
        setting.env.insert(0, ("BASTION_MAX_SESSIONS_PER_USER", "10000".into()));
        let start = Instant::now();
        let mut process = start_program(namespace, "bastion-gateway", pod, &arguments, &setting).await;
        let web =
            process.finds("the address of web terminals", |it| address_in(it, "listening for web terminals")).await;
        let follow = process.finds("the address for observers", |it| address_in(it, "listening for observers")).await;
        let address =
            process.finds("the address it listens on for SSH", |it| address_in(it, "listening for SSH")).await;
        let http = process.finds("the address it serves HTTP on", |it| address_in(it, "serving HTTP")).await;
        note_start(start.elapsed());
        let known_hosts = write_known_hosts(namespace).await;
        Self { process, pod: pod.to_owned(), address, http, web, follow, dir: namespace.dir.clone(), known_hosts }
    }

    /// An `ssh` command line to it.
    pub async fn ssh(&self, sign_in_name: &str) -> Ssh {
        Ssh::new(&self.dir, &self.known_hosts, self.address, sign_in_name).await
    }

    /// How many sessions it says that it carries.
    pub async fn sessions_active(&self) -> usize {
        self.metric("bastion_sessions_active").await
    }

    /// The value of a metric, named with its labels as the page has them; zero when it is not there, as a counter's is before
    /// it counts.
    pub async fn metric(&self, name: &str) -> usize {
        let value = metric(self.http, name).await.unwrap_or_default();
        format!("{value}").parse().expect("a whole number")
    }

    /// The file that knows the gateways' host key.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }
}

/// A running `bastion controller`.
pub struct Controller {
    pub process: Process,
    pub http: SocketAddr,
}

impl Controller {
    /// Starts one as the Pod of this name, and returns once it runs.
    pub async fn start(namespace: &Namespace, pod: &str) -> Self {
        Self::start_in(namespace, pod, &Setting::default()).await
    }

    /// Starts one in a setting of its own.
    pub async fn start_in(namespace: &Namespace, pod: &str, setting: &Setting<'_>) -> Self {
        let start = Instant::now();
        let mut process = start_program(namespace, "bastion-controller", pod, &["controller"], setting).await;
        process.finds("the log line that it runs", |it| line_with(it, "controller is running")).await;
        let http = process.finds("the address it serves HTTP on", |it| address_in(it, "serving HTTP")).await;
        note_start(start.elapsed());
        Self { process, http }
    }

    /// Waits until it is ready, which it is once it has observed for as long as it needs to declare a gateway lost.
    pub async fn is_ready(&self) {
        eventually(default_timeout() + LOST_AFTER, "the controller is ready", async || {
            match get(self.http, "/readyz").await {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

/// A running `bastion audit`.
pub struct Audit {
    pub process: Process,
    pub http: SocketAddr,
    /// Where it serves the history to consoles.
    pub history: SocketAddr,
}

impl Audit {
    /// Starts one as the Pod of this name, and returns once it runs.
    pub async fn start(namespace: &Namespace, pod: &str, retention: &str) -> Self {
        Self::start_in(namespace, pod, retention, &Setting::default()).await
    }

    /// Starts one in a setting of its own.
    pub async fn start_in(namespace: &Namespace, pod: &str, retention: &str, setting: &Setting<'_>) -> Self {
        let arguments = ["audit", "--retention", retention, "--history-listen", "127.0.0.1:0"];
        let mut setting = setting.clone();
        let console = service_account_user(&namespace.name, "bastion-console");
        setting.env.insert(0, ("BASTION_CONSOLE_USER", console.into()));
        setting.env.insert(0, ("BASTION_AUDIT_URL", audit_url(namespace).into()));
        let start = Instant::now();
        let mut process = start_program(namespace, "bastion-audit", pod, &arguments, &setting).await;
        process.finds("the log line that it runs", |it| line_with(it, "audit instance started")).await;
        let http = process.finds("the address it serves HTTP on", |it| address_in(it, "serving HTTP")).await;
        let history = process.finds("the address of the history", |it| address_in(it, "serving the history")).await;
        note_start(start.elapsed());
        Self { process, http, history }
    }
}

/// A running `bastion console`.
pub struct Console {
    pub process: Process,
    /// Where it serves its API.
    pub address: SocketAddr,
    pub http: SocketAddr,
}

impl Console {
    /// Starts one as the Pod `console-0`, and returns once it listens.
    pub async fn start(namespace: &Namespace) -> Self {
        Self::start_in(namespace, "console-0", &Setting::default()).await
    }

    /// Starts one in a setting of its own.
    pub async fn start_in(namespace: &Namespace, pod: &str, setting: &Setting<'_>) -> Self {
        Self::start_at(namespace, pod, "127.0.0.1:0", setting).await
    }

    /// Starts one that serves its API there.
    pub async fn start_at(namespace: &Namespace, pod: &str, listen: &str, setting: &Setting<'_>) -> Self {
        let setting = with_cookie_keys(namespace, setting);
        let arguments = ["console", "--listen", listen];
        let start = Instant::now();
        let mut process = start_program(namespace, "bastion-console", pod, &arguments, &setting).await;
        let address = process.finds("the address of its API", |it| address_in(it, "serving the API")).await;
        let http = process.finds("the address it serves HTTP on", |it| address_in(it, "serving HTTP")).await;
        note_start(start.elapsed());
        Self { process, address, http }
    }
}

/// With the key of a namespace's cookies, which all of its consoles and gateways have.
fn with_cookie_keys<'a>(namespace: &Namespace, setting: &Setting<'a>) -> Setting<'a> {
    let keys = namespace.dir.join("cookie.keys");
    fs::write(&keys, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").expect("a file");
    let mut setting = setting.clone();
    setting.env.insert(0, ("BASTION_COOKIE_KEY_FILE", keys.into()));
    setting
}

/// The audit database of a namespace's audit programs that were told of no other: a file.
pub fn audit_store(namespace: &Namespace) -> Store {
    sqlite_store(audit_url(namespace))
}

/// The SQLite database with this URL.
pub fn sqlite_store(url: String) -> Store {
    let settings = AuditSettings { url, password_file: None, tls: AuditTls::Verify, ca_file: None };
    Store::new(settings).expect("settings")
}

fn audit_url(namespace: &Namespace) -> String {
    format!("sqlite://{}", namespace.dir.join("audit.db").display())
}

/// All rows of an audit database, newest first.
pub async fn all_rows(store: &Store) -> Result<Vec<SessionRecord>, String> {
    store.history(&HistoryFilter::default(), 1_000_000).await.map_err(|error| error.to_string())
}

/// Starts `bastion` with these arguments as a Pod with this ServiceAccount.
pub async fn start_program(
    namespace: &Namespace,
    account: &str,
    pod: &str,
    arguments: &[&str],
    setting: &Setting<'_>,
) -> Process {
    let account = namespace.account_through(account, pod, setting.api).await;
    let mut in_place_of: &[&str] = &[];
    if let Some(hosts) = setting.hosts {
        fs::write(namespace.dir.join("hosts"), hosts).expect("a file");
        in_place_of = &["/etc/hosts"];
    }
    let bastion = setting.program.unwrap_or(&Run::get().await.bastion);
    let mut command = match (&setting.mounts, setting.starter.split_first()) {
        (Some(mounts), _) => with_mounts(mounts, bastion),
        (None, Some((starter, arguments))) => {
            let mut command = command(starter);
            command.args(arguments).arg(bastion);
            command
        }
        (None, None) => with_files(&namespace.dir, in_place_of, bastion),
    };
    command.args(arguments);
    let common = ["--namespace", &namespace.name, "--http-listen", "127.0.0.1:0"];
    command.args(common).env("KUBECONFIG", account.kubeconfig);
    command.env("BASTION_LOG_FORMAT", "json").env("POD_NAME", pod).env("POD_UID", account.pod_uid);
    command.envs(setting.env.iter().cloned());
    Process::start(namespace.dir.join(format!("{pod}-{}", unique())), command).await
}

/// A program that runs in a mount namespace of its own, in which these shell commands have mounted something.
fn with_mounts(mounts: &str, program: &Path) -> Command {
    let mut command = command("unshare");
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["--mount", "sh", "-ec", &format!(r#"{mounts}; exec "$0" "$@""#)]).arg(program);
    command
}

/// The fields of the first log line with this message.
fn line_with(process: &Process, message: &str) -> Option<Value> {
    let fields = |line: &str| serde_json::from_str::<Value>(line).ok().map(|line| line["fields"].clone());
    process.stderr().lines().filter_map(fields).find(|fields| fields["message"] == message)
}

fn address_in(process: &Process, message: &str) -> Option<SocketAddr> {
    match line_with(process, message) {
        Some(fields) => fields["address"].as_str()?.parse().ok(),
        None => address_in_text(process, message),
    }
}

/// The same where the format of log lines is `text`.
fn address_in_text(process: &Process, message: &str) -> Option<SocketAddr> {
    let log = process.stderr();
    let mut words = log.lines().find(|line| line.contains(message))?.split(' ');
    words.find_map(|word| word.strip_prefix("address=")?.parse().ok())
}

/// Writes the host key that all gateways share as the key of every host.
async fn write_known_hosts(namespace: &Namespace) -> PathBuf {
    let secret = namespace.secret("bastion-host-key").await.expect("a gateway makes the Secret before it listens");
    let path = namespace.dir.join(format!("known-hosts-{}", unique()));
    fs::write(&path, format!("* {}\n", public_key_in(&secret).trim())).expect("a file");
    path
}

fn public_key_in(secret: &Secret) -> String {
    let data = secret.data.clone().unwrap_or_default();
    let bytes = data.get("ssh-publickey").unwrap_or_else(|| panic!("no ssh-publickey among {:?}", data.keys()));
    String::from_utf8(bytes.0.clone()).expect("a public key in text")
}
