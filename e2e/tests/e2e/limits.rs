//! Sessions that run out of time.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Reason};
use serde_json::{Value, json};

use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::{Bastion, Open, PROMPT_BOUND, default_timeout};

async fn with_limits(limits: Value) -> Bastion {
    Bastion::with(async |namespace, sshd| namespace.target_with("web-1", sshd, json!({"limits": limits})).await).await
}

/// How long the session lasted, as its own times say.
fn seconds(session: &BastionSession) -> f64 {
    let end = session.status.as_ref().and_then(|status| status.end_time.clone()).expect("an endTime");
    end.0.duration_since(session.spec.start_time.0).as_secs_f64()
}

#[tokio::test]
async fn a_user_who_types_nothing_runs_into_the_idle_limit_although_the_target_writes() {
    let bastion = with_limits(json!({"idleSeconds": 2})).await;
    let mut ssh = bastion.ssh("alice:web-1").await.command("while echo tick; do sleep 0.2; done").start().await;
    ssh.shows("tick").await;
    let session = bastion.watch.started("alice").await;
    assert_eq!(session.spec.limits.and_then(|limits| limits.idle_seconds), Some(2), "the session carries its limits");
    let end = bastion.watch.ended_within(default_timeout(), &session, Reason::IdleTimeout).await;
    let lasted = seconds(&end.session);
    assert!((2.0..4.0).contains(&lasted), "it lasted {lasted} s");
    let outcome = ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("bastion: "), "the user reads why: {outcome:?}");
}

#[tokio::test]
async fn a_user_who_types_does_not_run_into_the_idle_limit() {
    let bastion = with_limits(json!({"idleSeconds": 2})).await;
    let mut open = bastion.open("alice").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        open.still_answers().await;
    }
    let Open { mut ssh, session } = open;
    ssh.say("exit").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    assert!(seconds(&end.session) >= 5.0, "it lasted {} s", seconds(&end.session));
}

#[tokio::test]
async fn a_session_ends_at_its_longest_duration_though_its_user_types() {
    let bastion = with_limits(json!({"maxSeconds": 3})).await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    ssh.say("while echo tick; do sleep 0.2; done").await;
    let end = bastion.watch.ended_within(default_timeout(), &session, Reason::MaxDuration).await;
    let lasted = seconds(&end.session);
    assert!((3.0..5.0).contains(&lasted), "it lasted {lasted} s");
    let outcome = ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("bastion: "), "the user reads why: {outcome:?}");
}

#[tokio::test]
async fn of_the_limits_of_user_and_target_the_stricter_ones_hold() {
    let bastion = Bastion::with(async |namespace, sshd| {
        let limits = json!({"idleSeconds": 2, "maxSeconds": 900});
        namespace.user_with("guest", json!({"groups": [PEOPLE], "limits": limits})).await;
        let limits = json!({"idleSeconds": 600, "maxSeconds": 300});
        namespace.target_with("strict", sshd, json!({"limits": limits})).await;
    })
    .await;
    let open = bastion.open_on(&bastion.gateway, "guest", "strict").await;
    let limits = open.session.spec.limits.expect("limits");
    assert_eq!((limits.idle_seconds, limits.max_seconds), (Some(2), Some(300)));
    bastion.watch.ended_within(default_timeout(), &open.session, Reason::IdleTimeout).await;
}
