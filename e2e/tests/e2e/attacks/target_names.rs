//! A user who guesses the names of targets, and looks at the time that the answer takes.

use std::time::{Duration, Instant};

use serde_json::json;

use bastion_e2e::{Bastion, weight};

/// How many times each name is tried. The fastest try of each counts, which a busy machine delays least.
const TRIES: usize = 10;
/// The answers take half a second at least.
const LEAST: Duration = Duration::from_millis(500);

/// How long it takes to be refused.
async fn refusal(bastion: &Bastion, target: &str) -> Duration {
    let began = Instant::now();
    let outcome = bastion.ssh(&format!("mallory:{target}")).await.command("true").run().await;
    assert!(outcome.stderr.contains("that you may use"), "{outcome:?}");
    began.elapsed()
}

#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_whether_a_target_exists() {
    let _held = weight::take(1).await;
    let groups: Vec<String> = (0..32).map(|number| format!("group-{number}")).collect();
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.user_with("mallory", json!({"groups": []})).await;
        namespace.target_with("secret", sshd, json!({"groups": groups})).await;
    })
    .await;
    let (mut exists, mut does_not) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        exists = exists.min(refusal(&bastion, "secret").await);
        does_not = does_not.min(refusal(&bastion, "made-up").await);
    }
    assert!(exists > LEAST && does_not > LEAST, "{exists:?} and {does_not:?}");
    let difference = exists.abs_diff(does_not);
    assert!(difference < Duration::from_millis(50), "{exists:?} and {does_not:?}");
}
