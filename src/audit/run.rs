//! Starts the tasks of an audit program and waits for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::leader::LeadershipGuard;
use super::retention::Retention;
use super::settings::AuditSettings;
use super::store::Store;
use super::{history_server, instance, leader, mirror, pruner};
use crate::cluster::{self, EventSink, LenientLease, REQUEST_TIMEOUT, UnreadableReports};
use crate::http::internal::{InternalServer, ServerSettings, Service};
use crate::http::{Readiness, serve_probes};
use crate::tasks::Tasks;

/// The settings of an audit program, as the command line gives them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the program's Pod.
    pub pod: String,
    /// The audit database.
    pub database: AuditSettings,
    /// How long finished sessions stay in the cluster, and how many.
    pub retention: Retention,
    /// The server for consoles; `None` if consoles have no history.
    pub history: Option<ServerSettings>,
    /// The address that serves `/metrics`, `/healthz` and `/readyz`.
    pub http_listen: SocketAddr,
}

/// Runs an audit program until `stop` is cancelled.
///
/// # Errors
/// When the program cannot start, or one of its tasks fails.
pub async fn run(config: kube::Config, settings: Settings, stop: CancellationToken) -> Result<()> {
    let client = cluster::client(config.clone(), REQUEST_TIMEOUT)?;
    // Leases have connections of their own, so that no load holds up their renewal.
    let leases = Api::namespaced(cluster::client(config, REQUEST_TIMEOUT)?, &settings.namespace);
    let ready = Readiness::new("audit");
    let tasks = Tasks::default();
    let probes = serve_probes(settings.http_listen, ready.clone(), stop.clone()).await?;
    tasks.spawn("probe server", &stop, probes);
    spawn_tasks(&tasks, client, leases, settings, ready, &stop).await?;

    Ok(tasks.run_until(&stop).await?)
}

async fn spawn_tasks(
    tasks: &Tasks,
    client: Client,
    leases: Api<LenientLease>,
    settings: Settings,
    ready: Readiness,
    stop: &CancellationToken,
) -> Result<()> {
    let Settings { namespace, pod, database, retention, history, http_listen: _ } = settings;
    let records = Store::new(database.clone())?;
    let mut annotations = BTreeMap::new();
    if let Some(history) = history {
        let server = InternalServer::bind("--history-listen", &history).await?;
        annotations = server.endpoint().annotations(Service::HISTORY);
        // Readers have connections of their own, so that they never delay a record.
        let (store, client, namespace, until) =
            (Store::new(database)?, client.clone(), namespace.clone(), stop.clone());
        tasks.spawn("history server", stop, async move {
            history_server::serve(server, &history.console, store, client, &namespace, until).await;
        });
    }
    let (events, publish_events) = EventSink::new(client.clone(), mirror::MANAGER, &pod, stop.clone());
    let reports = UnreadableReports::new(events);
    let (leads_until, leading) = watch::channel(None);
    let guard = LeadershipGuard::new(leading);
    // It ends with its last sender, which is when the program does.
    tasks.spawn_finite("Event publisher", publish_events);
    let instance = instance::run(leases.clone(), pod.clone(), annotations, ready, stop.clone());
    tasks.spawn("instance", stop, instance);
    tasks.spawn("election", stop, leader::campaign(leases, pod, leads_until, stop.clone()));
    let mirroring =
        mirror_while_leading(client.clone(), namespace.clone(), records, reports, guard.clone(), stop.clone());
    tasks.spawn("audit mirror", stop, mirroring);
    let until = stop.clone();
    tasks.spawn("pruner", stop, async move { pruner::run(client, &namespace, retention, guard, until).await });
    Ok(())
}

/// Mirrors sessions into the audit database whenever this program leads, until `stop` is cancelled.
async fn mirror_while_leading(
    client: Client,
    namespace: String,
    store: Store,
    reports: UnreadableReports,
    mut guard: LeadershipGuard,
    stop: CancellationToken,
) {
    let mirroring = async {
        while guard.begins().await {
            // The mirror may be cancelled at any point.
            let mirror = mirror::run(client.clone(), &namespace, store.clone(), reports.clone(), stop.clone());
            tokio::select! {
                biased;
                () = guard.ends() => {}
                () = mirror => {}
            }
            mirror::reset_metrics();
        }
    };
    stop.run_until_cancelled(Box::pin(mirroring)).await;
}
