//! Orders to end a session. A controller sends them through Redis to gateways that may not reach the API server. Orders
//! may be lost: the session's object keeps the request, and the controller sends the order again.

use futures::{Stream, StreamExt, future};
use redis::pipe;
use serde::{Deserialize, Serialize};
use tokio::time::{interval, timeout};
use tracing::warn;

use super::client::{REDIS_TIMEOUT, RedisClient, RedisError};
use crate::lifecycle::{Cause, ORDER_INTERVAL, RENEW_RETRY_DELAY};

/// An order to end one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndOrder {
    /// The name of the session.
    pub session: String,
    /// The cause of its end.
    pub cause: OrderedCause,
}

/// The causes that a user can request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum OrderedCause {
    /// The session's own user closed it.
    Closed { reason: Option<String> },
    /// Another user terminated it.
    Terminated { by: String, reason: Option<String> },
    /// The session's object was deleted.
    Deleted,
}

impl OrderedCause {
    /// Returns the order for a cause; `None` if no user can request it.
    pub fn of(cause: &Cause) -> Option<Self> {
        match cause.clone() {
            Cause::ApiClosed { reason } => Some(Self::Closed { reason }),
            Cause::Terminated { by, reason } => Some(Self::Terminated { by, reason }),
            Cause::Deleted => Some(Self::Deleted),
            _ => None,
        }
    }
}

impl From<OrderedCause> for Cause {
    fn from(ordered: OrderedCause) -> Self {
        match ordered {
            OrderedCause::Closed { reason } => Self::ApiClosed { reason },
            OrderedCause::Terminated { by, reason } => Self::Terminated { by, reason },
            OrderedCause::Deleted => Self::Deleted,
        }
    }
}

/// Publishes an order to an instance. Success does not mean that the gateway received it.
///
/// # Errors
/// Redis failed or did not answer in time.
pub async fn send(redis: &RedisClient, instance: &str, order: &EndOrder) -> Result<(), RedisError> {
    let Ok(order) = serde_json::to_string(order) else { return Ok(()) };
    let mut publish = pipe();
    publish.cmd("PUBLISH").arg(channel(instance)).arg(order).ignore();
    redis.query("order", &publish).await
}

/// Calls `handle` with each order for `instance`. Subscribes again after any failure of Redis, and never returns.
pub async fn receive(redis: &RedisClient, instance: &str, handle: impl Fn(EndOrder)) {
    loop {
        if let Ok((sink, messages)) = redis.subscribe(&channel(instance)).await {
            let orders = messages.filter_map(|message| future::ready(parse(message.get_payload_bytes())));
            receive_from(sink, orders, &handle).await;
        }
        tokio::time::sleep(RENEW_RETRY_DELAY).await;
    }
}

/// Receives orders until the connection is dead.
async fn receive_from(
    mut sink: redis::aio::PubSubSink,
    orders: impl Stream<Item = EndOrder>,
    handle: &impl Fn(EndOrder),
) {
    let mut orders = std::pin::pin!(orders);
    let mut pings = interval(ORDER_INTERVAL);
    loop {
        tokio::select! {
            order = orders.next() => match order {
                Some(order) => handle(order),
                None => return,
            },
            _ = pings.tick() => {
                if !matches!(timeout(REDIS_TIMEOUT, sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

fn parse(payload: &[u8]) -> Option<EndOrder> {
    serde_json::from_slice(payload).inspect_err(|error| warn!(%error, "malformed order from Redis ignored")).ok()
}

fn channel(instance: &str) -> String {
    format!("orders:{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_round_trips() {
        for cause in [
            Cause::ApiClosed { reason: None },
            Cause::Terminated { by: "ops".into(), reason: Some("维护".into()) },
            Cause::Deleted,
        ] {
            let sent = EndOrder { session: "alice-web-1-abc".into(), cause: OrderedCause::of(&cause).unwrap() };
            let received = parse(serde_json::to_string(&sent).unwrap().as_bytes()).unwrap();
            assert_eq!((received.session, Cause::from(received.cause)), (sent.session, cause));
        }
        assert_eq!(OrderedCause::of(&Cause::GatewayLost), None);
        assert_eq!(parse(b"{}"), None);
    }
}
