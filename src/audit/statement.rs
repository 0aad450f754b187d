//! The SQL statements of the audit database, as text and values. Few differ between SQLite and MySQL.

use super::history::HistoryFilter;
use super::record::SessionRecord;

/// The SQL dialect of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// MySQL and MariaDB.
    MySql,
}

/// A statement with the values of its placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The SQL text, with a question mark for each value.
    pub sql: String,
    /// The values, in the order of the question marks.
    pub values: Vec<Value>,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text, or NULL.
    Text(Option<String>),
    /// An integer, or NULL.
    Number(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

/// The columns from the immutable part of a session's spec. They are written once.
const IMMUTABLE_COLUMNS: [&str; 15] = [
    "session_id",
    "namespace",
    "name",
    "user_name",
    "user_subject",
    "user_groups",
    "target",
    "login",
    "protocol",
    "client_address",
    "client_port",
    "client_software",
    "gateway_name",
    "gateway_instance",
    "start_time",
];

/// The columns that follow the session's changes. The last two decide which of two rows is newer, and must stay last.
const MUTABLE_COLUMNS: [&str; 14] = [
    "status",
    "reason",
    "message",
    "last_seen_time",
    "end_time",
    "duration_micros",
    "exit_code",
    "exit_signal",
    "bytes_in",
    "bytes_out",
    "terminated_by",
    "recording",
    "updated_at",
    "is_final",
];

/// Returns the values of a row in the order of the columns.
fn values(row: &SessionRecord) -> [Value; IMMUTABLE_COLUMNS.len() + MUTABLE_COLUMNS.len()] {
    let text = |text: &Option<String>| Value::Text(text.clone());
    [
        row.session_id.as_str().into(),
        row.namespace.as_str().into(),
        row.name.as_str().into(),
        row.user_name.as_str().into(),
        row.user_subject.as_str().into(),
        row.user_groups.as_str().into(),
        row.target.as_str().into(),
        row.login.as_str().into(),
        row.protocol.as_str().into(),
        row.client_address.as_str().into(),
        i64::from(row.client_port).into(),
        text(&row.client_software),
        row.gateway_name.as_str().into(),
        row.gateway_instance.as_str().into(),
        row.start_time.into(),
        row.status.as_str().into(),
        text(&row.reason),
        text(&row.message),
        Value::Number(row.last_seen_time),
        Value::Number(row.end_time),
        Value::Number(row.duration_micros),
        Value::Number(row.exit_code),
        text(&row.exit_signal),
        Value::Number(row.bytes_in),
        Value::Number(row.bytes_out),
        text(&row.terminated_by),
        text(&row.recording),
        row.updated_at.into(),
        i64::from(row.is_final).into(),
    ]
}

fn columns() -> String {
    [IMMUTABLE_COLUMNS.as_slice(), MUTABLE_COLUMNS.as_slice()].concat().join(", ")
}

/// Inserts or updates rows, at least one. A final row never becomes active again, and an older row never replaces a newer.
pub fn upsert(dialect: Dialect, rows: &[SessionRecord]) -> Statement {
    let placeholders = format!("({})", vec!["?"; IMMUTABLE_COLUMNS.len() + MUTABLE_COLUMNS.len()].join(", "));
    let all_placeholders = vec![placeholders.as_str(); rows.len()].join(", ");
    let sql = format!(
        "INSERT INTO session_records ({}) VALUES {all_placeholders} {}",
        columns(),
        update_on_conflict(dialect)
    );
    Statement { sql, values: rows.iter().flat_map(values).collect() }
}

fn update_on_conflict(dialect: Dialect) -> String {
    let each = |assign: &dyn Fn(&str) -> String| MUTABLE_COLUMNS.map(assign).join(", ");
    match dialect {
        Dialect::Sqlite => format!(
            "ON CONFLICT (session_id) DO UPDATE SET {} WHERE excluded.is_final > session_records.is_final OR \
             (excluded.is_final = session_records.is_final AND excluded.updated_at >= session_records.updated_at)",
            each(&|column| format!("{column} = excluded.{column}"))
        ),
        // MySQL evaluates assignments in order, and each sees those before it. So the deciding columns come last.
        Dialect::MySql => format!(
            "ON DUPLICATE KEY UPDATE {}",
            each(&|column| match column {
                "is_final" => "is_final = GREATEST(is_final, VALUES(is_final))".to_owned(),
                column => format!(
                    "{column} = IF(VALUES(is_final) > is_final OR (VALUES(is_final) = is_final AND VALUES(updated_at) >= \
                     updated_at), VALUES({column}), {column})"
                ),
            })
        ),
    }
}

/// Increments the number of batches.
pub fn increment_batches(dialect: Dialect) -> Statement {
    let sql = match dialect {
        Dialect::Sqlite => {
            "INSERT INTO mirror_progress (id, batches) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET batches = batches + 1"
        }
        Dialect::MySql => {
            "INSERT INTO mirror_progress (id, batches) VALUES (1, 1) ON DUPLICATE KEY UPDATE batches = batches + 1"
        }
    };
    Statement { sql: sql.to_owned(), values: Vec::new() }
}

/// Selects the number of batches that were ever written.
pub fn batches() -> Statement {
    Statement { sql: "SELECT batches FROM mirror_progress WHERE id = 1".to_owned(), values: Vec::new() }
}

/// Selects the row of one session.
pub fn get(session_id: &str) -> Statement {
    let sql = format!("SELECT {} FROM session_records WHERE session_id = ?", columns());
    Statement { sql, values: vec![session_id.into()] }
}

/// Counts the sessions of a namespace that began at `since` or later. `since` is in microseconds since the epoch.
pub fn starts(namespace: &str, since: i64) -> Statement {
    let sql = "SELECT COUNT(*) FROM session_records WHERE start_time >= ? AND namespace = ?";
    Statement { sql: sql.to_owned(), values: vec![since.into(), namespace.into()] }
}

/// Counts, by reason, the sessions of a namespace that ended at `since` or later. `since` is in microseconds since the epoch.
pub fn ends_by_reason(namespace: &str, since: i64) -> Statement {
    let sql = "SELECT COALESCE(reason, ''), COUNT(*) FROM session_records WHERE end_time >= ? AND namespace = ? GROUP BY reason";
    Statement { sql: sql.to_owned(), values: vec![since.into(), namespace.into()] }
}

/// Selects a page of the history, newest first.
pub fn history(filter: &HistoryFilter, limit: u32) -> Statement {
    let equals = [
        ("user_name = ?", &filter.user),
        ("user_subject = ?", &filter.subject),
        ("target = ?", &filter.target),
        ("login = ?", &filter.login),
        ("status = ?", &filter.status),
        ("reason = ?", &filter.reason),
        ("client_address = ?", &filter.client_address),
        ("namespace = ?", &filter.namespace),
    ];
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    for (condition, value) in equals {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value.as_str().into());
        }
    }
    for (condition, time) in [("start_time >= ?", filter.since), ("start_time < ?", filter.until)] {
        if let Some(time) = time {
            conditions.push(condition);
            values.push(time.into());
        }
    }
    if let Some(after) = &filter.after {
        // Equivalent to `(start_time, session_id) < (?, ?)`, for which MySQL uses no index.
        conditions.push("start_time <= ? AND (start_time < ? OR session_id < ?)");
        values.extend([after.start_time.into(), after.start_time.into(), after.session_id.as_str().into()]);
    }
    values.push(i64::from(limit).into());
    let condition = if conditions.is_empty() { String::new() } else { format!("WHERE {} ", conditions.join(" AND ")) };
    let sql = format!(
        "SELECT {} FROM session_records {condition}ORDER BY start_time DESC, session_id DESC LIMIT ?",
        columns()
    );
    Statement { sql, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::history::PageKey;
    use crate::audit::samples::active;

    #[test]
    fn each_value_has_a_placeholder() {
        let rows = [SessionRecord::of(&active("a")), SessionRecord::of(&active("b"))];
        for dialect in [Dialect::Sqlite, Dialect::MySql] {
            let statement = upsert(dialect, &rows);
            assert_eq!(statement.sql.matches('?').count(), statement.values.len());
        }
        let filter = HistoryFilter {
            user: Some("alice".into()),
            since: Some(1),
            after: Some(PageKey { start_time: 2, session_id: "a".into() }),
            ..HistoryFilter::default()
        };
        let statement = history(&filter, 10);
        assert_eq!(statement.sql.matches('?').count(), statement.values.len());
        assert_eq!(statement.values[..2], ["alice".into(), 1.into()]);
    }

    #[test]
    fn the_deciding_columns_are_last() {
        assert_eq!(MUTABLE_COLUMNS[MUTABLE_COLUMNS.len() - 2..], ["updated_at", "is_final"]);
    }
}
