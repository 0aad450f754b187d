//! Logging: each event is one line on standard error, as text for people or as JSON for machines.

use std::fmt::{self, Debug};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::text::{escape_json, printable};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object on each line, for machines.
    Json,
}

/// The filter directive of the audit log. The audit log is on at every log level, unless the user's filter names the target
/// `audit`.
const AUDIT_FILTER: &str = "audit=info";

/// The shortest time between two lines of a [`LogLimiter`].
const MIN_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Limits the log lines of frequent events to one a minute, and counts the events between two lines.
#[derive(Debug, Default)]
pub struct LogLimiter {
    unlogged: u64,
    logged: Option<Instant>,
}

impl LogLimiter {
    /// Counts an event. If a line is due, returns the number of events since the last line.
    pub fn count(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged.is_some_and(|logged| now.duration_since(logged) < MIN_LOG_INTERVAL) {
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
    let filter = EnvFilter::try_new(format!("{AUDIT_FILTER},{filter}"))?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => log.fmt_fields(PrintableFields).try_init(),
        LogFormat::Json => log.json().with_span_list(false).with_writer(|| JsonWriter(io::stderr())).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Formats the fields of an event as text, and makes each value printable. Each event is thus one line, and untrusted values
/// cannot control the terminal that shows the log.
struct PrintableFields;

impl<'writer> FormatFields<'writer> for PrintableFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, written: Ok(()) };
        fields.record(&mut line);
        line.written
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_empty: bool,
    written: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Records of the crate `log` keep their file and line in these fields. tracing-subscriber's own format omits them too.
        if field.name().starts_with("log.") {
            return;
        }
        let space = if std::mem::replace(&mut self.is_empty, false) { "" } else { " " };
        let value = printable(&format!("{value:?}"));
        let written = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{}={value}", name.trim_start_matches("r#")),
        };
        self.written = self.written.and(written);
    }
}

/// Writes JSON text and escapes the characters that could control a terminal or mislead its reader. `serde_json` escapes only
/// control characters below U+0020. Other such characters occur only in JSON strings, where an escape stands for the same
/// character.
struct JsonWriter<W>(W);

impl<W: io::Write> io::Write for JsonWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event is written in one call, so no character is cut.
        self.0.write_all(escape_json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Collects a log for unit tests. Clones share one log.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct LogBuffer(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

#[cfg(test)]
impl LogBuffer {
    /// Returns the log so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

#[cfg(test)]
impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_invisible;

    #[test]
    fn untrusted_text_forges_no_line_and_controls_no_terminal() {
        let written = LogBuffer::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .fmt_fields(PrintableFields)
            .finish();
        let evil = "\u{1b}[2J\u{9b}2J\n INFO audit: forged";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(count = 7, shown = %evil, quoted = evil, debugged = ?evil, "a message: {evil}");
        });
        let text = written.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        assert!(
            text.contains("a message: [2J2J  INFO audit: forged count=7 shown=[2J2J  INFO audit: forged"),
            "{text}"
        );
    }

    #[test]
    fn untrusted_text_in_json_controls_no_terminal_and_is_kept() {
        let written = LogBuffer::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_span_list(false)
            .with_writer(move || JsonWriter(writer.clone()))
            .without_time()
            .finish();
        let evil = "\u{1b}[2J\u{7f}\u{9b}2J\n\u{202e}txt\u{2066}\u{fffe}\u{ffff}\u{e0041} 数据库 \u{1f600} \\\"";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("session", user = evil).in_scope(|| tracing::info!(shown = %evil, "{evil}"));
        });
        let text = written.text();
        let line = text.strip_suffix('\n').unwrap();
        let raw = |c: char| is_invisible(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
        assert!(!line.contains(raw), "{line:?}");
        assert!(line.contains("数据库 \u{1f600}"), "{line}");
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        for value in ["/fields/message", "/fields/shown", "/span/user"] {
            assert_eq!(event.pointer(value).and_then(serde_json::Value::as_str), Some(evil), "{value} of {line}");
        }
    }

    #[test]
    fn a_flood_of_events_is_logged_once_a_minute() {
        let (mut limiter, start) = (LogLimiter::default(), Instant::now());
        assert_eq!(limiter.count(start), Some(1));
        assert_eq!(limiter.count(start + Duration::from_secs(1)), None);
        assert_eq!(limiter.count(start + Duration::from_secs(59)), None);
        assert_eq!(limiter.count(start + MIN_LOG_INTERVAL), Some(3));
    }
}
