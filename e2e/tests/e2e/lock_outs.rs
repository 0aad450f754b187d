//! Wrong passwords lock out the right user and address for the right time, and no other.

use bastion_operator::api::BastionSession;
use kube::api::ListParams;

use crate::second_factors::{PASSWORD, add_user, assert_in, assert_kept_out};
use bastion_e2e::redis::RedisServer;
use bastion_e2e::run::Run;
use bastion_e2e::ssh::Answers;
use bastion_e2e::{Bastion, Gateway, Outcome, Setting, default_timeout, eventually};

async fn bastion(mut env: Vec<(&'static str, std::ffi::OsString)>) -> (Bastion, Setting<'static>) {
    env.push(("BASTION_LOCK_OUT_AFTER", "3".into()));
    let setting = Setting { env, ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        add_user(namespace, "paula", &["password"]).await;
        add_user(namespace, "peter", &["password"]).await;
        add_user(namespace, "karla", &["publickey", "password"]).await;
    })
    .await;
    (bastion, setting)
}

async fn sign_in(gateway: &Gateway, user: &str, from: &str, password: &str) -> Outcome {
    let ssh = gateway.ssh(&format!("{user}:web-1")).await.set(&format!("BindAddress={from}"));
    ssh.answering(&Answers::new(password, "").await).command("echo through").run().await
}

#[tokio::test]
async fn a_user_is_locked_out_at_the_address_of_the_wrong_passwords_alone() {
    let (bastion, _) = bastion(Vec::new()).await;
    let gateway = &bastion.gateway;
    for _ in 0..3 {
        assert_kept_out(&sign_in(gateway, "paula", "127.0.0.1", "wrong").await);
    }
    assert_kept_out(&sign_in(gateway, "paula", "127.0.0.1", PASSWORD).await);
    assert_in(&sign_in(gateway, "paula", "127.0.0.2", PASSWORD).await);
    assert_in(&sign_in(gateway, "peter", "127.0.0.1", PASSWORD).await);
    assert_in(&bastion.ssh("alice:web-1").await.command("echo through").run().await);
    assert!(gateway.process.stderr().contains("locked out for a while"), "the log says so");
    let sessions = bastion.namespace.api::<BastionSession>().list(&ListParams::default()).await.expect("sessions");
    assert_eq!(sessions.items.len(), 3);
}

#[tokio::test]
async fn a_user_who_must_show_a_key_first_is_locked_out_by_nobody_who_has_none() {
    let limits = vec![("BASTION_LOCK_OUT_USER_AFTER", "3".into()), ("BASTION_LOCK_OUT_ADDRESS_AFTER", "10".into())];
    let (bastion, _) = bastion(limits).await;
    let gateway = &bastion.gateway;
    let wrong = &Run::get().await.wrong_key.path;
    let stranger = async |user: &str| {
        let ssh = gateway.ssh(&format!("{user}:web-1")).await.key(wrong);
        let answers = Answers::new("wrong", "").await;
        assert_kept_out(&ssh.answering(&answers).command("true").run().await);
        assert_eq!(answers.asked().len(), 1, "a question is open to every name");
    };
    let signs_in = async |password| sign_in(gateway, "karla", "127.0.0.1", password).await;
    for _ in 0..4 {
        stranger("karla").await;
    }
    assert_in(&signs_in(PASSWORD).await);
    // Wrong passwords count for a client that has her key.
    for _ in 0..3 {
        assert_eq!(signs_in("wrong").await.code, Some(255));
    }
    assert_eq!(signs_in(PASSWORD).await.code, Some(255));
    // The address has had six of its ten. An unknown name costs it three, as hers did, and no more.
    for _ in 0..4 {
        stranger("nobody").await;
    }
    assert_in(&sign_in(gateway, "peter", "127.0.0.1", PASSWORD).await);
    stranger("stranger").await;
    assert_kept_out(&sign_in(gateway, "peter", "127.0.0.1", PASSWORD).await);
    assert_in(&sign_in(gateway, "peter", "127.0.0.2", PASSWORD).await);
}

#[tokio::test]
async fn a_lock_out_passes() {
    let (bastion, _) = bastion(vec![("BASTION_LOCK_OUT_TIME", "8s".into())]).await;
    for _ in 0..3 {
        assert_kept_out(&sign_in(&bastion.gateway, "paula", "127.0.0.1", "wrong").await);
    }
    eventually(default_timeout(), "the lock-out passes", async || {
        let outcome = sign_in(&bastion.gateway, "paula", "127.0.0.1", PASSWORD).await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
}

#[tokio::test]
async fn gateways_share_lock_outs_through_redis_and_go_on_without_it() {
    let mut redis = RedisServer::start().await;
    let (bastion, setting) = bastion(redis.environment()).await;
    let other = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    for _ in 0..3 {
        assert_kept_out(&sign_in(&bastion.gateway, "paula", "127.0.0.1", "wrong").await);
    }
    assert_kept_out(&sign_in(&other, "paula", "127.0.0.1", PASSWORD).await);
    redis.kill().await;
    assert_in(&sign_in(&other, "paula", "127.0.0.1", PASSWORD).await);
    assert_kept_out(&sign_in(&bastion.gateway, "paula", "127.0.0.1", PASSWORD).await);
}

#[tokio::test]
async fn what_a_gateway_refuses_by_its_own_count_is_not_counted_for_all() {
    let mut redis = RedisServer::start().await;
    let (bastion, setting) = bastion(redis.environment()).await;
    for _ in 0..3 {
        assert_kept_out(&sign_in(&bastion.gateway, "paula", "127.0.0.1", "wrong").await);
    }
    redis.kill().await;
    redis.start_again().await;
    let other = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    // The gateway uses the new Redis once a sign-in that it accepts is counted there.
    eventually(default_timeout(), "the gateway counts in the new Redis", async || {
        assert_in(&sign_in(&bastion.gateway, "peter", "127.0.0.1", PASSWORD).await);
        let known = redis.ask::<Vec<String>>(&["KEYS", "sign-in:known:peter@*"]).await?;
        if known.is_empty() { Err("nothing is counted".to_owned()) } else { Ok(()) }
    })
    .await;
    for _ in 0..3 {
        assert_kept_out(&sign_in(&bastion.gateway, "paula", "127.0.0.1", PASSWORD).await);
    }
    assert_eq!(redis.ask(&["KEYS", "sign-in:failed:*paula*"]).await, Ok(Vec::<String>::new()));
    assert_in(&sign_in(&other, "paula", "127.0.0.1", PASSWORD).await);
}
