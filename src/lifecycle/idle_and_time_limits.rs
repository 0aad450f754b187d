//! Decides when the limits of a session warn its user and when they end it.

use std::time::Duration;

use super::end::Cause;
use super::timeouts::LIMIT_WARNING;
use crate::api::Limits;

/// Watches the limits of one session.
#[derive(Debug)]
pub struct LimitWatch {
    idle: Option<Limit>,
    age: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    after: Duration,
    warned: bool,
}

/// The result of a check of the limits.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session is within its limits. The next check is due after this time; `None` if there are no limits.
    Within(Option<Duration>),
    /// The user must be shown this warning.
    Warn(String),
    /// The session has reached a limit and must end.
    End(Cause),
}

impl LimitWatch {
    /// Creates the watch of a session with these limits.
    pub fn new(limits: Option<Limits>) -> Self {
        let limits = limits.unwrap_or_default();
        let limit = |seconds: Option<i32>| {
            let after = Duration::from_secs(u64::try_from(seconds?).ok()?);
            Some(Limit { after, warned: false })
        };
        Self { idle: limit(limits.idle_seconds), age: limit(limits.max_seconds) }
    }

    /// Checks a session that has lasted for `age` and had no input for `idle`.
    pub fn check(&mut self, age: Duration, idle: Duration) -> Verdict {
        let mut next = None;
        for (limit, elapsed, kind) in [(&mut self.idle, idle, Kind::Idle), (&mut self.age, age, Kind::Age)] {
            let Some(limit) = limit else { continue };
            let Some(left) = limit.after.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                return Verdict::End(kind.cause(limit.after));
            };
            let lead = LIMIT_WARNING.min(limit.after / 2);
            if left > lead {
                limit.warned = false;
            } else if !limit.warned {
                limit.warned = true;
                return Verdict::Warn(kind.warning(left));
            }
            // The time until the warning, or, after the warning, until the end.
            let until = left.checked_sub(lead).filter(|until| !until.is_zero()).unwrap_or(left);
            next = Some(next.map_or(until, |other: Duration| other.min(until)));
        }
        Verdict::Within(next)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Idle,
    Age,
}

impl Kind {
    const fn cause(self, limit: Duration) -> Cause {
        match self {
            Self::Idle => Cause::IdleTimeout(limit),
            Self::Age => Cause::MaxDuration(limit),
        }
    }

    fn warning(self, left: Duration) -> String {
        let seconds = left.as_secs_f64().ceil();
        match self {
            Self::Idle => format!("bastion: this session ends in {seconds} seconds unless you type something"),
            Self::Age => format!("bastion: this session ends in {seconds} seconds, at its time limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watch(idle: Option<i32>, max: Option<i32>) -> LimitWatch {
        LimitWatch::new(Some(Limits { idle_seconds: idle, max_seconds: max }))
    }

    #[test]
    fn a_session_without_limits_needs_no_check() {
        assert_eq!(LimitWatch::new(None).check(secs(1_000_000), secs(1_000_000)), Verdict::Within(None));
    }

    #[test]
    fn an_idle_user_is_warned_once_and_input_resets_the_limit() {
        let mut watch = watch(Some(300), None);
        assert_eq!(watch.check(secs(0), secs(0)), Verdict::Within(Some(secs(240))));
        assert!(matches!(watch.check(secs(240), secs(240)), Verdict::Warn(text) if text.contains("60 seconds")));
        assert_eq!(watch.check(secs(241), secs(241)), Verdict::Within(Some(secs(59))));
        assert_eq!(watch.check(secs(250), secs(1)), Verdict::Within(Some(secs(239))));
        assert!(matches!(watch.check(secs(500), secs(250)), Verdict::Warn(_)));
        assert_eq!(watch.check(secs(550), secs(300)), Verdict::End(Cause::IdleTimeout(secs(300))));
    }

    #[test]
    fn the_maximum_duration_ends_a_busy_session() {
        let mut watch = watch(Some(300), Some(10));
        assert!(matches!(watch.check(secs(5), secs(0)), Verdict::Warn(text) if text.contains("5 seconds")));
        assert_eq!(watch.check(secs(6), secs(0)), Verdict::Within(Some(secs(4))));
        assert_eq!(watch.check(secs(10), secs(0)), Verdict::End(Cause::MaxDuration(secs(10))));
    }
}
