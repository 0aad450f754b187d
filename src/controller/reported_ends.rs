//! Writes the ends that gateways report through Redis, because these gateways do not reach the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use tokio::time::timeout;
use tracing::{info, warn};

use super::shared_detector::SharedDetector;
use crate::api::BastionSession;
use crate::clock;
use crate::cluster::{EndOutcome, Guarded, SessionWriter, WriteError, code};
use crate::lifecycle::{END_TIMEOUT, REDIS_POLL_INTERVAL};
use crate::metrics::{METRICS, ReportLabels};
use crate::redis::RedisClient;
use crate::redis::reported_ends::{self, ReportedSession};
use crate::tasks::ticks;

/// The most sessions in one request to Redis.
const BATCH_SIZE: usize = 200;
/// How many ends are written at once.
const CONCURRENCY: usize = 8;
/// How long writing the ends of one batch may take. The next poll finds the remaining ends.
const BATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A session as the watch delivers it: readable or not.
type Observed = Guarded<BastionSession>;

/// Polls Redis for the ends of Active sessions whose gateway does not renew its Lease, and writes them. Never returns; without
/// Redis, waits forever.
///
/// Only reports about existing sessions are read, so that their number is bounded. A gateway that renews its Lease can write
/// its ends itself.
pub async fn write_ends(
    redis: Option<&RedisClient>,
    detector: &SharedDetector,
    sessions: Store<Observed>,
    writer: &SessionWriter,
) {
    let Some(redis) = redis else { return std::future::pending().await };
    let mut ticks = ticks(REDIS_POLL_INTERVAL);
    loop {
        ticks.tick().await;
        let keys = detector.lock().unable_to_write(clock::now());
        if keys.is_empty() {
            continue;
        }
        let active = sessions.state_filter(|observed| observed.active_on().is_some_and(|it| keys.contains_key(it)));
        for batch in active.chunks(BATCH_SIZE) {
            if !write_reported(redis, batch, &keys, writer).await {
                break;
            }
        }
    }
}

/// Writes the reported ends of these sessions. Returns whether Redis answered and all ends were tried within [`BATCH_TIMEOUT`].
/// `keys` has the public key of each instance.
async fn write_reported(
    redis: &RedisClient,
    sessions: &[Arc<Observed>],
    keys: &BTreeMap<String, String>,
    writer: &SessionWriter,
) -> bool {
    let uids: Vec<_> = sessions.iter().map(|session| session.meta().uid.as_deref().unwrap_or_default()).collect();
    // Errors are counted and logged.
    let Ok(reports) = reported_ends::read(redis, &uids).await else { return false };
    let reports = sessions.iter().zip(reports).filter(|(_, report)| !report.is_empty());
    let writing = stream::iter(reports).for_each_concurrent(CONCURRENCY, async |(session, report)| {
        let key = session.active_on().and_then(|instance| keys.get(instance));
        write_end(session, &report, key.map_or("", String::as_str), writer).await;
    });
    timeout(BATCH_TIMEOUT, writing).await.is_ok()
}

/// Writes the end in a report, unless the report is refused.
async fn write_end(observed: &Observed, report: &[u8], key: &str, writer: &SessionWriter) {
    let (name, uid) = (observed.name_any(), observed.uid().unwrap_or_default());
    let instance = observed.active_on().unwrap_or_default();
    let session = ReportedSession { uid: &uid, instance, start: observed.start(), key };
    let end = match reported_ends::verify(report, session) {
        Ok(end) => end,
        Err(error) => {
            METRICS.reported_ends_refused.get_or_create(&ReportLabels { cause: error.label() }).inc();
            warn!(session = name, %error, "an end reported through Redis is refused; the session stays Active");
            return;
        }
    };
    let version = observed.resource_version().unwrap_or_default();
    let written = timeout(END_TIMEOUT, writer.end_if_unchanged(&observed.object_ref(&()), &version, &end)).await;
    match written.unwrap_or(Err(WriteError::Timeout)) {
        Ok(EndOutcome::Written) => {
            METRICS.reported_ends_written.inc();
            info!(session = name, instance, "wrote an end that the session's gateway reported through Redis");
        }
        // Another writer was first, and the watch shows it.
        Ok(EndOutcome::AlreadyFinal | EndOutcome::Gone) => {}
        Err(WriteError::Kube(error)) if code(&error) == Some(409) => {}
        Err(error) => warn!(session = name, %error, "an end reported through Redis could not be written; retrying"),
    }
}
