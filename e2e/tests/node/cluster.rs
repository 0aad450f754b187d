//! The cluster that hack/cluster has started for this run, or an existing one.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::release::Release;
use bastion_e2e::ControlPlane;
use bastion_e2e::network::skipped;
use bastion_e2e::process::{Outcome, Process, command};
use bastion_e2e::run::{Run, unique};

/// Each release is half a dozen Pods: so many at a time.
pub const RELEASES_AT_A_TIME: u32 = 2;

/// A cluster with nodes.
pub struct Cluster {
    pub control_plane: Arc<ControlPlane>,
    /// Whether only this run uses it, so that tests may break it.
    pub is_own: bool,
    room: Semaphore,
}

impl Cluster {
    /// The one of this run; `None`, and a word about it, where there is none.
    pub async fn get() -> Option<&'static Self> {
        static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();
        let cluster = CLUSTER.get_or_init(Self::find).await.as_ref();
        if cluster.is_none() {
            skipped("it needs a cluster with nodes: hack/cluster cargo test --test node");
        }
        cluster
    }

    /// The same, where it may be broken.
    pub async fn own() -> Option<&'static Self> {
        let cluster = Self::get().await?;
        if !cluster.is_own {
            skipped("it breaks the cluster, which this run did not create");
        }
        cluster.is_own.then_some(cluster)
    }

    async fn find() -> Option<Self> {
        let is_own = std::env::var("BASTION_CLUSTER").ok()? == "own";
        let run = Run::get().await;
        let dir = if is_own {
            PathBuf::from(std::env::var_os("BASTION_CLUSTER_DIR").expect("hack/cluster sets it"))
        } else {
            let kubeconfig = std::env::var_os("KUBECONFIG").expect("hack/cluster sets it");
            std::fs::copy(kubeconfig, run.dir.join("admin.kubeconfig")).expect("BASTION_KUBECONFIG can be read");
            run.dir.clone()
        };
        let cluster = Self {
            control_plane: Arc::new(ControlPlane::of_cluster(dir)),
            is_own,
            room: Semaphore::new(RELEASES_AT_A_TIME as usize),
        };
        cluster.bring_common_objects(&Release::chart()).await;
        Some(cluster)
    }

    /// CRDs and policies belong to no namespace: one release brings them, and none of the others does.
    pub async fn bring_common_objects(&self, chart: &str) {
        let nothing_else = [
            "gateway.replicas=0",
            "controller.replicas=0",
            "audit.replicas=0",
            "database.sqlite.persistent=false",
            "aggregatedRoles.enabled=false",
        ];
        let mut arguments =
            vec!["upgrade", "--install", "common", chart, "--namespace", "bastion-common", "--create-namespace"];
        arguments.extend(nothing_else.iter().flat_map(|value| ["--set", value]));
        let outcome = self.run("helm", &arguments).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    /// Waits until there is room for so many releases more.
    pub async fn room(&self, releases: u32) -> SemaphorePermit<'_> {
        self.room.acquire_many(releases).await.expect("it is never closed")
    }

    /// Runs a program that finds the cluster by KUBECONFIG, to its end.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut command = command(program);
        command.args(arguments).env("KUBECONFIG", self.control_plane.kubeconfig());
        let files = Run::get().await.dir.join(format!("{program}-{}", unique()));
        let mut process = Process::start(files, command).await;
        process.close_input();
        process.finish(crate::release::INSTALLING).await
    }
}
