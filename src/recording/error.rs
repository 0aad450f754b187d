//! Why a recording failed.

use crate::text::printable_up_to;

/// The longest message, in characters, as in the schema of the session's status.
const MAX_MESSAGE: usize = 512;

/// Why a recording failed. It holds text instead of the source error, because it is cloned and written to the session's status.
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
