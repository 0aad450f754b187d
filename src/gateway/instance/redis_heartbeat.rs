//! The tasks of an instance that use Redis, if Redis is configured: the heartbeat, the receiver of orders, and the fence.
//!
//! The fence ends the instance's own sessions once the instance can reach neither Redis nor the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::lifetime::Instance;
use crate::api::BastionSession;
use crate::clock;
use crate::cluster::Guarded;
use crate::lifecycle::{Cause, REDIS_HEARTBEAT_INTERVAL, RENEW_RETRY_DELAY, RENEW_TIMEOUT};
use crate::metrics::METRICS;
use crate::redis::{EndOrder, RedisClient, heartbeat, orders};

/// How often the instance checks whether it is cut off.
const FENCE_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How many orders are handled at once. Controllers repeat an order that is dropped.
const MAX_CONCURRENT_ORDERS: usize = 64;

/// Runs the tasks. Returns once the instance could reach neither Redis nor the API server for too long, and has told its
/// sessions to end.
///
/// Without Redis, never returns. Such a gateway cannot tell its own loss of the network from an outage of the API server, and
/// people repair clusters through their bastion.
pub async fn run(instance: &Arc<Instance>, redis: Option<&RedisClient>, sessions: Api<Guarded<BastionSession>>) {
    let Some(redis) = redis else { return std::future::pending().await };
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_ORDERS));
    let handle = |order: EndOrder| {
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            let (instance, sessions) = (instance.clone(), sessions.clone());
            tokio::spawn(async move {
                handle_order(&instance, &sessions, order).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = send_heartbeats(instance, redis) => {}
        () = orders::receive(redis, &instance.id, handle) => {}
        () = fence(instance) => {}
    }
}

/// Handles an order to end a session. While the API server answers, the session's object must request the end too, so that
/// write access to Redis is not enough to end a session.
async fn handle_order(instance: &Instance, sessions: &Api<Guarded<BastionSession>>, order: EndOrder) {
    let cause = match timeout(RENEW_TIMEOUT, sessions.get_opt(&order.session)).await {
        Ok(Ok(session)) => session.and_then(|session| session.requested_end()),
        // The API server answers, but with an error. The controller repeats the order.
        Ok(Err(kube::Error::Api(_))) => return,
        Ok(Err(_)) | Err(_) => Some(order.cause.into()),
    };
    if let Some(cause) = cause {
        info!(session = order.session, "an order through Redis ends the session");
        instance.registry.end(&order.session, &cause);
    } else {
        warn!(session = order.session, "an order through Redis is ignored: the session's object requests no end");
    }
}

/// Sends heartbeats to Redis. Controllers read them.
async fn send_heartbeats(instance: &Instance, redis: &RedisClient) {
    loop {
        let pause = match heartbeat::write(redis, &instance.id).await {
            Ok(begun) => {
                instance.fence().heartbeat_sent(begun);
                REDIS_HEARTBEAT_INTERVAL
            }
            Err(_) => RENEW_RETRY_DELAY,
        };
        sleep(pause).await;
    }
}

/// Waits until the instance has reached neither Redis nor the API server for too long, and ends all its sessions. This happens
/// before a controller declares the instance lost.
async fn fence(instance: &Instance) {
    while !instance.fence().is_cut_off(clock::now()) {
        sleep(FENCE_CHECK_INTERVAL).await;
    }
    METRICS.fences.inc();
    error!(instance = instance.id, "cut off from the API server and from Redis; all sessions end");
    instance.registry.end_all(&Cause::CutOff);
}
