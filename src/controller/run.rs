//! Starts the controller's tasks and waits for them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use futures::FutureExt;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::leader::LeadershipGuard;
use super::sessions::Reconciler;
use super::{Settings, failure_detector, leader, quota};
use crate::cluster::{self, EventSink, LenientLease, REQUEST_TIMEOUT, SessionWriter, UnreadableReports};
use crate::http::Readiness;
use crate::lifecycle::FailureDetector;
use crate::redis::RedisClient;
use crate::tasks::Tasks;
use crate::{audit, http};

/// The name under which the controller writes objects and Events.
const MANAGER: &str = "bastion-controller";
/// How many lost instances may wait for the reconciler.
const LOSSES_CAPACITY: usize = 64;

/// Runs a controller until `stop` is cancelled.
///
/// # Errors
/// When the controller cannot start, or one of its tasks fails.
pub async fn run(config: kube::Config, settings: Settings, stop: CancellationToken) -> Result<()> {
    let client = cluster::client(config.clone(), REQUEST_TIMEOUT)?;
    // Heartbeats have connections of their own, so that no load holds them up.
    let leases = Api::namespaced(cluster::client(config, REQUEST_TIMEOUT)?, &settings.namespace);
    let ready = Readiness::new("controller");
    let tasks = Tasks::default();
    let probes = http::serve_probes(settings.http_listen, ready.clone(), stop.clone()).await?;
    tasks.spawn("probe server", &stop, probes);
    spawn_tasks(&tasks, client, leases, settings, &stop)?;

    info!("controller is running");
    ready.set(true);
    tokio::select! {
        biased;
        failure = tasks.failed() => Err(failure.into()),
        () = async { stop.cancelled().await; tasks.ended().await } => Ok(tasks.check()?),
    }
}

fn spawn_tasks(
    tasks: &Tasks,
    client: Client,
    leases: Api<LenientLease>,
    settings: Settings,
    stop: &CancellationToken,
) -> Result<()> {
    let redis = settings.redis.clone().map(RedisClient::new).transpose()?.map(Arc::new);
    let store = audit::Store::new(settings.audit.clone())?;
    let (events, publish_events) = EventSink::new(client.clone(), MANAGER, &settings.pod, stop.clone());
    let reports = UnreadableReports::new(events.clone());
    let writer = SessionWriter::new(client.clone(), &settings.namespace, MANAGER, events);
    let detector = Arc::new(Mutex::new(FailureDetector::new(Instant::now())));
    // Only names are queued: the reconciler finds the sessions of each lost instance in its own store.
    let (losses, lost) = mpsc::channel(LOSSES_CAPACITY);
    let (leads_until, leading) = watch::channel(None);
    let guard = LeadershipGuard::new(leading);

    // It ends with its last sender, which is when the program does.
    tasks.spawn_finite("Event publisher", publish_events);
    let detecting = failure_detector::run(
        client.clone(),
        leases.clone(),
        settings.clone(),
        redis.clone(),
        detector.clone(),
        losses,
        stop.clone(),
    );
    let detecting = detecting.map(|ended| ended.unwrap_or_else(|error| error!(%error, "the failure detector failed")));
    tasks.spawn("failure detector", stop, detecting);
    tasks.spawn("election", stop, leader::campaign(leases, settings.pod.clone(), leads_until, stop.clone()));
    tasks.spawn("quota", stop, quota::run(client.clone(), settings.namespace.clone(), stop.clone()));
    let mirror = mirror_while_leading(
        client.clone(),
        settings.namespace.clone(),
        store,
        reports.clone(),
        guard.clone(),
        stop.clone(),
    );
    tasks.spawn("audit mirror", stop, mirror);
    let reconciler = Reconciler { client, settings, redis, detector, writer, reports, guard };
    tasks.spawn("session reconciler", stop, reconciler.run(lost, stop.clone()));
    Ok(())
}

/// Mirrors sessions into the audit database whenever this controller leads, until `stop` is cancelled.
async fn mirror_while_leading(
    client: Client,
    namespace: String,
    store: audit::Store,
    reports: UnreadableReports,
    mut guard: LeadershipGuard,
    stop: CancellationToken,
) {
    let mirroring = async {
        while guard.begins().await {
            // The mirror may be cancelled at any point.
            let mirror = audit::mirror::run(client.clone(), &namespace, store.clone(), reports.clone(), stop.clone());
            tokio::select! {
                biased;
                () = guard.ends() => {}
                () = mirror => {}
            }
            audit::mirror::reset_metrics();
        }
    };
    stop.run_until_cancelled(Box::pin(mirroring)).await;
}
