//! Runs one instance after another until the gateway shuts down.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::lifetime::{Instance, InstanceConfig};
use super::redis_heartbeat;
use crate::cluster::SessionWriter;
use crate::leases::InstanceLease;
use crate::lifecycle::RENEW_RETRY_DELAY;
use crate::redis::RedisClient;
use crate::tasks::named;

/// Runs an instance until `stop` is cancelled, and then returns its Lease. Starts a new instance when a controller has declared
/// the current one lost, or when the current one was cut off. Returns `None` if no Lease is held at the end.
pub async fn run(
    config: InstanceConfig,
    redis: Option<Arc<RedisClient>>,
    writer: SessionWriter,
    current: watch::Sender<Option<Arc<Instance>>>,
    mut instance: Arc<Instance>,
    mut lease: InstanceLease,
    stop: CancellationToken,
) -> Option<InstanceLease> {
    loop {
        let held = tokio::select! {
            held = named("Lease renewal", instance.renew_lease(lease, stop.clone())) => held,
            () = named("pause detector", instance.pause_detector.run()) => None,
            () = named("Redis heartbeat", redis_heartbeat::run(&instance, redis.as_deref(), config.sessions())) => None,
            () = named("session watch", instance.watch_sessions(&config, &writer)) => {
                error!("the watch of the gateway's sessions has ended; the gateway can no longer run an instance");
                return None;
            }
        };
        if held.is_some() {
            return held;
        }
        current.send_replace(None);
        (instance, lease) = start(&config, &stop).await?;
        current.send_replace(Some(instance.clone()));
    }
}

/// Starts an instance. Retries every second until its Lease is created. Returns `None` if `stop` is cancelled first.
pub async fn start(config: &InstanceConfig, stop: &CancellationToken) -> Option<(Arc<Instance>, InstanceLease)> {
    loop {
        match Instance::start(config).await {
            Ok(started) => return Some(started),
            Err(error) => warn!(%error, "the instance's Lease could not be created; retrying in a second"),
        }
        stop.run_until_cancelled(sleep(RENEW_RETRY_DELAY)).await?;
    }
}
