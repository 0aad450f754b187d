//! Why a recording failed.

use crate::text::printable_up_to;

/// The longest message, in bytes. It goes into the status of the session.
const MAX_MESSAGE: usize = 512;

/// Why a session is not recorded. It is cloned into the session's status, and therefore holds text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecordingError {
    /// The metric label, such as `full` or `timeout`.
    pub label: &'static str,
    /// A sentence for users and logs.
    pub message: String,
}

impl RecordingError {
    pub(crate) fn new(label: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { label, message: printable_up_to(&message, MAX_MESSAGE) }
    }
}
