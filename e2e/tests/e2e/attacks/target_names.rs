//! A user who guesses the names of targets, and looks at the time that the answer takes.

use std::time::{Duration, Instant};

use serde_json::json;

use bastion_e2e::{Bastion, weight};

/// How many times each name is tried.
const TRIES: usize = 7;
/// The answers take half a second at least.
const LEAST: Duration = Duration::from_millis(500);

async fn median(bastion: &Bastion, target: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let began = Instant::now();
        let outcome = bastion.ssh(&format!("mallory:{target}")).await.command("true").run().await;
        times.push(began.elapsed());
        assert!(outcome.stderr.contains("that you may use"), "{outcome:?}");
    }
    times.sort_unstable();
    times[TRIES / 2]
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
    let (exists, does_not) = (median(&bastion, "secret").await, median(&bastion, "made-up").await);
    assert!(exists > LEAST && does_not > LEAST, "{exists:?} and {does_not:?}");
    let difference = exists.abs_diff(does_not);
    assert!(difference < Duration::from_millis(50), "{exists:?} and {does_not:?}");
}
