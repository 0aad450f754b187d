//! Starts the controller's tasks and waits for them.

use std::sync::Arc;

use anyhow::Result;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::sessions::Reconciler;
use super::{Settings, lease_watch, quota};
use crate::clock;
use crate::cluster::{self, EventSink, LenientLease, REQUEST_TIMEOUT, SessionWriter, UnreadableReports};
use crate::http::{self, Readiness};
use crate::lifecycle::FailureDetector;
use crate::redis::RedisClient;
use crate::tasks::Tasks;

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
    spawn_tasks(&tasks, client, leases, settings, ready, &stop)?;

    info!("controller is running");
    Ok(tasks.run_until(&stop).await?)
}

fn spawn_tasks(
    tasks: &Tasks,
    client: Client,
    leases: Api<LenientLease>,
    settings: Settings,
    ready: Readiness,
    stop: &CancellationToken,
) -> Result<()> {
    let redis = settings.redis.clone().map(RedisClient::new).transpose()?.map(Arc::new);
    let (events, publish_events) = EventSink::new(client.clone(), MANAGER, &settings.pod, stop.clone());
    let reports = UnreadableReports::new(events.clone());
    let writer = SessionWriter::new(client.clone(), &settings.namespace, MANAGER, events);
    let detector = Arc::new(Mutex::new(FailureDetector::new(clock::now())));
    // Only names are queued: the reconciler finds the sessions of each lost instance in its own store.
    let (losses, lost) = mpsc::channel(LOSSES_CAPACITY);

    // It ends with its last sender, which is when the program does.
    tasks.spawn_finite("Event publisher", publish_events);
    let detection = lease_watch::Detection {
        client: client.clone(),
        leases,
        settings: settings.clone(),
        redis: redis.clone(),
        detector: detector.clone(),
        losses,
        ready,
    };
    tasks.spawn("failure detector", stop, detection.run(stop.clone()));
    tasks.spawn("quota", stop, quota::run(client.clone(), settings.namespace.clone(), stop.clone()));
    let reconciler = Reconciler { client, settings, redis, detector, writer, reports };
    tasks.spawn("session reconciler", stop, reconciler.run(lost, stop.clone()));
    Ok(())
}
