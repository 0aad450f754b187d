//! The tables that the demo prints.

use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use bastion_operator::audit::SessionRecord;
use jiff::Timestamp;

use bastion_e2e::PROMPT_BOUND;

/// How soon a scenario's end must be shown.
#[derive(Clone, Copy)]
pub enum Promise {
    /// By the gateway that sees it.
    AtOnce,
    /// By the surviving programs.
    Within(Duration),
}

impl Promise {
    const fn limit(self) -> Duration {
        match self {
            Self::AtOnce => PROMPT_BOUND,
            Self::Within(limit) => limit,
        }
    }
}

/// What came of a scenario.
pub struct ScenarioResult {
    name: String,
    shown: String,
    outcome: Outcome,
    notices: Vec<String>,
}

enum Outcome {
    /// Shown as ended after this time.
    Ended(Duration, Promise),
    /// Nothing was to happen, and nothing did.
    Stayed,
    /// It could not be finished here.
    Skipped,
    /// Something else happened, which was printed.
    Failed,
}

impl ScenarioResult {
    fn new(name: &str, shown: String, outcome: Outcome) -> Self {
        Self { name: name.to_owned(), shown, outcome, notices: Vec::new() }
    }

    /// A session was shown as ended after this time.
    pub fn ended(name: &str, reason: Reason, took: Duration, promise: Promise) -> Self {
        Self::new(name, format!("{}/{reason}", reason.phase()), Outcome::Ended(took, promise))
    }

    /// A session stayed, and still works.
    pub fn stayed(name: &str) -> Self {
        Self::new(name, Phase::Active.to_string(), Outcome::Stayed)
    }

    /// It needs a network of its own, which cannot be had.
    pub fn skipped(name: &str) -> Self {
        Self::new(name, "needs a network of its own".to_owned(), Outcome::Skipped)
    }

    /// Something else happened, which was printed.
    pub fn failed(name: &str) -> Self {
        Self::new(name.trim(), "see above".to_owned(), Outcome::Failed)
    }

    /// Adds the notices that the user received.
    pub fn with_notices(self, notices: Vec<String>) -> Self {
        Self { notices, ..self }
    }

    /// How long it took.
    pub const fn time(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Ended(took, _) => Some(took),
            Outcome::Stayed | Outcome::Skipped | Outcome::Failed => None,
        }
    }

    /// Whether it fell short.
    pub fn fell_short(&self) -> bool {
        matches!(self.verdict(), "LATE" | "FAILED")
    }

    fn verdict(&self) -> &'static str {
        match self.outcome {
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "SKIPPED",
            Outcome::Ended(took, promise) if took > promise.limit() => "LATE",
            Outcome::Ended(..) | Outcome::Stayed => "OK",
        }
    }

    fn cells(&self) -> Vec<String> {
        let (took, promised) = match self.outcome {
            Outcome::Ended(took, promise) => (
                format!("{:.3}", took.as_secs_f64()),
                match promise {
                    Promise::AtOnce => "at once".to_owned(),
                    Promise::Within(limit) => format!("{} s", limit.as_secs()),
                },
            ),
            Outcome::Stayed | Outcome::Skipped | Outcome::Failed => (String::new(), String::new()),
        };
        vec![self.name.clone(), self.shown.clone(), took, promised, self.verdict().to_owned()]
    }
}

/// The scenarios, and how long each took to be shown.
pub fn scenarios(scenarios: &[ScenarioResult]) -> String {
    let head = ["What happens to a session", "Shown as", "Seconds until shown", "Promised", ""];
    table(&head, &scenarios.iter().map(ScenarioResult::cells).collect::<Vec<_>>())
}

/// What users read when their sessions ended, or were about to.
pub fn notices(scenarios: &[ScenarioResult]) -> String {
    let rows = scenarios
        .iter()
        .flat_map(|scenario| scenario.notices.iter().map(|line| vec![scenario.name.clone(), line.clone()]));
    table(&["What happens to a session", "What its user reads"], &rows.collect::<Vec<_>>())
}

/// The rows of the audit database.
pub fn records(records: &[SessionRecord]) -> String {
    let head =
        ["Session", "User", "Target", "Login", "Status", "Reason", "Exit code", "Terminated by", "Start", "Seconds"];
    table(&head, &records.iter().map(record).collect::<Vec<_>>())
}

fn record(row: &SessionRecord) -> Vec<String> {
    let start = Timestamp::from_microsecond(row.start_time).map(|time| time.strftime("%T").to_string());
    let seconds = row
        .end_time
        .map(|end| format!("{:.3}", Duration::from_micros((end - row.start_time).unsigned_abs()).as_secs_f64()));
    let code = row.exit_code.map(|code| code.to_string());
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    vec![
        row.name.clone(),
        row.user_name.clone(),
        row.target.clone(),
        row.login.clone(),
        row.status.clone(),
        text(&row.reason),
        text(&code),
        text(&row.terminated_by),
        start.unwrap_or_default(),
        text(&seconds),
    ]
}

/// Columns as wide as their widest cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    [&head, &rule].into_iter().chain(rows).map(line).collect()
}
