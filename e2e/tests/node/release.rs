//! One release of the chart, in a namespace of its own, and what tests do with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bastion_operator::api::BastionSession;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use crate::cluster::{Cluster, RELEASES_AT_A_TIME};
use bastion_e2e::objects::merge;
use bastion_e2e::process::Outcome;
use bastion_e2e::run::{Run, repository, unique};
use bastion_e2e::{Echo, LoadClient, Namespace, SessionWatch, default_timeout, eventually, open_load_clients};

/// How long Helm may take for one thing.
pub const INSTALLING: Duration = Duration::from_mins(5);

/// Where Pods reach this process.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// An installed release.
pub struct Release {
    pub namespace: Namespace,
    pub cluster: &'static Cluster,
    _room: SemaphorePermit<'static>,
}

impl Release {
    /// Installs one with these values besides those of every test.
    pub async fn install(cluster: &'static Cluster, values: Value) -> Self {
        Self::install_in(cluster.room(1).await, cluster, values).await
    }

    /// Installs one when there is no other, for a test that nothing else would run well beside.
    pub async fn install_alone(cluster: &'static Cluster, values: Value) -> Self {
        Self::install_in(cluster.room(RELEASES_AT_A_TIME).await, cluster, values).await
    }

    /// Installs this chart, with the image of this tag.
    pub async fn install_chart(cluster: &'static Cluster, chart: &str, tag: &str) -> Self {
        let release = Self::prepared(cluster.room(1).await, cluster).await;
        release.helm_chart("install", chart, json!({"image": {"tag": tag}})).await;
        release.counts_sessions().await;
        release
    }

    async fn install_in(room: SemaphorePermit<'static>, cluster: &'static Cluster, values: Value) -> Self {
        let release = Self::prepared(room, cluster).await;
        release.helm_with("install", values).await;
        release.counts_sessions().await;
        release
    }

    /// A namespace for a release.
    async fn prepared(room: SemaphorePermit<'static>, cluster: &'static Cluster) -> Self {
        let name = format!("bastion-{}", unique());
        let dir = Run::get().await.dir.join(&name);
        std::fs::create_dir_all(&dir).expect("a folder");
        let namespace = Namespace { name, dir, control_plane: cluster.control_plane.clone() };
        let release = Self { namespace, cluster, _room: room };
        release.require_restricted_pods().await;
        release
    }

    /// Waits until the sessions are counted: before that, the quota refuses every session.
    async fn counts_sessions(&self) {
        let counted = r"--for=jsonpath={.status.used.count/bastionsessions\.bastion\.dev}";
        let outcome =
            self.namespace.kubectl(&["wait", "resourcequota/bastion-sessions", counted, "--timeout=2m"]).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    /// The Pod Security Standard is enforced in its namespace before anything is there.
    async fn require_restricted_pods(&self) {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace.name, "labels": labels}});
        bastion_e2e::manifests::apply_one(&self.namespace.admin(), namespace).await;
    }

    /// The folder of the chart.
    pub fn chart() -> String {
        repository().join("charts/bastion").display().to_string()
    }

    /// `helm install` or `helm upgrade`, to a state in which all of it runs.
    pub async fn helm_with(&self, what: &str, values: Value) -> Outcome {
        self.helm_chart(what, &Self::chart(), values).await
    }

    async fn helm_chart(&self, what: &str, chart: &str, values: Value) -> Outcome {
        let mut all = usual_values();
        for (name, value) in values.as_object().cloned().unwrap_or_default() {
            match all.get_mut(&name) {
                Some(there) => merge(there, value),
                None => all[name] = value,
            }
        }
        let file = self.namespace.dir.join(format!("values-{}.json", unique()));
        std::fs::write(&file, all.to_string()).expect("a file");
        let file = file.display().to_string();
        self.helm(&[what, "bastion", chart, "--values", &file, "--wait", "--timeout", "4m"]).await
    }

    /// Runs `helm` in its namespace.
    pub async fn helm(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.try_helm(arguments).await;
        if outcome.code != Some(0) {
            let pods = self.namespace.kubectl(&["get", "pods,events", "-o", "wide"]).await;
            let logs = self
                .namespace
                .kubectl(&["logs", "-l", "app.kubernetes.io/name=bastion", "--tail=30", "--prefix"])
                .await;
            panic!("helm {arguments:?}: {outcome:?}\n{}\n{}{}", pods.stdout, logs.stdout, logs.stderr);
        }
        outcome
    }

    /// Runs `helm` in its namespace, whatever comes of it.
    pub async fn try_helm(&self, arguments: &[&str]) -> Outcome {
        let mut all = vec!["--namespace", &self.namespace.name];
        all.extend(arguments);
        self.cluster.run("helm", &all).await
    }

    /// Uninstalls it, and deletes its namespaces; whatever a test leaves behind costs the others.
    pub async fn remove(self) {
        self.helm(&["uninstall", "bastion", "--timeout", "4m"]).await;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.namespace.admin());
        for name in [self.namespace.name.clone(), format!("{}-credentials", self.namespace.name)] {
            namespaces.delete(&name, &DeleteParams::default()).await.expect("the namespace is there");
        }
    }

    /// Adds the user `alice`, and a target `web-1` that echoes, in this process.
    pub async fn with_alice(&self) -> Echo {
        self.namespace.open_to_people().await;
        self.namespace.user("alice").await;
        let echo = Echo::start_at(NODE).await;
        echo.add_to(&self.namespace, "web-1", json!({})).await;
        // The gateways hear of all that a moment later.
        let gateway = self.address().await;
        eventually(default_timeout(), "alice gets in", async || {
            let load_client = LoadClient::open(gateway, "alice:web-1").await?;
            let answered = load_client.answers().await;
            load_client.say("exit 0").await?;
            load_client.gone().await;
            answered
        })
        .await;
        echo
    }

    /// Where the Service is.
    pub async fn address(&self) -> SocketAddr {
        let service = eventually(default_timeout(), "the Service has an address", async || {
            let service = self.namespace.api::<Service>().get("bastion-gateway").await.map_err(|it| it.to_string())?;
            address_of(&service).ok_or_else(|| format!("{:?}", service.status))
        });
        service.await
    }

    /// Opens sessions of alice.
    pub async fn open(&self, size: usize) -> Vec<LoadClient> {
        open_load_clients(self.address().await, "alice:web-1", size).await
    }

    pub async fn watch(&self) -> SessionWatch {
        self.namespace.watch().await
    }

    /// The gateways' Pods that are not on their way out.
    pub async fn pods(&self, component: &str) -> BTreeSet<String> {
        let of_it = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        let pods = self.namespace.api::<Pod>().list(&of_it).await.expect("Pods");
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect()
    }

    /// Deletes a Pod; by force at once, without a word to its processes.
    pub async fn delete_pod(&self, name: &str, by_force: bool) {
        let how = if by_force { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        self.namespace.api::<Pod>().delete(name, &how).await.expect("the Pod is there");
    }

    /// Waits until this many Pods of a program are ready, none of which is among `old`.
    pub async fn ready_pods(&self, component: &str, number: usize, old: &BTreeSet<String>) -> BTreeSet<String> {
        let pods: Api<Pod> = self.namespace.api();
        let of_it = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        eventually(INSTALLING, &format!("{number} new Pods of {component} are ready"), async || {
            let listed = pods.list(&of_it).await.map_err(|error| error.to_string())?;
            let new = listed.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
            let new: BTreeSet<String> = new.map(ResourceExt::name_any).filter(|name| !old.contains(name)).collect();
            if new.len() >= number { Ok(new) } else { Err(format!("{new:?}")) }
        })
        .await
    }

    /// The session behind a load client.
    pub async fn session(&self, watch: &SessionWatch, load_client: &LoadClient) -> BastionSession {
        let software = Some(load_client.software.clone());
        watch
            .until(default_timeout(), "the session of a load_client", |seen| {
                seen.iter().find(|it| it.session.spec.client.software == software).map(|it| it.session.clone())
            })
            .await
    }
}

fn address_of(service: &Service) -> Option<SocketAddr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    let address: IpAddr = ingress.ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, 22))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// The images that the node has, and times that a test can wait for.
fn usual_values() -> Value {
    let registry = std::env::var("BASTION_IMAGES").unwrap_or_else(|_| "localhost".to_owned());
    json!({
        "image": {"repository": format!("{registry}/bastion"), "tag": "dev", "pullPolicy": "IfNotPresent"},
        "exampleTarget": {"image": format!("{registry}/target:dev")},
        "crds": {"install": false},
        "admissionPolicies": {"install": false},
        "gateway": {"gracePeriodSeconds": 20, "preStopSeconds": 3, "resources": {"requests": {"cpu": "1m"}}},
        "controller": {"resources": {"requests": {"cpu": "1m"}}},
    })
}
