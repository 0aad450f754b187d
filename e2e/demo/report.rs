//! The tables that the demo prints.

use std::time::Duration;

use bastion_operator::api::{Phase, Reason};
use bastion_operator::audit::SessionRecord;
use jiff::Timestamp;

/// The verdict of a scene that went as it should.
pub const OK: &str = "OK";

/// What came of a scene.
pub struct Scene {
    name: String,
    shown: String,
    /// How long it took, and how long it may take; nothing where nothing was to happen.
    took: Option<(Duration, Duration)>,
    failed: bool,
}

impl Scene {
    /// A session was shown as ended after this time.
    pub fn ended(name: &str, reason: Reason, took: Duration, limit: Duration) -> Self {
        let shown = format!("{}/{reason}", reason.phase());
        Self { name: name.to_owned(), shown, took: Some((took, limit)), failed: false }
    }

    /// A session stayed, and still works.
    pub fn stayed(name: &str) -> Self {
        Self { name: name.to_owned(), shown: Phase::Active.to_string(), took: None, failed: false }
    }

    /// Something else happened, which was printed.
    pub fn failed(name: &str) -> Self {
        Self { name: name.to_owned(), shown: "see above".to_owned(), took: None, failed: true }
    }

    pub fn verdict(&self) -> &'static str {
        match self.took {
            _ if self.failed => "FAILED",
            Some((took, limit)) if took > limit => "LATE",
            _ => OK,
        }
    }

    fn cells(&self) -> Vec<String> {
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        let took = self.took.map(|(took, _)| seconds(took)).unwrap_or_default();
        let limit = self.took.map(|(_, limit)| limit.as_secs().to_string()).unwrap_or_default();
        vec![self.name.clone(), self.shown.clone(), took, limit, self.verdict().to_owned()]
    }
}

/// The scenes, and how long each took to be shown.
pub fn scenes(scenes: &[Scene]) -> String {
    let head = ["Scene", "Shown as", "Seconds until shown", "Allowed", ""];
    table(&head, &scenes.iter().map(Scene::cells).collect::<Vec<_>>())
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
