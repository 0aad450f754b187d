//! Redis in an attacker's hands, who writes what counts, orders, heartbeats and hot state are read from.
//!
//! Forged orders are in `redis`, forged ends in `reported_ends`, and a Redis that answers slowly, wrongly or not at all in `redis`
//! and `lock_outs`.

use std::time::Duration;

use ::redis::Value;
use axum::http::StatusCode;
use bastion_operator::api::Phase;
use kube::ResourceExt;
use serde_json::json;

use bastion_e2e::redis::RedisServer;
use bastion_e2e::ssh::Answers;
use bastion_e2e::{
    Bastion, Console, ConsoleApi, Controller, Outcome, Setting, default_timeout, eventually, throughout,
};

use crate::second_factors::{PASSWORD, add_user, assert_in, assert_kept_out};

/// How long a gateway without heartbeats would be alive.
const LONG_SILENCE: Duration = Duration::from_secs(22);

async fn bastion(redis: &RedisServer) -> Bastion {
    let mut env = redis.environment();
    env.push(("BASTION_LOCK_OUT_AFTER", "3".into()));
    Bastion::in_setting(&Setting { env, ..Setting::default() }, async |namespace, _| {
        add_user(namespace, "paula", &["password"]).await;
    })
    .await
}

async fn ask(redis: &RedisServer, words: &[&str]) {
    let _: Value = redis.ask(words).await.expect("an answer");
}

async fn sign_in(bastion: &Bastion, password: &str) -> Outcome {
    let answers = Answers::new(password, "").await;
    bastion.ssh("paula:web-1").await.answering(&answers).command("echo through").run().await
}

/// The attacker resets the counts, or makes them unreadable, so as to guess on. The gateway's own counts hold.
#[tokio::test]
async fn counts_that_somebody_forges_in_redis_let_nobody_guess_on() {
    let redis = RedisServer::start().await;
    let bastion = bastion(&redis).await;
    let keys = ["sign-in:failed:both:paula@127.0.0.1", "sign-in:failed:user:paula", "sign-in:failed:address:127.0.0.1"];
    for forged in ["-1000000", "never", ""] {
        for key in keys {
            ask(&redis, &["SET", key, forged]).await;
        }
        assert_kept_out(&sign_in(&bastion, "wrong").await);
    }
    for key in keys {
        ask(&redis, &["DEL", key]).await;
        ask(&redis, &["RPUSH", key, "a list"]).await;
    }
    assert_kept_out(&sign_in(&bastion, PASSWORD).await);
    assert!(bastion.gateway.process.stderr().contains("locked out for a while"), "three wrong passwords lock out");
    // Those who have not guessed get in, whatever is there.
    assert_in(&bastion.ssh("alice:web-1").await.command("echo through").run().await);
}

/// Orders of any form, at the gateway that can ask the API server about them.
#[tokio::test]
async fn malformed_orders_and_hot_state_end_no_session_and_break_no_list() {
    let redis = RedisServer::start().await;
    let bastion = bastion(&redis).await;
    let with_redis = Setting { env: redis.environment(), ..Setting::default() };
    let console = Console::start_in(&bastion.namespace, "console-0", &with_redis).await;
    let viewer = ConsoleApi::new(&console, Some(&bastion.namespace.viewer().await)).await;
    let mut alice = bastion.open("alice").await;
    let (name, uid) = (alice.session.name_any(), alice.session.uid().expect("a uid"));
    let orders = format!("orders:{}", alice.session.spec.gateway.instance);
    eventually(default_timeout(), "the gateway listens for orders", async || {
        match redis.ask::<i64>(&["PUBLISH", &orders, ""]).await? {
            1 => Ok(()),
            listeners => Err(format!("{listeners} listeners")),
        }
    })
    .await;
    let order = |session: &str, cause| json!({"session": session, "cause": cause}).to_string();
    for payload in [
        "null".to_owned(),
        "[".repeat(100_000),
        "\u{1b}]0;evil\u{7}".to_owned(),
        "x".repeat(4 << 20),
        order("../../nodes", json!({"type": "deleted"})),
        order(&name, json!({"type": "deleted"})),
        order(&name, json!({"type": "closed", "reason": "\u{1b}[2J"})),
        order(&name, json!({"type": "gatewayLost"})),
    ] {
        ask(&redis, &["PUBLISH", &orders, &payload]).await;
    }
    let hot = format!("session:{uid}");
    for [time, bytes] in [["\u{1b}[2J", "1"], ["2026-01-02T03:04:05Z", "9223372036854775807"], ["", "-1"], ["x", "x"]] {
        ask(&redis, &["HSET", &hot, "lastInputTime", time, "bytesIn", bytes, "bytesOut", bytes]).await;
        let listed = viewer.get("/api/v1/sessions").await;
        assert_eq!(listed.status, StatusCode::OK, "{time:?} {bytes:?}");
        assert!(listed.body.to_string().contains(&name) && !listed.body.to_string().contains("[2J"), "{}", listed.body);
    }
    ask(&redis, &["DEL", &hot]).await;
    ask(&redis, &["SET", &hot, "no hash"]).await;
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK);
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    let log = bastion.gateway.process.stderr();
    assert!(!log.contains("panicked") && !log.contains('\u{1b}'), "{log}");
}

/// A gateway that reaches the API server is alive, whatever Redis says of its heartbeats and of its sessions.
#[tokio::test]
async fn forged_heartbeats_and_ends_end_no_session() {
    let redis = RedisServer::start().await;
    let bastion = bastion(&redis).await;
    let with_redis = Setting { env: redis.environment(), ..Setting::default() };
    let controller = Controller::start_in(&bastion.namespace, "controller-0", &with_redis).await;
    controller.is_ready().await;
    let mut alice = bastion.open("alice").await;
    let heartbeat = format!("gateway:{}", alice.session.spec.gateway.instance);
    let end = format!("end:{}", alice.session.uid().expect("a uid"));
    throughout(LONG_SILENCE, async || {
        for words in [
            ["SET", &heartbeat, "1"],
            ["SET", &heartbeat, "18446744073709551615"],
            ["SET", &heartbeat, "never"],
            ["SET", &end, "{\"cause\":\"deleted\"}"],
            ["SET", &end, &"x".repeat(1 << 20)],
        ] {
            ask(&redis, &words).await;
        }
    })
    .await;
    alice.still_answers().await;
    assert_eq!(bastion.watch.phase(&alice.session), Phase::Active);
    assert!(!controller.process.stderr().contains("panicked"));
    eventually(default_timeout(), "a later session is like any other", async || {
        let outcome = bastion.ssh("alice:web-1").await.command("echo through").run().await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
}
