//! Redis as the second witness, as the way of orders, and as the place of hot state; and Redis gone wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, ObservedBy, Phase, Reason};
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::redis::{RedisServer, environment_for};
use bastion_e2e::refusal::assert_let_through;
use bastion_e2e::{
    Bastion, ControlPlane, Controller, Gateway, LOST_GATEWAY, Open, PROMPT_BOUND, Relay, Setting, default_timeout,
    eventually, metric, throughout,
};

/// For longer than a gateway may be silent.
const LONG_SILENCE: Duration = Duration::from_secs(22);

fn with_redis(redis: &RedisServer) -> Setting<'static> {
    Setting { env: redis.environment(), ..Setting::default() }
}

/// A bastion whose second gateway and whose controllers have Redis, and alice's session on that gateway.
async fn with_a_witness(redis: &RedisServer) -> (Bastion, Gateway, Controller, Open) {
    let bastion = Bastion::with_users(&["bob"]).await;
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &with_redis(redis)).await;
    let controller = Controller::start_in(&bastion.namespace, "controller-0", &with_redis(redis)).await;
    let alice = bastion.open_on(&gateway, "alice", "web-1").await;
    (bastion, gateway, controller, alice)
}

/// What Redis has of a session.
async fn hot_state(redis: &RedisServer, session: &BastionSession) -> HashMap<String, String> {
    redis.ask(&["HGETALL", &key(session)]).await.expect("an answer")
}

fn key(session: &BastionSession) -> String {
    format!("session:{}", session.uid().expect("a uid"))
}

#[tokio::test]
async fn the_hot_state_of_a_session_follows_it_and_goes_with_it() {
    let redis = RedisServer::start().await;
    let (bastion, gateway, ..) = with_a_witness(&redis).await;
    let ssh = gateway.ssh("bob:web-1").await.terminal().start_in_terminal(33, 101).await;
    let Open { mut ssh, session } = bastion.opened(ssh, "bob").await;
    let said = eventually(PROMPT_BOUND, "the size of the window is there", async || {
        let state = hot_state(&redis, &session).await;
        if state.get("columns").map(String::as_str) == Some("101") { Ok(state) } else { Err(format!("{state:?}")) }
    })
    .await;
    assert_eq!(said["rows"], "33");
    let kept: i64 = redis.ask(&["TTL", &key(&session)]).await.expect("an answer");
    assert!((1..=30).contains(&kept), "it is kept for {kept} s");
    ssh.say("true").await;
    eventually(PROMPT_BOUND, "later input and more bytes", async || {
        let state = hot_state(&redis, &session).await;
        let more = |field: &str| state[field].parse::<u64>().ok() > said[field].parse::<u64>().ok();
        let later = state["lastInputTime"] > said["lastInputTime"];
        if later && more("bytesIn") && more("bytesOut") { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    ssh.say("exit").await;
    bastion.watch.ended_within(PROMPT_BOUND, &session, Reason::UserExit).await;
    eventually(PROMPT_BOUND, "the key is gone", async || {
        let state = hot_state(&redis, &session).await;
        if state.is_empty() { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
}

/// The gateway is cut off from the API server, and one of the controllers from Redis: what the other one hears is enough.
/// An order reaches the gateway all the same.
#[tokio::test]
async fn a_gateway_that_only_redis_hears_keeps_its_sessions_and_obeys() {
    let redis = RedisServer::start().await;
    let api = Relay::to(ControlPlane::shared().await.api_address()).await;
    let no_redis = Relay::to(([127, 0, 0, 1], redis.port).into()).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let setting = Setting { api: Some(&api), ..with_redis(&redis) };
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _hears = Controller::start_in(&bastion.namespace, "controller-0", &with_redis(&redis)).await;
    let deaf = Setting { env: environment_for(no_redis.address.port()), ..Setting::default() };
    let _deaf = Controller::start_in(&bastion.namespace, "controller-1", &deaf).await;
    let (mut alice, mut bob) =
        tokio::join!(bastion.open_on(&gateway, "alice", "web-1"), bastion.open_on(&gateway, "bob", "web-1"));
    no_redis.cut();
    api.cut();
    throughout(2 * LONG_SILENCE, async || {
        alice.still_answers().await;
        assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    })
    .await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    let name = alice.session.name_any();
    let patched = bastion.namespace.patch_session(&bastion.namespace.admin(), &name, termination).await;
    assert_let_through("the termination", patched);
    let outcome = alice.ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("terminated by admin: maintenance"), "{outcome:?}");
    // The gateway cannot write it; a controller does, once it has waited for long enough.
    let end = bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::AdminTerminated).await;
    assert_eq!(end.session.status.expect("a status").observed_by, Some(ObservedBy::Controller));
    api.restore();
    bob.still_answers().await;
    let again = eventually(default_timeout(), "alice gets in again", async || {
        let outcome = gateway.ssh("alice:web-1").await.command("true").run().await;
        if outcome.code == Some(0) { Ok(bastion.watch.started("alice").await) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    assert_eq!(again.spec.gateway.instance, bob.session.spec.gateway.instance, "the gateway is the same");
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_from_both_ends_its_sessions_before_anybody_calls_them_dead() {
    let redis = RedisServer::start().await;
    let api = Relay::to(ControlPlane::shared().await.api_address()).await;
    let to_redis = Relay::to(([127, 0, 0, 1], redis.port).into()).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let env = environment_for(to_redis.address.port());
    let setting = Setting { api: Some(&api), env, ..Setting::default() };
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _controller = Controller::start_in(&bastion.namespace, "controller-0", &with_redis(&redis)).await;
    let (mut alice, mut bob) = tokio::join!(bastion.open_on(&gateway, "alice", "web-1"), bastion.open("bob"));
    let cut = Instant::now();
    api.cut();
    to_redis.cut();
    let outcome = alice.ssh.finish(LOST_GATEWAY).await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active, "it is the gateway that ends it first");
    assert!(outcome.stderr.contains("this gateway was cut off from the cluster"), "{outcome:?}");
    let left = LOST_GATEWAY.saturating_sub(cut.elapsed());
    bastion.watch.ended_within(left, &alice.session, Reason::GatewayLost).await;
    api.restore();
    to_redis.restore();
    eventually(default_timeout(), "it begins a new life, in which alice gets in", async || {
        let outcome = gateway.ssh("alice:web-1").await.command("true").run().await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    bob.still_answers().await;
}

#[tokio::test]
async fn an_order_that_nobody_gave_in_the_cluster_is_ignored() {
    let redis = RedisServer::start().await;
    let (bastion, gateway, _controller, mut alice) = with_a_witness(&redis).await;
    let channel = format!("orders:{}", alice.session.spec.gateway.instance);
    let forged =
        json!({"session": alice.session.name_any(), "cause": {"type": "terminated", "by": "admin"}}).to_string();
    eventually(default_timeout(), "the gateway has heard the order", async || {
        let heard: i64 = redis.ask(&["PUBLISH", &channel, &forged]).await?;
        let noticed = gateway.process.stderr().contains("the session's object requests no end");
        if heard == 1 && noticed { Ok(()) } else { Err(format!("{heard} heard it, noticed: {noticed}")) }
    })
    .await;
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
}

/// How long a session takes from the start of `ssh` to its end, with Redis and without: the shortest of several in turn.
async fn shortest_sessions(with_redis: &Gateway, without: &Gateway) -> [Duration; 2] {
    let gateways = [with_redis, without];
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (gateway, shortest) in gateways.iter().zip(&mut shortest) {
            let start = Instant::now();
            let outcome = gateway.ssh("bob:web-1").await.command("true").run().await;
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            *shortest = (*shortest).min(start.elapsed());
        }
    }
    shortest
}

#[tokio::test]
async fn redis_frozen_flushed_full_or_killed_ends_no_session_and_holds_up_none() {
    let mut redis = RedisServer::start().await;
    let (bastion, gateway, _controller, mut alice) = with_a_witness(&redis).await;
    redis.freeze().await;
    let frozen = shortest_sessions(&gateway, &bastion.gateway).await;
    throughout(LONG_SILENCE, async || alice.still_answers().await).await;
    redis.thaw();
    let () = redis.ask(&["FLUSHALL"]).await.expect("an answer");
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("an answer");
    let full = shortest_sessions(&gateway, &bastion.gateway).await;
    throughout(LONG_SILENCE, async || alice.still_answers().await).await;
    redis.kill().await;
    let killed = shortest_sessions(&gateway, &bastion.gateway).await;
    throughout(LONG_SILENCE, async || alice.still_answers().await).await;
    redis.start_again().await;
    eventually(default_timeout(), "the gateway shows itself again", async || {
        let keys: Vec<String> = redis.ask(&["KEYS", "gateway:*"]).await?;
        if keys.len() == 1 { Ok(()) } else { Err(format!("{keys:?}")) }
    })
    .await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    for (how, [took, without]) in [("frozen", frozen), ("full", full), ("killed", killed)] {
        assert!(took <= 2 * without, "{how}: a session took {took:?}, and without Redis {without:?}");
    }
}

#[tokio::test]
async fn the_sessions_of_a_killed_gateway_end_in_time_though_redis_stands_still_and_goes_on_meanwhile() {
    let redis = RedisServer::start().await;
    let (bastion, gateway, _controller, alice) = with_a_witness(&redis).await;
    redis.freeze().await;
    let killed = Instant::now();
    // Its next sign of life may wait in the server's socket.
    throughout(Duration::from_secs(6), async || ()).await;
    gateway.process.signal(Signal::SIGKILL);
    throughout(Duration::from_secs(15), async || ()).await;
    redis.thaw();
    let left = (LOST_GATEWAY + Duration::from_secs(6)).saturating_sub(killed.elapsed());
    bastion.watch.ended_within(left, &alice.session, Reason::GatewayLost).await;
}

#[tokio::test]
async fn the_password_of_redis_is_read_from_a_file_and_may_change() {
    let redis = RedisServer::start().await;
    let bastion = Bastion::up().await;
    let file = bastion.namespace.dir.join("redis-password");
    std::fs::write(&file, "first-secret\n").expect("a file");
    let () = redis.ask(&["CONFIG", "SET", "requirepass", "first-secret"]).await.expect("an answer");
    let mut setting = with_redis(&redis);
    setting.env.push(("BASTION_REDIS_PASSWORD_FILE", file.clone().into()));
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let shows_itself = async |password: &str| {
        eventually(default_timeout(), "the gateway shows itself", async || {
            let keys: Vec<String> = redis.ask_with(Some(password), &["KEYS", "gateway:*"]).await?;
            if keys.is_empty() { Err("no key".to_owned()) } else { Ok(()) }
        })
        .await;
    };
    shows_itself("first-secret").await;
    std::fs::write(&file, "second-secret\n").expect("a file");
    let first = Some("first-secret");
    let () = redis.ask_with(first, &["FLUSHALL"]).await.expect("an answer");
    let () = redis.ask_with(first, &["CONFIG", "SET", "requirepass", "second-secret"]).await.expect("an answer");
    let _: i64 = redis
        .ask_with(Some("second-secret"), &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await
        .expect("an answer");
    shows_itself("second-secret").await;
    let log = gateway.process.stderr();
    assert!(!log.contains("-secret"), "a password is in the log: {log}");
}

#[tokio::test]
async fn a_redis_whose_name_does_not_resolve_harms_nothing() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let nowhere = [("BASTION_REDIS_URL", "redis://redis.invalid:6379".into())];
    let setting = Setting { env: nowhere.into(), ..Setting::default() };
    let gateway = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let controller = Controller::start_in(&bastion.namespace, "controller-0", &setting).await;
    let (mut alice, mut bob) =
        tokio::join!(bastion.open_on(&gateway, "alice", "web-1"), bastion.open_on(&gateway, "bob", "web-1"));
    alice.ssh.say("exit").await;
    bastion.watch.ended_within(PROMPT_BOUND, &alice.session, Reason::UserExit).await;
    throughout(LONG_SILENCE, async || {
        bob.still_answers().await;
        assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    })
    .await;
    let failures = metric(controller.http, r#"bastion_redis_failures_total{operation="look"}"#).await;
    assert!(failures > Some(0.0), "{failures:?}");
    gateway.process.signal(Signal::SIGKILL);
    bastion.watch.ended_within(LOST_GATEWAY, &bob.session, Reason::GatewayLost).await;
}
