//! What is asked of the history, and where a page of it ends.

use std::collections::BTreeMap;

use super::row::SessionRecord;

/// Which sessions, newest first. What is `None` or empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// The namespace of the bastion.
    pub namespace: Option<String>,
    /// The name of the BastionUser.
    pub user: Option<String>,
    /// The Kubernetes user name that the user stands for.
    pub subject: Option<String>,
    /// The name of the BastionTarget.
    pub target: Option<String>,
    /// The login name on the target.
    pub login: Option<String>,
    /// `active`, `closed`, `timeout` or `terminated`.
    pub status: Option<String>,
    /// Why the session ended, such as `AdminTerminated`.
    pub reason: Option<String>,
    /// The IP address that the user came from.
    pub client_address: Option<String>,
    /// Started at or after this moment, in microseconds since the epoch.
    pub since: Option<i64>,
    /// Started before this moment, in microseconds since the epoch.
    pub until: Option<i64>,
    /// Only what comes behind this place.
    pub after: Option<PageKey>,
}

/// What began and what ended in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// How many sessions began.
    pub starts: i64,
    /// How many ended, by their reasons.
    pub ends: BTreeMap<String, i64>,
}

/// The place of a session in the history: a page begins behind it, whatever was added or removed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// When the session started, in microseconds since the epoch.
    pub start_time: i64,
    /// The uid of the session.
    pub session_id: String,
}

impl From<&SessionRecord> for PageKey {
    fn from(record: &SessionRecord) -> Self {
        Self { start_time: record.start_time, session_id: record.session_id.clone() }
    }
}
