//! Polls Redis for the heartbeats of gateway instances, and vouches for those that reach only Redis.
//!
//! Vouching extends the instance's Lease, so that a controller without Redis does not declare it lost.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Api;
use tokio::time::timeout;
use tracing::{info, warn};

use super::shared_detector::SharedDetector;
use crate::clock;
use crate::cluster::{LenientLease, code};
use crate::leases::{LeaseError, confirm_alive};
use crate::lifecycle::{LeaseVersion, REDIS_POLL_INTERVAL};
use crate::metrics::METRICS;
use crate::redis::{RedisClient, heartbeat};
use crate::tasks::ticks;

/// How many Leases are written at once.
const VOUCH_CONCURRENCY: usize = 8;
/// How long the vouching of one poll may take.
const VOUCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Feeds the heartbeats in Redis into the failure detector. Never returns; without Redis, waits forever.
pub async fn poll(leases: Api<LenientLease>, redis: Option<Arc<RedisClient>>, detector: &SharedDetector) {
    let Some(redis) = redis else { return std::future::pending().await };
    let mut ticks = ticks(REDIS_POLL_INTERVAL);
    loop {
        ticks.tick().await;
        let instances = detector.lock().monitored();
        if instances.is_empty() {
            continue;
        }
        // Errors are counted and logged. A missing heartbeat in Redis never counts against an instance.
        let heartbeats = heartbeat::read(&redis, instances).await.unwrap_or_default().into_iter();
        let overdue: Vec<_> = heartbeats
            .filter_map(|(instance, seen)| {
                detector.lock().observe_redis_heartbeat(&instance, seen.stamp, seen.at, clock::now())
            })
            .collect();
        // A slow API server must not delay the next poll, which returns the instances that are left.
        let vouching = stream::iter(overdue).for_each_concurrent(VOUCH_CONCURRENCY, |one| vouch_for(&leases, one));
        let _ = timeout(VOUCH_TIMEOUT, vouching).await;
    }
}

async fn vouch_for(leases: &Api<LenientLease>, overdue: LeaseVersion) {
    match confirm_alive(leases, &overdue).await {
        Ok(()) => {
            METRICS.vouchers.inc();
            info!(
                instance = overdue.instance,
                "vouched for an instance: its Lease is overdue, but Redis has its heartbeat"
            );
        }
        // The instance renewed its Lease, or another controller vouched for it.
        Err(LeaseError::Kube(error)) if code(&error) == Some(409) => {}
        Err(error) => {
            warn!(instance = overdue.instance, %error, "could not vouch for an instance with a heartbeat in Redis; retrying");
        }
    }
}
