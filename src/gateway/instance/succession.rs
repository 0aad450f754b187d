//! One instance after another, for as long as the process runs.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::lifetime::{Instance, InstanceConfig};
use super::redis_heartbeat;
use crate::cluster::SessionWriter;
use crate::leases::InstanceLease;
use crate::lifecycle::RENEW_RETRY;
use crate::redis::RedisLink;

/// Keeps an instance alive, and begins a new one whenever a controller has declared it lost or it was cut off. Returns
/// the last Lease.
pub async fn live(
    config: InstanceConfig,
    redis: Option<Arc<RedisLink>>,
    writer: SessionWriter,
    present: watch::Sender<Option<Arc<Instance>>>,
    mut instance: Arc<Instance>,
    mut lease: InstanceLease,
    stop: CancellationToken,
) -> Option<InstanceLease> {
    loop {
        let held = tokio::select! {
            held = instance.stay_alive(lease, stop.clone()) => held,
            () = instance.pulse.beat() => None,
            () = redis_heartbeat::stay_in_touch(&instance, redis.as_deref(), config.sessions()) => None,
            () = instance.obey(&config, writer.clone()) => {
                error!("the watch of the gateway's own sessions has ended");
                return None;
            }
        };
        if held.is_some() {
            return held;
        }
        present.send_replace(None);
        (instance, lease) = begin(&config, &stop).await?;
        present.send_replace(Some(instance.clone()));
    }
}

/// Begins an instance, and tries again until its Lease is created. Returns `None` if `stop` is cancelled first.
pub async fn begin(config: &InstanceConfig, stop: &CancellationToken) -> Option<(Arc<Instance>, InstanceLease)> {
    loop {
        match Instance::begin(config).await {
            Ok(begun) => return Some(begun),
            Err(error) => warn!(%error, "the instance's Lease could not be created; trying again"),
        }
        stop.run_until_cancelled(sleep(RENEW_RETRY)).await?;
    }
}
