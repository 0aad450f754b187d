//! The exponential backoff of the mirror.

use std::time::Duration;

use tokio::time::Instant;

const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// An exponential backoff: the time of the next attempt, and the pause after the next failure.
pub struct Backoff {
    /// The time of the next attempt.
    pub not_before: Instant,
    pause: Duration,
}

impl Backoff {
    /// Creates a backoff that allows the first attempt at once.
    pub fn new() -> Self {
        Self { not_before: Instant::now(), pause: MIN_PAUSE }
    }

    /// Returns whether an attempt is allowed now.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.not_before
    }

    /// Resets the pause after a success.
    pub fn succeeded(&mut self) {
        self.pause = MIN_PAUSE;
    }

    /// Delays the next attempt. Each failure in a row doubles the pause, from 250 ms up to 10 s. Returns the pause.
    pub fn failed(&mut self) -> Duration {
        let pause = self.pause;
        self.not_before = Instant::now() + pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_failure_in_a_row_doubles_the_pause_up_to_a_limit() {
        let mut backoff = Backoff::new();
        assert!(backoff.is_due());
        let pauses: Vec<_> = (0..8).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!(!backoff.is_due());
        tokio::time::advance(MAX_PAUSE).await;
        assert!(backoff.is_due());
        backoff.succeeded();
        assert_eq!(backoff.failed(), MIN_PAUSE);
    }
}
