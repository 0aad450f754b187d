//! Ends of sessions whose gateway reaches Redis, but not the API server.

use bastion_operator::api::{BastionSession, ObservedBy, Phase, Reason};
use bastion_operator::lifecycle::{Cause, End};
use bastion_operator::redis::reported_ends::EndSigner;
use jiff::Timestamp;
use kube::ResourceExt;

use bastion_e2e::redis::RedisServer;
use bastion_e2e::{
    Bastion, ControlPlane, Controller, Gateway, LOST_GATEWAY, Open, PROMPT_BOUND, Relay, Setting, default_timeout,
    eventually, metric,
};

/// A gateway that reaches the API server through a relay, a controller, and sessions of alice and bob on that gateway. All have
/// Redis.
struct CutOff {
    bastion: Bastion,
    gateway: Gateway,
    controller: Controller,
    api: Relay,
    redis: RedisServer,
    alice: Open,
    bob: Open,
}

async fn cut_off() -> CutOff {
    let redis = RedisServer::start().await;
    let api = Relay::to(ControlPlane::shared().await.api_address()).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let with_redis = Setting { env: redis.environment(), ..Setting::default() };
    let setting = Setting { api: Some(&api), ..with_redis.clone() };
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let controller = Controller::start_in(&bastion.namespace, "controller-0", &with_redis).await;
    let (alice, bob) =
        tokio::join!(bastion.open_on(&gateway, "alice", "web-1"), bastion.open_on(&gateway, "bob", "web-1"));
    api.cut();
    CutOff { bastion, gateway, controller, api, redis, alice, bob }
}

#[tokio::test]
async fn an_exit_is_shown_while_only_redis_hears_the_gateway() {
    let CutOff { bastion, gateway, api, mut alice, mut bob, redis: _redis, controller: _controller } = cut_off().await;
    alice.ssh.say("exit 3").await;
    assert_eq!(alice.ssh.finish(PROMPT_BOUND).await.code, Some(3));
    let end = bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::UserExit).await;
    let status = end.session.status.clone().expect("a status");
    assert_eq!((status.observed_by, status.exit_code), (Some(ObservedBy::Controller), Some(3)));
    assert_eq!(status.last_seen_time, None, "the gateway saw the end itself");
    assert!(status.bytes_in.is_some_and(|bytes| bytes > 0), "{status:?}");
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);

    api.restore();
    eventually(default_timeout(), "the gateway has nothing left to write", async || {
        let (unwritten, refused) =
            (gateway.metric("bastion_unwritten_ends").await, gateway.metric("bastion_late_ends_refused_total").await);
        if (unwritten, refused) == (0, 1) { Ok(()) } else { Err(format!("{unwritten} unwritten, {refused} refused")) }
    })
    .await;
    let sessions = bastion.namespace.api::<BastionSession>();
    let kept = sessions.get(&alice.session.name_any()).await.expect("the session").status;
    assert_eq!(kept.expect("a status").end_time, status.end_time, "the first end stays");
    eventually(default_timeout(), "one Event tells of the end", async || {
        let events = bastion.namespace.events_of(&alice.session.name_any()).await;
        let ends = events.iter().filter(|(reason, _)| reason == "UserExit").count();
        if ends == 1 { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let again = bastion.open_on(&gateway, "alice", "web-1").await;
    assert_eq!(again.session.spec.gateway.instance, bob.session.spec.gateway.instance, "the gateway was not given up");
}

#[tokio::test]
async fn an_end_in_redis_that_the_gateway_did_not_sign_ends_no_session() {
    let CutOff { bastion, gateway: _gateway, controller, api: _api, redis, mut alice, .. } = cut_off().await;
    let instance = &alice.session.spec.gateway.instance;
    let uid = alice.session.uid().expect("a uid");
    let end = End::observed(Cause::TabClosed, Timestamp::now(), (0, 0));
    let forged = EndSigner::new(instance).expect("a key").sign(&uid, &end).expect("a report");
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", redis.port)).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut set = redis::cmd("SET");
    let set = set.arg(format!("end:{uid}")).arg(forged);
    let () = set.query_async(&mut connection).await.expect("an answer");
    let refused = r#"bastion_reported_ends_refused_total{cause="signature"}"#;
    eventually(default_timeout(), "the controller has refused it", async || {
        match metric(controller.http, refused).await {
            Some(count) if count >= 3.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
}
