//! What an instance does with Redis, where one is configured: it shows that it is alive, listens for orders, and ends its
//! own sessions when it can reach neither Redis nor the API server.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, info};

use super::instance::Instance;
use crate::lifecycle::{Cause, RENEW_RETRY, SHOW_EVERY};
use crate::liveness::{orders, witness};
use crate::metrics::METRICS;
use crate::redis_link::RedisLink;

/// How often it is looked at whether the instance is cut off.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Stays in touch with Redis. Returns when the instance was cut off from both of its witnesses, and has ended its
/// sessions; without Redis never, since an outage of the API looks the same from inside, and people repair clusters
/// through their bastion.
pub async fn stay_in_touch(instance: &Instance, redis: Option<&RedisLink>) {
    let Some(redis) = redis else { return std::future::pending().await };
    let obey = |order: orders::EndOrder| {
        info!(session = order.session, "ordered through Redis to end");
        instance.registry.end(&order.session, &order.cause.into());
    };
    tokio::select! {
        () = show(instance, redis) => {}
        () = orders::follow(redis, &instance.id, obey) => {}
        () = cut_off(instance) => {}
    }
}

/// Shows through Redis that the instance is alive.
async fn show(instance: &Instance, redis: &RedisLink) {
    loop {
        let pause = match witness::show(redis, &instance.id).await {
            Ok(begun) => {
                instance.fence().shown(begun);
                SHOW_EVERY
            }
            Err(_) => RENEW_RETRY,
        };
        sleep(pause).await;
    }
}

/// Returns when neither witness was reached for too long. Every session ends then, before anybody calls them dead.
async fn cut_off(instance: &Instance) {
    while !instance.fence().is_cut_off(std::time::Instant::now()) {
        sleep(LOOK_EVERY).await;
    }
    METRICS.fences.inc();
    error!(instance = instance.id, "cut off from the API server and from Redis; all sessions end");
    instance.registry.end_all(&Cause::CutOff);
}
