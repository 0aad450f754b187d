//! Starts the controller's tasks and waits for them.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::sessions::Reconciler;
use super::{Settings, failure_detector, quota};
use crate::cluster::{EventSink, SessionWriter, UnreadableReports};
use crate::http::{self, Readiness};
use crate::lifecycle::FailureDetector;
use crate::redis::RedisClient;

/// The name under which the controller writes objects and Events.
const MANAGER: &str = "bastion-controller";
/// How many lost instances may wait for the reconciler.
const LOSSES_CAPACITY: usize = 64;

/// Runs a controller until `stop` is cancelled.
///
/// # Errors
/// When the controller cannot start, or one of its tasks fails.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> Result<()> {
    let ready = Readiness::new("controller");
    let mut tasks = JoinSet::new();
    let probes = http::serve_probes(settings.http_listen, ready.clone(), stop.clone()).await?;
    tasks.spawn(infallible(probes));
    spawn_tasks(&mut tasks, client, settings, &stop)?;

    info!("controller is running");
    ready.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
        anyhow::ensure!(stop.is_cancelled(), "a task of the controller ended before shutdown");
    }
    Ok(())
}

fn spawn_tasks(
    tasks: &mut JoinSet<Result<()>>,
    client: Client,
    settings: Settings,
    stop: &CancellationToken,
) -> Result<()> {
    let redis = settings.redis.clone().map(RedisClient::new).transpose()?.map(Arc::new);
    let (events, publish_events) = EventSink::new(client.clone(), MANAGER, &settings.pod, stop.clone());
    let reports = UnreadableReports::new(events.clone());
    let writer = SessionWriter::new(client.clone(), &settings.namespace, MANAGER, events);
    let detector = Arc::new(Mutex::new(FailureDetector::new(Instant::now())));
    // Only names are queued: the reconciler finds the sessions of each lost instance in its own store.
    let (losses, lost) = mpsc::channel(LOSSES_CAPACITY);

    tasks.spawn(infallible(publish_events));
    tasks.spawn(failure_detector::run(
        client.clone(),
        settings.clone(),
        redis.clone(),
        detector.clone(),
        losses,
        stop.clone(),
    ));
    tasks.spawn(infallible(quota::run(client.clone(), settings.namespace.clone(), stop.clone())));
    let reconciler = Reconciler { client, settings, redis, detector, writer, reports };
    tasks.spawn(infallible(reconciler.run(lost, stop.clone())));
    Ok(())
}

async fn infallible(task: impl Future<Output = ()>) -> Result<()> {
    task.await;
    Ok(())
}
