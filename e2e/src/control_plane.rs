//! A Kubernetes control plane of this run's own, with the bastion's CRDs and admission policies in it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use axum::http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell};

use crate::manifests::{api_of, apply, in_repository};
use crate::process::spawn;
use crate::run::{Run, repository};
use crate::wait::{default_timeout, eventually};

/// A Kubernetes user with a token: no ServiceAccount, no group, and only the rights of every user.
pub const PERSON: &str = "person@example.com";

/// Ends, and is removed, when it is dropped or this process ends.
pub struct ControlPlane {
    pub dir: PathBuf,
    /// `None` for an existing cluster, which the run does not stop.
    script: Option<Mutex<Child>>,
}

impl ControlPlane {
    /// The one that all tests share that do not stop it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<ControlPlane>> = OnceCell::const_new();
        SHARED.get_or_init(async || Arc::new(Self::start().await)).await.clone()
    }

    /// Returns the control plane of the tests that need objects which the schemas refuse, as an older or a newer version may
    /// have accepted them. Its schemas have no CEL rules, enums, formats and maximum lengths.
    pub async fn lax() -> Arc<Self> {
        static LAX: OnceCell<Arc<ControlPlane>> = OnceCell::const_new();
        LAX.get_or_init(async || Arc::new(Self::start_lax().await)).await.clone()
    }

    /// Starts a control plane with such schemas.
    pub async fn start_lax() -> Self {
        Self::start_with(&lax_crds()).await
    }

    /// Starts one, and builds its programs first where they are missing.
    pub async fn start() -> Self {
        Self::start_with(&in_repository("crds/bastion.dev.yaml")).await
    }

    async fn start_with(crds: &str) -> Self {
        Run::get().await;
        let dir = tempfile::Builder::new().prefix("bastion-e2e-api.").tempdir().expect("a temporary folder").keep();
        let mut script = spawn(control_plane_command(&dir)).await;
        let mut lines = BufReader::new(script.stdout.take().expect("a pipe")).lines();
        let first = lines.next_line().await.expect("the script's output can be read");
        assert_eq!(first.as_deref(), Some("ready"), "hack/control-plane says above why it did not start");
        let control_plane = Self { dir, script: Some(Mutex::new(script)) };
        control_plane.install(crds).await;
        control_plane.await_policies().await;
        control_plane
    }

    /// Uses a running cluster, whose kubeconfig is in this folder.
    pub const fn of_cluster(dir: PathBuf) -> Self {
        Self { dir, script: None }
    }

    /// Applies the CRDs and policies, and waits until the CRDs are served.
    async fn install(&self, crds: &str) {
        let admin = self.admin();
        apply(&admin, crds).await;
        apply(&admin, &in_repository("deploy/policies.yaml")).await;
        let crds: Api<CustomResourceDefinition> = Api::all(admin);
        for name in ["bastionsessions", "bastiontargets", "bastionusers"] {
            let name = format!("{name}.bastion.dev");
            eventually(default_timeout(), &format!("{name} is served"), async || {
                let crd = crds.get(&name).await.map_err(|error| error.to_string())?;
                let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
                let established = conditions.iter().any(|it| it.type_ == "Established" && it.status == "True");
                established.then_some(()).ok_or_else(|| format!("{conditions:?}"))
            })
            .await;
        }
    }

    /// Waits until each policy is in force, which is some time after it was applied.
    async fn await_policies(&self) {
        apply(&self.admin(), PROBE_RIGHTS).await;
        let namespace = "policy-probe";
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        for (who, object, message) in forbidden_objects(namespace) {
            let who =
                if who == "gateway" { service_account_user(namespace, "bastion-gateway") } else { who.to_owned() };
            let (api, _) = api_of(&self.impersonate(&who, &["system:authenticated"]), &object);
            let object = serde_json::from_value(object).expect("an object");
            eventually(default_timeout(), &format!("the policy {message:?} is in force"), async || {
                let answer = api.create(&dry_run, &object).await.map(|_| "it was let through".to_owned());
                let seen = answer.unwrap_or_else(|error| error.to_string());
                if seen.contains(message) { Ok(()) } else { Err(seen) }
            })
            .await;
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Returns the administrator's kubeconfig.
    pub fn read_kubeconfig(&self) -> Kubeconfig {
        Kubeconfig::read_from(self.kubeconfig()).expect("the control plane's kubeconfig")
    }

    /// A client with every right, for what a cluster's administrator does.
    pub fn admin(&self) -> Client {
        client_of(self.read_kubeconfig())
    }

    /// The same, without the library's own retries, which would blind a watch for long after a stop of the API server.
    pub fn admin_without_retries(&self) -> Client {
        let mut config = config_of(self.read_kubeconfig());
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Returns a client that impersonates `user`.
    pub fn impersonate(&self, user: &str, groups: &[&str]) -> Client {
        client_of(self.kubeconfig_as(user, groups))
    }

    /// Returns a kubeconfig that impersonates `user`.
    pub fn kubeconfig_as(&self, user: &str, groups: &[&str]) -> Kubeconfig {
        let mut kubeconfig = self.read_kubeconfig();
        let auth = kubeconfig.auth_infos[0].auth_info.as_mut().expect("the administrator's token");
        auth.impersonate = Some(user.to_owned());
        auth.impersonate_groups = Some(groups.iter().map(ToString::to_string).collect());
        kubeconfig
    }

    /// A kubeconfig for this control plane with another token.
    pub fn kubeconfig_with(&self, token: &str) -> Kubeconfig {
        let mut kubeconfig = self.read_kubeconfig();
        let auth = kubeconfig.auth_infos[0].auth_info.as_mut().expect("the administrator's token");
        auth.token = Some(token.to_owned().into());
        kubeconfig
    }

    /// The token of [`PERSON`].
    pub fn person_token(&self) -> String {
        self.token_of("person")
    }

    /// The token of the user `admin`, who is in the group `system:masters`.
    pub fn admin_token(&self) -> String {
        self.token_of("admin")
    }

    fn token_of(&self, name: &str) -> String {
        let kubeconfig = self.read_kubeconfig();
        let users = serde_json::to_value(kubeconfig.auth_infos).expect("users");
        let user = users.as_array().expect("a list").iter().find(|it| it["name"] == name).expect("the user");
        user["user"]["token"].as_str().expect("a token").to_owned()
    }

    /// Where the API server listens.
    pub fn api_address(&self) -> SocketAddr {
        let kubeconfig = self.read_kubeconfig();
        let server = kubeconfig.clusters[0].cluster.as_ref().and_then(|it| it.server.as_deref()).unwrap_or_default();
        server.trim_start_matches("https://").parse().expect("an address")
    }

    /// Stops everything, and waits until it has stopped and its folder is removed.
    pub async fn stop(&self) {
        let mut script = self.script.as_ref().expect("a control plane of our own").lock().await;
        script.stdin = None;
        script.wait().await.expect("the script ends");
    }

    /// Kills the API server, and keeps it from coming back.
    pub fn stop_api(&self) {
        fs::write(self.dir.join("hold"), "").expect("the hold file");
        let pid = fs::read_to_string(self.dir.join("apiserver.pid")).expect("the API server's process id");
        kill(Pid::from_raw(pid.trim().parse().expect("a process id")), Signal::SIGKILL).expect("the API server ran");
    }

    /// Starts the API server again with these flags more, separated by spaces.
    pub async fn restart_api_with(&self, flags: &str) {
        fs::write(self.dir.join("apiserver.flags"), flags).expect("a file");
        self.stop_api();
        self.start_api().await;
    }

    /// Lets the API server come back, and waits for it.
    pub async fn start_api(&self) {
        fs::remove_file(self.dir.join("hold")).expect("the hold file");
        let request = || Request::get("/readyz").body(vec![]).expect("a request");
        eventually(default_timeout() * 4, "the API server is ready again", async || {
            self.admin().request_text(request()).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Returns the user name of a ServiceAccount.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// A client from a kubeconfig.
pub fn client_of(kubeconfig: Kubeconfig) -> Client {
    Client::try_from(config_of(kubeconfig)).expect("a client")
}

fn config_of(kubeconfig: Kubeconfig) -> Config {
    let config = futures::executor::block_on(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()));
    config.expect("a usable kubeconfig")
}

/// Returns the CRDs of this version without the rules of their schemas.
fn lax_crds() -> String {
    let crds = serde_saphyr::from_multiple::<Value>(&in_repository("crds/bastion.dev.yaml")).expect("valid YAML");
    let lax = crds.into_iter().map(|mut crd| {
        for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
            loosen(&mut version["schema"]["openAPIV3Schema"]);
        }
        format!("---\n{}", serde_saphyr::to_string(&crd).expect("YAML"))
    });
    lax.collect()
}

fn loosen(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    for rule in ["x-kubernetes-validations", "enum", "format", "maxLength"] {
        fields.remove(rule);
    }
    for property in
        fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|it| it.values_mut())
    {
        loosen(property);
    }
    if let Some(items) = fields.get_mut("items") {
        loosen(items);
    }
}

/// The script, which stops everything when its standard input ends, and the removal of its folder.
fn control_plane_command(dir: &Path) -> Command {
    let script = repository().join("hack/control-plane");
    let mut command = Command::new("sh");
    command.args(["-c", r#""$1" --until-eof "$2"; rm -rf "$2""#, "sh"]).arg(script).arg(dir);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A session, Lease, Secret, ConfigMap and target, each of which another policy must refuse, and a part of its message.
fn forbidden_objects(namespace: &str) -> [(&'static str, Value, &'static str); 5] {
    let object = |api_version: &str, kind: &str, rest: Value| {
        let mut object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "probe", "namespace": namespace}});
        object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        object
    };
    let session = json!({"spec": {"user": {"name": "probe", "subject": "probe"}, "target": "probe", "login": "probe",
        "protocol": "SSH", "client": {"address": "127.0.0.1", "port": 1}, "gateway": {"name": "other", "instance": "other-0"},
        "startTime": "2026-01-01T00:00:00.000000Z"}});
    let target = json!({"spec": {"address": "127.0.0.1", "hostKeys": ["ssh-ed25519 AAAA"], "logins": ["probe"],
        "credentials": {"privateKey": {"name": "probe"}}}});
    let mut known_hosts = object("v1", "ConfigMap", json!({}));
    known_hosts["metadata"]["name"] = json!("bastion-known-hosts");
    [
        ("probe", known_hosts, "only gateways publish their host key"),
        ("probe", object("bastion.dev/v1alpha1", "BastionSession", session), "sessions are created by gateways"),
        ("gateway", object("coordination.k8s.io/v1", "Lease", json!({"spec": {}})), "only Leases of its own Pod"),
        ("gateway", object("v1", "Secret", json!({})), "no Secret but bastion-host-key"),
        ("probe", object("bastion.dev/v1alpha1", "BastionTarget", target), "you may not get the Secret"),
    ]
}

/// Lets the user `probe` and the gateway's ServiceAccount make the objects, so that only a policy refuses them.
const PROBE_RIGHTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: policy-probe}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: probe, namespace: policy-probe}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: probe, namespace: policy-probe}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: probe}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: probe}
- {kind: ServiceAccount, name: bastion-gateway, namespace: policy-probe}
"#;
