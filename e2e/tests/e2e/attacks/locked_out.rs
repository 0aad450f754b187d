//! Attempts that are locked out, which must not cost what they would cost otherwise.

use std::sync::Arc;

use futures::future::join_all;
use russh::client::{self, KeyboardInteractiveAuthResponse};

use crate::second_factors::add_user;
use bastion_e2e::proc::stat;
use bastion_e2e::russh_client::Trusting;
use bastion_e2e::{Bastion, Setting, weight};

/// How many attempts lock out: those of two connections.
const LIMIT: usize = 12;
/// How many attempts one connection has.
const ATTEMPTS: usize = 6;

/// The time that the gateway has used of processor cores, in ticks of 10 ms.
fn cpu(bastion: &Bastion) -> u64 {
    let stat = stat(bastion.gateway.process.pid().as_raw()).expect("it runs");
    stat[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Tries a wrong password as often as a connection may.
async fn guess(bastion: &Bastion) {
    let config = Arc::new(client::Config::default());
    let mut client = client::connect(config, bastion.gateway.address, Trusting).await.expect("a connection");
    for _ in 0..ATTEMPTS {
        let Ok(asked) = client.authenticate_keyboard_interactive_start("paula:web-1", None).await else { return };
        assert!(matches!(asked, KeyboardInteractiveAuthResponse::InfoRequest { .. }), "{asked:?}");
        // The connection ends with its last attempt.
        let _ = client.authenticate_keyboard_interactive_respond(vec!["wrong".to_owned()]).await;
    }
}

async fn cost_of_guesses(bastion: &Bastion) -> u64 {
    let before = cpu(bastion);
    join_all((0..LIMIT / ATTEMPTS).map(|_| guess(bastion))).await;
    cpu(bastion) - before
}

#[tokio::test]
async fn attempts_that_are_locked_out_hash_nothing() {
    let _held = weight::take(1).await;
    let setting = Setting { env: vec![("BASTION_LOCK_OUT_AFTER", LIMIT.to_string().into())], ..Setting::default() };
    let bastion =
        Bastion::in_setting(&setting, async |namespace, _| add_user(namespace, "paula", &["password"]).await).await;
    let hashed = cost_of_guesses(&bastion).await;
    let locked_out = cost_of_guesses(&bastion).await;
    let refused = bastion.gateway.metric("bastion_sign_ins_refused_total{reason=\"locked_out\"}").await;
    assert_eq!(refused, LIMIT);
    assert!(2 * locked_out < hashed, "{locked_out} ticks for locked-out attempts, {hashed} for the others");
}
