//! The one way of waiting: ask again until a condition holds, or say what was seen instead.

use std::time::{Duration, Instant};

/// For what a gateway sees itself. The demo measures it; here it only tells "at once" from "by a timer".
pub const AT_ONCE: Duration = Duration::from_secs(8);

/// For what must happen, at whatever speed a busy machine has.
pub const PATIENCE: Duration = Duration::from_secs(30);

const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(25);

/// Asks until the answer is `Ok`; panics with the last `Err`, which says what was seen, once the deadline has passed.
pub async fn eventually<T>(deadline: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > deadline => panic!("{what}: not within {deadline:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
        }
    }
}

/// Lets this much time pass, where that is what a test is about, and looks every second whether all is well.
pub async fn throughout(time: Duration, mut look: impl AsyncFnMut()) {
    let start = Instant::now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while start.elapsed() < time {
        seconds.tick().await;
        look().await;
    }
}
