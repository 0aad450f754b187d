//! Everything that the scenarios run in: control plane, target, controller, audit program, gateways, and the samples.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bastion_operator::audit::SessionRecord;
use nix::unistd::Uid;
use serde_json::{Value, json};

use bastion_e2e::control_plane::PERSON;
use bastion_e2e::manifests::{apply, apply_one, in_repository};
use bastion_e2e::namespace::kubectl_path;
use bastion_e2e::objects::merge;
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::run::Run;
use bastion_e2e::sshd::free_port;
use bastion_e2e::{
    Audit, Console, ControlPlane, Controller, Gateway, Namespace, SessionWatch, Setting, Sshd, default_timeout,
    eventually,
};

const NAMESPACE: &str = "bastion-system";

/// One controller, one audit program and two gateways, with alice who may connect to web-1.
pub struct Environment {
    start: Instant,
    pub namespace: Namespace,
    pub watch: SessionWatch,
    pub gateways: [Gateway; 2],
    controller: Controller,
    audit: Audit,
    pub console: Console,
    /// The token of a user who sees, ends and plays sessions, and opens sessions in the page.
    pub token: String,
    /// The folder in which the second gateway records.
    pub recordings: PathBuf,
    sshd: Arc<Sshd>,
}

impl Environment {
    /// Starts everything.
    pub async fn set_up() -> Self {
        let start = Instant::now();
        progress(
            start,
            "starting a Kubernetes control plane; the first time ever, its programs are built, which takes minutes",
        );
        let control_plane = Arc::new(ControlPlane::start().await);
        progress(start, "applying the CRDs, admission policies and rights of deploy/");
        let namespace = Namespace::named(NAMESPACE, control_plane).await;
        progress(start, "starting OpenSSH's sshd as the target web-1");
        let sshd = Sshd::shared().await;
        apply_samples(&namespace, &sshd).await;
        progress(
            start,
            "starting a controller, an audit program, two gateways and a console, each under its own ServiceAccount",
        );
        let controller = Controller::start(&namespace, "bastion-controller-0").await;
        let audit = Audit::start(&namespace, "bastion-audit-0", "10m").await;
        let recordings = namespace.dir.join("recordings");
        std::fs::create_dir(&recordings).expect("a folder");
        let recording_url = format!("file://{}", recordings.display());
        let listen = format!("127.0.0.1:{}", free_port().await);
        let public_url = format!("http://{listen}");
        let flags = ["--grace-period", "0s", "--recording-url", &recording_url, "--public-url", &public_url];
        let gateways = [
            Gateway::start(&namespace, "bastion-gateway-0").await,
            Gateway::start_with(&namespace, "bastion-gateway-1", &flags).await,
        ];
        let terminal = format!("http://{}", gateways[1].web);
        let env =
            vec![("BASTION_TERMINAL_ORIGIN", terminal.into()), ("BASTION_RECORDING_URL", recording_url.clone().into())];
        let setting = Setting { env, ..Setting::default() };
        let console = Console::start_at(&namespace, "bastion-console-0", &listen, &setting).await;
        let token = person(&namespace).await;
        let watch = namespace.watch().await;
        Self { start, namespace, watch, gateways, controller, audit, console, token, recordings, sshd }
    }

    /// Adds a target like web-1, but for this in its spec.
    pub async fn target(&self, name: &str, spec: Value) {
        let mut like = json!({"groups": ["web"], "credentials": sample("target.yaml")["spec"]["credentials"]});
        merge(&mut like, spec);
        self.namespace.target_with(name, &self.sshd, like).await;
    }

    /// What `kubectl get bastionsessions` prints.
    pub async fn sessions(&self) -> String {
        let kubectl = self.namespace.kubectl(&["get", "bastionsessions", "--sort-by=.spec.startTime"]).await;
        kubectl.stdout
    }

    /// Says what comes next.
    pub fn progress(&self, what: &str) {
        progress(self.start, what);
    }

    /// All rows of the audit database, oldest first, once every session that ended is among them.
    pub async fn records(&self) -> Vec<SessionRecord> {
        let mut rows = eventually(default_timeout(), "a row of every session that ended", async || {
            let rows = all_rows(&audit_store(&self.namespace)).await?;
            let on_record = |name: &String| rows.iter().any(|row| row.name == *name && row.end_time.is_some());
            let missing: Vec<_> = self.ended().into_iter().filter(|name| !on_record(name)).collect();
            if missing.is_empty() { Ok(rows) } else { Err(format!("no row says how these ended: {missing:?}")) }
        })
        .await;
        rows.reverse();
        rows
    }

    /// The names of all sessions that have ended.
    fn ended(&self) -> BTreeSet<String> {
        let seen = self.watch.seen();
        seen.into_iter().filter(|it| it.phase.is_final()).map(|it| it.name).collect()
    }

    /// The lines to type in another terminal.
    pub async fn instructions(&self) -> String {
        let kubectl = kubectl_path().await;
        let tools = kubectl.parent().expect("a folder").display();
        let (known_hosts, port) = (self.gateways[1].known_hosts().display(), self.gateways[1].address.port());
        let key = Run::get().await.user_key.path.display();
        let (kubeconfig, login) = (self.namespace.control_plane.kubeconfig(), &self.sshd.login);
        format!(
            "Everything is still up. In another terminal:
{}
  export KUBECONFIG={} PATH=\"$PATH:{tools}\"
  kubectl -n {NAMESPACE} get bastionsessions -o wide --watch

  ssh -p {port} -i {key} -o UserKnownHostsFile={known_hosts} alice+{login}@web-1@127.0.0.1

  kubectl -n {NAMESPACE} patch bastionsession NAME --type merge \\
    -p '{{\"spec\": {{\"termination\": {{\"requestedBy\": \"admin\", \"reason\": \"lunch\"}}}}}}'
  kubectl -n {NAMESPACE} describe bastionsession NAME
  kubectl explain bastionsession.status

In a browser there: http://{} with this token, of a person who sees, ends and plays sessions, and has a shell in the page (Targets, Connect):

  {}

Ctrl-C ends everything and removes it.",
            nsenter_command(),
            kubeconfig.display(),
            self.console.address,
            self.token
        )
    }

    /// The last log lines of the programs.
    pub fn last_words(&self) -> String {
        let gateways = self.gateways.iter().map(|gateway| (gateway.pod.as_str(), &gateway.process));
        let others = [
            ("the controller", &self.controller.process),
            ("the audit program", &self.audit.process),
            ("the console", &self.console.process),
        ];
        let programs = gateways.chain(others);
        let logs: Vec<_> = programs.map(|(name, process)| format!("--- {name}\n{}", process.last_words())).collect();
        logs.join("\n")
    }

    /// Stops everything, and returns when it is gone.
    pub async fn take_down(self) {
        let control_plane = self.namespace.control_plane.clone();
        drop(self);
        control_plane.stop().await;
    }
}

/// The token of a person who sees, ends and plays sessions, and whom the user `you` stands for.
async fn person(namespace: &Namespace) -> String {
    for role in ["bastion-viewer", "bastion-session-terminator", "bastion-observer"] {
        namespace.bind(PERSON, role).await;
    }
    namespace.user_with("you", json!({"subject": PERSON, "groups": ["web-team"]})).await;
    namespace.control_plane.person_token()
}

/// Returns the command by which another terminal enters the network of this run, if the run has its own.
fn nsenter_command() -> String {
    let Some(inside) = std::env::var_os("BASTION_OWN_NETWORK") else { return String::new() };
    let rights = if Uid::effective().is_root() { "" } else { "--user --preserve-credentials " };
    format!("\n  nsenter {rights}--net --target {} bash\n", inside.display())
}

fn progress(start: Instant, what: &str) {
    eprintln!("[{:5.1} s] {what}", start.elapsed().as_secs_f64());
}

/// Applies deploy/samples/, in which what only this machine knows is filled in: the target's address, keys and login.
async fn apply_samples(namespace: &Namespace, sshd: &Sshd) {
    let mut target = sample("target.yaml");
    target["spec"]["address"] = json!("127.0.0.1");
    target["spec"]["port"] = json!(sshd.port);
    target["spec"]["hostKeys"] = json!([sshd.host_key.public]);
    target["spec"]["logins"] = json!([sshd.login]);
    let mut user = sample("user.yaml");
    user["spec"]["publicKeys"] = json!([Run::get().await.user_key.public]);
    let secret = target["spec"]["credentials"]["privateKey"]["name"].as_str().expect("the name of a Secret");
    namespace.credential(secret).await;
    for object in [target, user] {
        apply_one(&namespace.admin(), object).await;
    }
    apply(&namespace.admin(), &in_repository("deploy/samples/connect.yaml")).await;
    namespace.await_connect("bastion:alice", "web-team", "bastiontargetgroups", "web").await;
}

fn sample(name: &str) -> Value {
    serde_saphyr::from_str(&in_repository(&format!("deploy/samples/{name}"))).expect("a sample in valid YAML")
}

/// The limit of the sessions that run into one.
pub const LIMITED: Duration = Duration::from_secs(4);

/// The sessions of a gateway whose container is seen to have ended are shown as ended within this time.
pub const CONTAINER_SEEN: Duration = Duration::from_secs(2);

/// A silent network is found out within this time.
pub const LOST_NETWORK: Duration = Duration::from_secs(30);

/// A revocation is enforced within this time.
pub const REVOKED: Duration = Duration::from_mins(1);

/// What cannot be recorded ends its session within this time.
pub const UNRECORDED: Duration = Duration::from_secs(5);

/// A session without a connection is found out within this time.
pub const STALE: Duration = Duration::from_secs(30);
