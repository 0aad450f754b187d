//! What an instance does with Redis, where one is configured: it shows that it is alive, listens for orders, and ends its
//! own sessions when it can reach neither Redis nor the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::lifetime::Instance;
use crate::api::BastionSession;
use crate::cluster::Guarded;
use crate::lifecycle::{Cause, RENEW_RETRY, RENEW_TIMEOUT, SHOW_EVERY};
use crate::metrics::METRICS;
use crate::redis::{EndOrder, RedisLink, heartbeat, orders};

/// How often it is looked at whether the instance is cut off.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many orders are seen to at once. One that is not is sent again.
const ORDERS: usize = 64;

/// Stays in touch with Redis. Returns when the instance was cut off from both of its witnesses, and has ended its
/// sessions; without Redis never, since an outage of the API looks the same from inside, and people repair clusters
/// through their bastion.
pub async fn stay_in_touch(
    instance: &Arc<Instance>,
    redis: Option<&RedisLink>,
    sessions: Api<Guarded<BastionSession>>,
) {
    let Some(redis) = redis else { return std::future::pending().await };
    let hands = Arc::new(Semaphore::new(ORDERS));
    let take = |order: EndOrder| {
        if let Ok(hand) = hands.clone().try_acquire_owned() {
            let (instance, sessions) = (instance.clone(), sessions.clone());
            tokio::spawn(async move {
                obey(&instance, &sessions, order).await;
                drop(hand);
            });
        }
    };
    tokio::select! {
        () = show(instance, redis) => {}
        () = orders::follow(redis, &instance.id, take) => {}
        () = cut_off(instance) => {}
    }
}

/// Ends a session by an order. While the API server answers, it is the object that says what was asked for: whoever can
/// write to Redis can order nothing by that alone.
async fn obey(instance: &Instance, sessions: &Api<Guarded<BastionSession>>, order: EndOrder) {
    let cause = match timeout(RENEW_TIMEOUT, sessions.get_opt(&order.session)).await {
        Ok(Ok(session)) => session.and_then(|session| session.asked_to_end()),
        // An answer, if not a good one. The order comes again.
        Ok(Err(kube::Error::Api(_))) => return,
        Ok(Err(_)) | Err(_) => Some(order.cause.into()),
    };
    if let Some(cause) = cause {
        info!(session = order.session, "ordered through Redis to end");
        instance.registry.end(&order.session, &cause);
    } else {
        warn!(session = order.session, "an order through Redis that nobody gave in the cluster is ignored");
    }
}

/// Shows through Redis that the instance is alive.
async fn show(instance: &Instance, redis: &RedisLink) {
    loop {
        let pause = match heartbeat::show(redis, &instance.id).await {
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
