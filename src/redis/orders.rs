//! Orders to end a session, which a controller sends through Redis to a gateway that may not see the API. An order
//! that is lost is sent again; the object keeps what was asked for.

use futures::{Stream, StreamExt, future};
use redis::pipe;
use serde::{Deserialize, Serialize};
use tokio::time::{interval, timeout};
use tracing::warn;

use super::link::{REDIS_TIMEOUT, RedisFailure, RedisLink};
use crate::lifecycle::{Cause, ORDER_EVERY, RENEW_RETRY};

/// An order to end one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndOrder {
    /// The session's name.
    pub session: String,
    /// Why.
    pub cause: OrderedCause,
}

/// For what somebody can ask that a session end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum OrderedCause {
    /// Its own user asked for it.
    Closed { reason: Option<String> },
    /// Somebody else did.
    Terminated { by: String, reason: Option<String> },
    /// Its object was deleted.
    Deleted,
}

impl OrderedCause {
    /// The part of `cause` that can be ordered; `None` for what nobody asks for.
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

/// Sends an order to an instance.
///
/// # Errors
/// When Redis refused it or did not answer. (Whether the gateway heard it, the session's object will show.)
pub async fn send(redis: &RedisLink, instance: &str, order: &EndOrder) -> Result<(), RedisFailure> {
    let Ok(order) = serde_json::to_string(order) else { return Ok(()) };
    let mut publish = pipe();
    publish.cmd("PUBLISH").arg(channel(instance)).arg(order).ignore();
    redis.ask("order", &publish).await
}

/// Hands each order for `instance` to `obey`, through all failures of Redis.
pub async fn follow(redis: &RedisLink, instance: &str, obey: impl Fn(EndOrder)) {
    loop {
        if let Ok((sink, messages)) = redis.subscribe(&channel(instance)).await {
            let orders = messages.filter_map(|message| future::ready(order(message.get_payload_bytes())));
            listen(sink, orders, &obey).await;
        }
        tokio::time::sleep(RENEW_RETRY).await;
    }
}

/// Listens until the connection is dead.
async fn listen(mut sink: redis::aio::PubSubSink, orders: impl Stream<Item = EndOrder>, obey: &impl Fn(EndOrder)) {
    let mut orders = std::pin::pin!(orders);
    let mut pings = interval(ORDER_EVERY);
    loop {
        tokio::select! {
            order = orders.next() => match order {
                Some(order) => obey(order),
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

fn order(payload: &[u8]) -> Option<EndOrder> {
    serde_json::from_slice(payload).inspect_err(|error| warn!(%error, "an order that cannot be read")).ok()
}

fn channel(instance: &str) -> String {
    format!("orders:{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        for cause in [
            Cause::ApiClosed { reason: None },
            Cause::Terminated { by: "ops".into(), reason: Some("维护".into()) },
            Cause::Deleted,
        ] {
            let sent = EndOrder { session: "alice-web-1-abc".into(), cause: OrderedCause::of(&cause).unwrap() };
            let heard = order(serde_json::to_string(&sent).unwrap().as_bytes()).unwrap();
            assert_eq!((heard.session, Cause::from(heard.cause)), (sent.session, cause));
        }
        assert_eq!(OrderedCause::of(&Cause::GatewayLost), None);
        assert_eq!(order(b"{}"), None);
    }
}
