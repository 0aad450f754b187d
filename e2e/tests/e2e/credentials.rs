//! A gateway whose credentials the API server refuses: lost, though it runs.

use std::time::Duration;

use axum::http::StatusCode;
use bastion_operator::api::{Phase, Reason};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use bastion_e2e::http::get;
use bastion_e2e::redis::RedisServer;
use bastion_e2e::{
    ApiProxy, Bastion, ControlPlane, Controller, Fault, Gateway, LOST_GATEWAY, Setting, default_timeout, eventually,
    stretched,
};

/// How long a token is accepted after its Pod is gone, until it has been refused for long enough, with a margin.
const REVOKED: Duration = Duration::from_secs(45);

#[tokio::test]
async fn a_gateway_whose_pod_is_deleted_by_force_ends_its_sessions() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let mut alice = bastion.open("alice").await;
    let now = DeleteParams::default().grace_period(0);
    bastion.namespace.api::<Pod>().delete("gateway-0", &now).await.expect("the Pod");
    bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
    let outcome = alice.ssh.finish(stretched(REVOKED)).await;
    assert!(outcome.stderr.contains("this gateway was cut off from the cluster"), "{outcome:?}");
    let refused = bastion.ssh("alice:web-1").await.command("true").run().await;
    assert_ne!(refused.code, Some(0), "nobody gets in: {refused:?}");
    eventually(default_timeout(), "the Service sends nobody there", async || {
        match get(bastion.gateway.http, "/readyz").await.0 {
            503 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

/// Redis keeps the gateway alive in the eyes of the controllers, so the gateway itself must see that it is lost.
#[tokio::test]
async fn a_gateway_that_is_refused_by_the_api_and_heard_by_redis_ends_its_sessions() {
    let (redis, api) = (RedisServer::start().await, ApiProxy::to(&*ControlPlane::shared().await).await);
    let bastion = Bastion::with_users(&["bob"]).await;
    let with_redis = Setting { env: redis.environment(), ..Setting::default() };
    let setting = Setting { api: Some(&api), ..with_redis.clone() };
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _controller = Controller::start_in(&bastion.namespace, "controller-0", &with_redis).await;
    let (mut alice, mut bob) = tokio::join!(bastion.open_on(&gateway, "alice", "web-1"), bastion.open("bob"));
    api.answer(Fault::Answer { status: StatusCode::UNAUTHORIZED, retry_after: None });
    let end = bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
    let message = end.session.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains("ended its sessions itself"), "{message}");
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("this gateway was cut off from the cluster"), "{outcome:?}");
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    api.forward();
    bastion.open_on(&gateway, "alice", "web-1").await;
}
