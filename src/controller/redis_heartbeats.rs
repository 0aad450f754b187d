//! Asks Redis, where one is configured, for the signs of life of gateway instances, and vouches for those that only Redis
//! can hear: another controller may be cut off from Redis, and must not call them lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::Api;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::cluster::{LenientLease, code};
use crate::leases::{LeaseError, vouch};
use crate::lifecycle::{FailureDetector, Suspect, WITNESS_LOOK_EVERY};
use crate::metrics::METRICS;
use crate::redis::{RedisLink, heartbeat};

/// How many instances are vouched for at once.
const CONCURRENCY: usize = 8;
/// How long the vouching of one round may take.
const VOUCHING: Duration = Duration::from_secs(3);

/// Keeps the observer's view of the second witness up to date, for as long as it is polled; without Redis there is
/// nothing to do.
pub async fn follow(leases: Api<LenientLease>, redis: Option<Arc<RedisLink>>, observer: &Arc<Mutex<FailureDetector>>) {
    let Some(redis) = redis else { return std::future::pending().await };
    let view = || observer.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ticks = interval(WITNESS_LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let instances = view().hoped_for();
        if instances.is_empty() {
            continue;
        }
        // What fails is counted and logged. Nothing follows from it: no news is no evidence of a death.
        let signs = heartbeat::look(&redis, instances).await.unwrap_or_default().into_iter();
        let overdue: Vec<_> = signs
            .filter_map(|(instance, sign)| view().witnessed(&instance, sign.stamp, sign.at, Instant::now()))
            .collect();
        // However long the API server takes, Redis is asked again soon. Who was not vouched for comes round.
        let vouching = stream::iter(overdue).for_each_concurrent(CONCURRENCY, |one| vouch_for(&leases, one));
        let _ = timeout(VOUCHING, vouching).await;
    }
}

async fn vouch_for(leases: &Api<LenientLease>, overdue: Suspect) {
    match vouch(leases, &overdue).await {
        Ok(()) => {
            METRICS.vouchers.inc();
            info!(instance = overdue.instance, "alive, as Redis says, though it does not renew its Lease");
        }
        // It has shown itself, or another controller has vouched for it.
        Err(LeaseError::Kube(error)) if code(&error) == Some(409) => {}
        Err(error) => warn!(instance = overdue.instance, %error, "could not vouch for an instance that Redis hears"),
    }
}
