//! The idle limit and the time limit of one session.

use std::time::{Duration, Instant};

use crate::api::Limits;
use crate::lifecycle::{LimitWatch, Verdict};

/// How long a session without limits waits for its next check.
const NO_LIMIT_CHECK_INTERVAL: Duration = Duration::from_hours(24);

/// Checks the limits of a session against its clock.
#[derive(Debug)]
pub struct Deadlines {
    started: Instant,
    limits: LimitWatch,
    next_check: Instant,
}

impl Deadlines {
    /// Starts the clock of a session at `started`.
    pub fn new(limits: Option<Limits>, started: Instant) -> Self {
        Self { started, limits: LimitWatch::new(limits), next_check: started }
    }

    /// Returns how long the session has lasted.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns when the next check of the limits is due.
    pub const fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Checks both limits at `now`, for a user who last sent something at `last_input`.
    pub fn check(&mut self, last_input: Instant, now: Instant) -> Verdict {
        let age = now.saturating_duration_since(self.started);
        let verdict = self.limits.check(age, now.saturating_duration_since(last_input));
        self.next_check = match &verdict {
            Verdict::Within(next) => now + next.unwrap_or(NO_LIMIT_CHECK_INTERVAL),
            // After a warning the next check is due at once: it finds the time of the end.
            Verdict::Warn(_) | Verdict::End(_) => now,
        };
        verdict
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lifecycle::Cause;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[rstest]
    #[case::idle_timeout(400, 100, Some(Cause::IdleTimeout(seconds(300))))]
    #[case::input_in_time(400, 390, None)]
    #[case::max_duration(3600, 3599, Some(Cause::MaxDuration(seconds(3600))))]
    #[case::neither(299, 0, None)]
    fn a_limit_ends_the_session(#[case] now: u64, #[case] last_input: u64, #[case] expected: Option<Cause>) {
        let start = Instant::now();
        let limits = Limits { idle_seconds: Some(300), max_seconds: Some(3600) };
        let verdict = Deadlines::new(Some(limits), start).check(start + seconds(last_input), start + seconds(now));
        let cause = if let Verdict::End(cause) = verdict { Some(cause) } else { None };
        assert_eq!(cause, expected);
    }

    #[test]
    fn the_next_check_is_the_warning_and_then_the_end() {
        let start = Instant::now();
        let limits = Limits { idle_seconds: Some(300), max_seconds: None };
        let mut deadlines = Deadlines::new(Some(limits), start);
        assert_eq!(deadlines.check(start, start), Verdict::Within(Some(seconds(240))));
        assert_eq!(deadlines.next_check(), start + seconds(240));
        assert!(matches!(deadlines.check(start, start + seconds(240)), Verdict::Warn(_)));
        assert_eq!(deadlines.next_check(), start + seconds(240));
        assert_eq!(deadlines.check(start, start + seconds(240)), Verdict::Within(Some(seconds(60))));
        assert_eq!(deadlines.next_check(), start + seconds(300));
    }
}
