//! Logging: one line an event on standard error, as text for people or as JSON for machines.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What users do is logged, whatever else is not, unless somebody names it.
const AUDIT: &str = "audit=info";

/// The shortest time between two lines of a [`LogLimiter`].
const LIMITED_EVERY: Duration = Duration::from_mins(1);

/// Counts events that are logged in one line a minute at most: a flood must not flood the log.
#[derive(Debug, Default)]
pub struct LogLimiter {
    unlogged: u64,
    logged: Option<Instant>,
}

impl LogLimiter {
    /// Counts an event. Returns how many there were since the last line, if it is time for another.
    pub fn count(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LIMITED_EVERY) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// Starts logging. `filter` is in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter cannot be parsed or logging was started before.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{AUDIT},{filter}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_in_a_line_a_minute() {
        let (mut limiter, start) = (LogLimiter::default(), Instant::now());
        assert_eq!(limiter.count(start), Some(1));
        assert_eq!(limiter.count(start + Duration::from_secs(1)), None);
        assert_eq!(limiter.count(start + Duration::from_secs(59)), None);
        assert_eq!(limiter.count(start + LIMITED_EVERY), Some(3));
    }
}
