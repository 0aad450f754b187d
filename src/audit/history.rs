//! The filter, the page keys and the counts of the history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::SessionRecord;

/// Selects sessions. A field that is `None` matches all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryFilter {
    /// The namespace of the bastion.
    pub namespace: Option<String>,
    /// The name of the BastionUser.
    pub user: Option<String>,
    /// The Kubernetes user name of the BastionUser.
    pub subject: Option<String>,
    /// The name of the BastionTarget.
    pub target: Option<String>,
    /// The login name on the target.
    pub login: Option<String>,
    /// `active`, `closed`, `timeout` or `terminated`.
    pub status: Option<String>,
    /// Why the session ended, such as `AdminTerminated`.
    pub reason: Option<String>,
    /// The client's IP address.
    pub client_address: Option<String>,
    /// The earliest start time, in microseconds since the epoch.
    pub since: Option<i64>,
    /// The end of the range of start times, exclusive, in microseconds since the epoch.
    pub until: Option<i64>,
    /// The last session of the previous page.
    pub after: Option<PageKey>,
}

/// The numbers of starts and ends in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCounts {
    /// The number of sessions that began.
    pub starts: i64,
    /// The number of sessions that ended, by reason.
    pub ends: BTreeMap<String, i64>,
}

/// The position of a session in the history. The next page begins after it, even if rows were added or removed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageKey {
    /// The session's start time, in microseconds since the epoch.
    pub start_time: i64,
    /// The uid of the session.
    pub session_id: String,
}

impl From<&SessionRecord> for PageKey {
    fn from(record: &SessionRecord) -> Self {
        Self { start_time: record.start_time, session_id: record.session_id.clone() }
    }
}
