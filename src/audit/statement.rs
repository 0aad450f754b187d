//! The statements that the audit database is sent: pure text and values, the same for all kinds of databases but for a
//! few words.

use super::history::HistoryFilter;
use super::row::SessionRecord;

/// What the words of a statement depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// MySQL and MariaDB.
    MySql,
}

/// A statement and the values for its question marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// SQL.
    pub sql: String,
    /// In their order.
    pub values: Vec<Value>,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, or NULL.
    Text(Option<String>),
    /// A whole number, or NULL.
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

/// What comes from the immutable part of a session's spec, and is written once.
const FINAL_COLUMNS: [&str; 15] = [
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

/// What follows the session. The last two decide which of two rows is the newer, and must stay the last.
const LIVE_COLUMNS: [&str; 14] = [
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

/// The values in the order of the columns.
fn values(row: &SessionRecord) -> [Value; FINAL_COLUMNS.len() + LIVE_COLUMNS.len()] {
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
    [FINAL_COLUMNS.as_slice(), LIVE_COLUMNS.as_slice()].concat().join(", ")
}

/// Writes rows, of which there must be one at least. A row that is there already is brought up to date, except that a
/// final one never becomes active again and an older one never takes the place of a newer.
pub fn upsert(dialect: Dialect, rows: &[SessionRecord]) -> Statement {
    let marks = format!("({})", vec!["?"; FINAL_COLUMNS.len() + LIVE_COLUMNS.len()].join(", "));
    let all_marks = vec![marks.as_str(); rows.len()].join(", ");
    let sql = format!(
        "INSERT INTO session_records ({}) VALUES {all_marks} {}",
        columns(),
        where_it_is_there_already(dialect)
    );
    Statement { sql, values: rows.iter().flat_map(values).collect() }
}

fn where_it_is_there_already(dialect: Dialect) -> String {
    let each = |assign: &dyn Fn(&str) -> String| LIVE_COLUMNS.map(assign).join(", ");
    match dialect {
        Dialect::Sqlite => format!(
            "ON CONFLICT (session_id) DO UPDATE SET {} WHERE excluded.is_final > session_records.is_final OR \
             (excluded.is_final = session_records.is_final AND excluded.updated_at >= session_records.updated_at)",
            each(&|column| format!("{column} = excluded.{column}"))
        ),
        // One assignment after the other, each sees what the ones before it have done: so those that decide come last.
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

/// Counts one more batch.
pub fn count_batch(dialect: Dialect) -> Statement {
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

/// How many batches were ever written.
pub fn batches() -> Statement {
    Statement { sql: "SELECT batches FROM mirror_progress WHERE id = 1".to_owned(), values: Vec::new() }
}

/// The row of one session.
pub fn get(session_id: &str) -> Statement {
    let sql = format!("SELECT {} FROM session_records WHERE session_id = ?", columns());
    Statement { sql, values: vec![session_id.into()] }
}

/// How many sessions of a namespace began since a moment.
pub fn starts(namespace: &str, since: i64) -> Statement {
    let sql = "SELECT COUNT(*) FROM session_records WHERE start_time >= ? AND namespace = ?";
    Statement { sql: sql.to_owned(), values: vec![since.into(), namespace.into()] }
}

/// How many sessions of a namespace ended since a moment, by their reasons.
pub fn ends_by_reason(namespace: &str, since: i64) -> Statement {
    let sql = "SELECT COALESCE(reason, ''), COUNT(*) FROM session_records WHERE end_time >= ? AND namespace = ? GROUP BY reason";
    Statement { sql: sql.to_owned(), values: vec![since.into(), namespace.into()] }
}

/// A page of the history, newest first.
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
    for (condition, moment) in [("start_time >= ?", filter.since), ("start_time < ?", filter.until)] {
        if let Some(moment) = moment {
            conditions.push(condition);
            values.push(moment.into());
        }
    }
    if let Some(after) = &filter.after {
        // `(start_time, session_id) < (?, ?)` says the same, but MySQL answers that from no index.
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
    fn there_is_a_mark_for_each_value() {
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
    fn what_decides_is_assigned_last() {
        assert_eq!(LIVE_COLUMNS[LIVE_COLUMNS.len() - 2..], ["updated_at", "is_final"]);
    }
}
