//! The requests by which consoles read the history. Bodies are JSON.
//!
//! Consoles and audit programs of neighbouring versions work together: a newer version only adds fields that may be absent.

use serde::{Deserialize, Serialize};

use super::history::HistoryFilter;

/// The path of the sessions in the audit database. A POST of a [`PageRequest`] returns a page. A GET with a uid appended to the
/// path returns one session.
pub const SESSIONS_PATH: &str = "/history/v1/sessions";
/// The path of the counts of starts and ends. It takes a POST of a [`CountsRequest`].
pub const COUNTS_PATH: &str = "/history/v1/counts";
/// The maximum number of sessions in one answer: one more than a page of the console, to show that another page follows.
pub const MAX_PAGE: u32 = 1001;

/// Asks for a page of the history, newest first. Users who may not list sessions get their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Selects sessions. The audit program sets the namespace to its own.
    pub filter: HistoryFilter,
    /// The maximum number of sessions, up to [`MAX_PAGE`].
    pub limit: u32,
}

/// Asks for the numbers of starts and ends since a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsRequest {
    /// The time, in microseconds since the epoch.
    pub since: i64,
}
