//! Each session is in the audit database once, as its object was.

use std::collections::BTreeMap;

use bastion_operator::audit::SessionRecord;
use jiff::{SignedDuration, Timestamp};

use super::{Kind, Violation};
use crate::robustness::faults::{Fault, FaultRecord};
use crate::robustness::history::{History, Session};
use crate::robustness::spans::Span;

/// How long after a stop of the API server the recording watch may take to show everything again.
const WATCH_IS_BACK: SignedDuration = SignedDuration::from_secs(5);

pub fn check(history: &History, sessions: &BTreeMap<&str, Session<'_>>) -> Vec<Violation> {
    let mut rows: BTreeMap<&str, Vec<&SessionRecord>> = BTreeMap::new();
    for row in &history.rows {
        rows.entry(&row.name).or_default().push(row);
    }
    let unseen = rows.iter().filter(|(name, rows)| {
        !sessions.contains_key(*name) && !rows.iter().all(|row| came_and_went_unseen(history, row))
    });
    let unknown = unseen.map(|(name, _)| {
        let what = format!("the database has a row of session {name}, which the watch never showed");
        let span = Span { from: history.began, to: history.ended };
        Violation { kind: Kind::Record, session: None, what, span }
    });
    let wrong = sessions.values().filter_map(|session| {
        let what = difference(session, rows.get(session.name).map(Vec::as_slice).unwrap_or_default())?;
        Some(Violation::of(Kind::Record, session, session.last()?.at, what))
    });
    unknown.chain(wrong).collect()
}

/// It began, ended and was deleted before the watch was back after a stop of the API server.
fn came_and_went_unseen(history: &History, row: &SessionRecord) -> bool {
    let time = |micros: i64| Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    let (began, ended) = (time(row.start_time), time(row.end_time.unwrap_or(i64::MAX)));
    let stops = history.faults_of(|fault| fault == Fault::ApiStopped);
    stops.map(FaultRecord::span).any(|blind| blind.from <= began && ended <= blind.to + WATCH_IS_BACK)
}

fn difference(session: &Session<'_>, rows: &[&SessionRecord]) -> Option<String> {
    let object = &session.last()?.session;
    match rows {
        [] => Some("the database has no row of it".to_owned()),
        // Without an end that was seen, ends::check says what is wrong.
        [row] if !object.is_final || comparable(row) == comparable(object) => None,
        [row] => Some(format!("its row is {row:?}, and its object was {object:?}")),
        rows => Some(format!("the database has {} rows of it: {rows:?}", rows.len())),
    }
}

/// A record without the time of the last write, which is the database's own order and not a part of the session.
fn comparable(record: &SessionRecord) -> SessionRecord {
    SessionRecord { updated_at: 0, ..record.clone() }
}
