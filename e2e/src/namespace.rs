//! One test's own namespace, with the bastion's accounts and rights in it, and what a test puts there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine};
use bastion_operator::api::{BastionSession, BastionTarget, credentials_namespace};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, PERSON, client_of, service_account_user};
use crate::manifests::{api_of, apply, apply_one, in_repository};
use crate::objects::{bastion_target, bastion_user, merge};
use crate::process::{Outcome, Process, command};
use crate::run::{Run, built_tool, unique};
use crate::sshd::Sshd;
use crate::wait::{default_timeout, eventually};
use crate::watch::SessionWatch;
use crate::weight;

/// The Kubernetes group that every user of [`Namespace::user`] is in, which may connect to every target.
pub const PEOPLE: &str = "people";

/// The Secret that every target's credentials are in.
pub const TARGET_SECRET: &str = "target-key";

/// A namespace, and the folder of the same name in which its programs leave their files.
pub struct Namespace {
    pub name: String,
    pub dir: PathBuf,
    pub control_plane: Arc<ControlPlane>,
}

/// A ServiceAccount's rights: a token in a kubeconfig, bound to a Pod.
pub struct Account {
    pub pod_uid: String,
    pub kubeconfig: PathBuf,
    pub client: Client,
}

/// A detour to the API server, through a proxy or a relay.
pub trait ApiRoute: Sync {
    /// The address that programs connect to.
    fn address(&self) -> SocketAddr;

    /// The certificate that programs trust there, in PEM; `None` for the API server's own.
    fn certificate(&self) -> Option<&str> {
        None
    }
}

impl Namespace {
    /// A new one on the shared control plane.
    pub async fn new() -> Self {
        Self::on(ControlPlane::shared().await).await
    }

    /// A new one, with the Secret that targets use, and with the right of [`PEOPLE`] to connect to all of them.
    pub async fn on(control_plane: Arc<ControlPlane>) -> Self {
        let namespace = Self::named(&format!("e2e-{}", unique()), control_plane).await;
        namespace.open_to_people().await;
        namespace
    }

    /// Adds the Secret that targets use, and the right of [`PEOPLE`] to connect to all of them.
    pub async fn open_to_people(&self) {
        self.credential(TARGET_SECRET).await;
        let people = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": PEOPLE});
        self.allow_in(&self.name, &people, json!([connect_rule("bastiontargets", &[])])).await;
    }

    /// A new one of this name, with what deploy/ has for it.
    pub async fn named(name: &str, control_plane: Arc<ControlPlane>) -> Self {
        weight::start().await;
        let dir = Run::get().await.dir.join(format!("{name}-{}", unique()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let namespace = Self { name: name.to_owned(), dir, control_plane };
        for manifest in ["deploy/namespaces.yaml", "deploy/rbac.yaml"] {
            let yaml = in_repository(manifest).replace("bastion-system", name);
            apply(&namespace.admin(), &yaml).await;
        }
        namespace.await_rights().await;
        namespace
    }

    /// Adds the FlowSchema of the programs' Leases, which is an object of the cluster.
    pub async fn add_flow_schema(&self) {
        apply(&self.admin(), &in_repository("deploy/flow-schema.yaml").replace("bastion-system", &self.name)).await;
    }

    pub fn admin(&self) -> Client {
        self.control_plane.admin()
    }

    /// A client for an ordinary user of the cluster.
    pub fn as_user(&self, user: &str) -> Client {
        self.control_plane.impersonate(user, &["system:authenticated"])
    }

    /// The administrator's view of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin(), &self.name)
    }

    /// Adds an object, given without its namespace.
    pub async fn add(&self, object: Value) -> DynamicObject {
        apply_one(&self.admin(), self.placed(object)).await
    }

    /// Tries to create an object, given without its namespace; an error is what the API server says.
    pub async fn create_as(&self, client: &Client, object: Value) -> Result<DynamicObject, String> {
        let object = self.placed(object);
        let (api, _) = api_of(client, &object);
        let object = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object).await.map_err(api_message)
    }

    /// Tries a merge patch of a session; an error is what the API server says.
    pub async fn patch_session(&self, client: &Client, name: &str, patch: Value) -> Result<BastionSession, String> {
        let sessions: Api<BastionSession> = Api::namespaced(client.clone(), &self.name);
        sessions.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(api_message)
    }

    /// Tries a merge patch of a target; an error is what the API server says.
    pub async fn patch_target(&self, client: &Client, name: &str, patch: Value) -> Result<BastionTarget, String> {
        let targets: Api<BastionTarget> = Api::namespaced(client.clone(), &self.name);
        targets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(api_message)
    }

    /// Tries a merge patch of a session's `/status`; an error is what the API server says.
    pub async fn patch_status(&self, client: &Client, name: &str, patch: Value) -> Result<BastionSession, String> {
        let sessions: Api<BastionSession> = Api::namespaced(client.clone(), &self.name);
        sessions.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(api_message)
    }

    fn placed(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = json!(self.name);
        object
    }

    /// Adds a user with the run's key, who may connect to every target.
    pub async fn user(&self, name: &str) {
        self.user_with(name, json!({"groups": [PEOPLE]})).await;
    }

    /// Adds the user `person`, who is [`PERSON`] and may connect to every target.
    pub async fn person(&self) {
        self.user_with("person", json!({"subject": PERSON, "groups": [PEOPLE]})).await;
    }

    /// Adds a user with the run's key and this in its spec.
    pub async fn user_with(&self, name: &str, spec: Value) {
        let mut user = bastion_user(name);
        user["spec"]["publicKeys"] = json!([Run::get().await.user_key.public]);
        merge(&mut user["spec"], spec);
        self.add(user).await;
    }

    /// Adds a target that is the given sshd.
    pub async fn target(&self, name: &str, sshd: &Sshd) {
        self.target_with(name, sshd, json!({})).await;
    }

    /// Adds a target that is the given sshd, but for this in its spec.
    pub async fn target_with(&self, name: &str, sshd: &Sshd, spec: Value) {
        let mut target = bastion_target(name);
        merge(
            &mut target["spec"],
            json!({"address": sshd.address, "port": sshd.port, "hostKeys": [sshd.host_key.public], "logins": [sshd.login]}),
        );
        merge(&mut target["spec"], spec);
        self.add(target).await;
    }

    /// Lets a user connect: `resource` as RBAC knows it, such as `bastiontargets/root`, for the given names or all.
    /// Returns the name of the grant.
    pub async fn grant(&self, user: &str, resource: &str, names: &[&str]) -> String {
        self.allow_in(&self.name, &user_subject(user), json!([connect_rule(resource, names)])).await
    }

    /// Takes a grant back.
    pub async fn withdraw(&self, grant: &str) {
        self.api::<RoleBinding>().delete(grant, &DeleteParams::default()).await.expect("a RoleBinding");
    }

    /// Waits until a user in a group may connect to the named thing.
    pub async fn await_connect(&self, user: &str, group: &str, resource: &str, name: &str) {
        let asked = attributes(&self.name, &connect_rule(resource, &[name]));
        self.await_right_of(json!(user), json!([group]), asked).await;
    }

    /// Gives a user these rules, and waits until the first of them is in force.
    /// Returns the name of the grant.
    pub async fn allow(&self, user: &str, rules: Value) -> String {
        self.allow_in(&self.name, &user_subject(user), rules).await
    }

    /// Lets a user get one Secret of the credentials namespace.
    pub async fn allow_reading_credentials(&self, user: &str, secret: &str) {
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}]);
        self.allow_in(&credentials_namespace(&self.name), &user_subject(user), rules).await;
    }

    /// Binds a Role of deploy/ to a user, and waits until its first rule is in force.
    /// Returns the name of the grant.
    pub async fn bind(&self, user: &str, role: &str) -> String {
        let name = format!("bind-{}", unique());
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role});
        self.add(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": role_ref, "subjects": [user_subject(user)]}),
        )
        .await;
        let role = self.api::<Role>().get(role).await.expect("a Role of deploy/");
        let first = serde_json::to_value(&role.rules.expect("rules")[0]).expect("a rule");
        self.await_right(&user_subject(user), attributes(&self.name, &first)).await;
        name
    }

    /// Returns a kubeconfig file that impersonates `user`.
    pub fn kubeconfig_as(&self, user: &str, groups: &[&str]) -> PathBuf {
        self.write_kubeconfig(&format!("person-{}", unique()), &self.control_plane.kubeconfig_as(user, groups))
    }

    /// A kubeconfig file with this token.
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        self.write_kubeconfig(&format!("person-{}", unique()), &self.control_plane.kubeconfig_with(token))
    }

    /// Creates a ServiceAccount. Returns its user name and a token.
    pub async fn service_account(&self, name: &str) -> (String, String) {
        self.add(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
        let outcome = self.kubectl(&["create", "token", name]).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        (service_account_user(&self.name, name), outcome.stdout.trim().to_owned())
    }

    /// Creates a ServiceAccount with these Roles of deploy/. Returns its user name and a token.
    pub async fn service_account_with_roles(&self, name: &str, roles: &[&str]) -> (String, String) {
        let (user, token) = self.service_account(name).await;
        for role in roles {
            self.bind(&user, role).await;
        }
        (user, token)
    }

    /// Creates a ServiceAccount with bastion-viewer. Returns its token.
    pub async fn viewer(&self) -> String {
        self.service_account_with_roles("viewer", &["bastion-viewer"]).await.1
    }

    /// A token of the ServiceAccount of this name that is good for this audience.
    pub async fn token(&self, account: &str, audience: &str) -> String {
        let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() };
        self.issue(account, spec).await
    }

    async fn issue(&self, account: &str, spec: TokenRequestSpec) -> String {
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts = self.api::<ServiceAccount>();
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
        answer.status.expect("a token").token
    }

    async fn allow_in(&self, namespace: &str, subject: &Value, rules: Value) -> String {
        let (api_version, metadata) =
            ("rbac.authorization.k8s.io/v1", json!({"name": format!("allow-{}", unique()), "namespace": namespace}));
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]});
        let first = rules[0].clone();
        for object in [
            json!({"apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": rules}),
            json!({"apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}),
        ] {
            apply_one(&self.admin(), object).await;
        }
        self.await_right(subject, attributes(namespace, &first)).await;
        metadata["name"].as_str().expect("a name").to_owned()
    }

    /// Puts the key with which the gateway signs in to targets into a Secret of this name.
    pub async fn credential(&self, name: &str) {
        self.secret_with(name, json!({"ssh-privatekey": Run::get().await.target_key.private()})).await;
    }

    /// Puts these values into a Secret of the credentials namespace.
    pub async fn secret_with(&self, name: &str, data: Value) {
        let metadata = json!({"name": name, "namespace": credentials_namespace(&self.name)});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        apply_one(&self.admin(), secret).await;
    }

    /// The API server learns of a new Role a moment later: waits until the programs have their rights.
    async fn await_rights(&self) {
        let account = |name: &str| user_subject(&service_account_user(&self.name, name));
        let of = |namespace: &str, verb: &str, group: &str, resource: &str| json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource});
        let (gateway, credentials) = (account("bastion-gateway"), credentials_namespace(&self.name));
        self.await_right(&gateway, of(&self.name, "create", "bastion.dev", "bastionsessions")).await;
        self.await_right(&gateway, of(&credentials, "get", "", "secrets")).await;
        self.await_right(&account("bastion-controller"), of(&self.name, "watch", "bastion.dev", "bastionsessions"))
            .await;
        self.await_right(&account("bastion-audit"), of(&self.name, "patch", "bastion.dev", "bastionsessions")).await;
        self.await_right(&account("bastion-audit"), of("", "create", "authentication.k8s.io", "tokenreviews")).await;
        let console = account("bastion-console");
        self.await_right(&console, of(&self.name, "create", "authorization.k8s.io", "localsubjectaccessreviews")).await;
        self.await_right(&console, of("", "create", "authentication.k8s.io", "tokenreviews")).await;
    }

    async fn await_right(&self, subject: &Value, attributes: Value) {
        match subject["kind"].as_str() {
            Some("Group") => self.await_right_of(json!("anybody"), json!([subject["name"]]), attributes).await,
            _ => self.await_right_of(subject["name"].clone(), json!([]), attributes).await,
        }
    }

    /// Whether a user may do something, as RBAC says; `attributes` are those of a review.
    pub async fn may(&self, user: &str, attributes: Value) -> bool {
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin());
        let review = json!({"metadata": {}, "spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}});
        let review = serde_json::from_value(review).expect("a review");
        let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.is_some_and(|status| status.allowed)
    }

    async fn await_right_of(&self, user: Value, groups: Value, attributes: Value) {
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin());
        let review =
            json!({"metadata": {}, "spec": {"user": user, "groups": groups, "resourceAttributes": attributes}});
        let review = serde_json::from_value(review).expect("a review");
        eventually(default_timeout(), &format!("{user} may {attributes}"), async || {
            let answer = reviews.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
            let status = answer.status.unwrap_or_default();
            if status.allowed { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    /// The rights of a ServiceAccount, by a token bound to a Pod of this name, which is made where it is missing.
    pub async fn account(&self, account: &str, pod: &str) -> Account {
        self.account_through(account, pod, None).await
    }

    /// The same, with another way to the API server than the straight one.
    pub async fn account_through(&self, account: &str, pod: &str, api: Option<&dyn ApiRoute>) -> Account {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
            "spec": {"nodeName": "somewhere", "serviceAccountName": account, "containers": [{"name": account.trim_start_matches("bastion-"), "image": "bastion"}]}});
        if self.api::<Pod>().get_opt(pod).await.expect("Pods can be read").is_none() {
            self.add(object).await;
        }
        let pod_uid = self.api::<Pod>().get(pod).await.expect("the Pod").uid().expect("a uid");
        let bound = BoundObjectReference {
            kind: Some("Pod".into()),
            api_version: Some("v1".into()),
            name: Some(pod.into()),
            uid: Some(pod_uid.clone()),
        };
        let spec = TokenRequestSpec {
            bound_object_ref: Some(bound),
            expiration_seconds: Some(7200),
            ..TokenRequestSpec::default()
        };
        let mut kubeconfig = self.control_plane.kubeconfig_with(&self.issue(account, spec).await);
        if let Some(api) = api {
            lead_through(&mut kubeconfig, api);
        }
        Account { pod_uid, kubeconfig: self.write_kubeconfig(pod, &kubeconfig), client: client_of(kubeconfig) }
    }

    /// Writes into a gateway's Pod that its container has ended, as a kubelet does, whose times are whole seconds, once that
    /// is after `began`. Returns when it was written.
    pub async fn report_ended_container(&self, pod: &str, began: Timestamp) -> Instant {
        let ended = eventually(default_timeout(), "the next second", async || {
            let second = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
            if second > began { Ok(second) } else { Err(format!("{second}")) }
        })
        .await;
        let state = json!({"terminated": {"exitCode": 137, "finishedAt": ended.to_string()}});
        let container =
            json!({"name": "gateway", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": ""});
        let status = Patch::Merge(json!({"status": {"containerStatuses": [container]}}));
        let written = Instant::now();
        self.api::<Pod>().patch_status(pod, &PatchParams::default(), &status).await.expect("a changed Pod");
        written
    }

    fn write_kubeconfig(&self, pod: &str, kubeconfig: &Kubeconfig) -> PathBuf {
        let path = self.dir.join(format!("{pod}.kubeconfig"));
        let yaml = serde_saphyr::to_string(kubeconfig).expect("a kubeconfig in YAML");
        std::fs::write(&path, yaml).expect("a kubeconfig file");
        path
    }

    /// Begins to watch the sessions.
    pub async fn watch(&self) -> SessionWatch {
        SessionWatch::start(Api::namespaced(self.control_plane.admin_without_retries(), &self.name)).await
    }

    /// The reasons of all Events regarding a session, and their notes.
    pub async fn events_of(&self, session: &str) -> Vec<(String, String)> {
        let events = self.api::<Event>().list(&ListParams::default()).await.expect("Events can be listed");
        let regarding = |event: &Event| event.regarding.as_ref().and_then(|it| it.name.clone());
        let reason_and_note = |event: Event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
        events.items.into_iter().filter(|it| regarding(it).as_deref() == Some(session)).map(reason_and_note).collect()
    }

    /// A Secret in the bastion's own namespace.
    pub async fn secret(&self, name: &str) -> Option<Secret> {
        self.api::<Secret>().get_opt(name).await.expect("Secrets can be read")
    }

    /// Runs `kubectl` as the administrator, in this namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome {
        let mut command = command(kubectl_path().await);
        command
            .arg("--kubeconfig")
            .arg(self.control_plane.kubeconfig())
            .args(["--namespace", &self.name])
            .args(arguments);
        Process::start(self.dir.join(format!("kubectl-{}", unique())), command).await.finish(default_timeout()).await
    }
}

/// Has a kubeconfig lead to the API server through a route.
pub fn lead_through(kubeconfig: &mut Kubeconfig, route: &dyn ApiRoute) {
    let cluster = kubeconfig.clusters[0].cluster.as_mut().expect("a cluster");
    cluster.server = Some(format!("https://{}", route.address()));
    if let Some(certificate) = route.certificate() {
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(certificate));
    }
}

fn user_subject(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn connect_rule(resource: &str, names: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": ["bastion.dev"], "resources": [resource], "verbs": ["connect"]});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// What a rule allows first, as a review asks for it.
fn attributes(namespace: &str, rule: &Value) -> Value {
    let (resource, subresource) = {
        let text = rule["resources"][0].as_str().expect("a resource");
        text.split_once('/').unwrap_or((text, ""))
    };
    let mut attributes = json!({"namespace": namespace, "group": rule["apiGroups"][0], "verb": rule["verbs"][0],
        "resource": resource, "subresource": subresource});
    if let Some(name) = rule["resourceNames"][0].as_str() {
        attributes["name"] = json!(name);
    }
    attributes
}

/// Returns the path of `kubectl`.
pub async fn kubectl_path() -> PathBuf {
    built_tool("control-plane", "kubectl").await
}

/// Returns the message of an API error, as `kubectl` shows it.
fn api_message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}
