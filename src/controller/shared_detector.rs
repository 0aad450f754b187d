//! The failure detector that the controller's tasks share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::lifecycle::FailureDetector;

/// A failure detector behind a lock.
pub type SharedDetector = Arc<Mutex<FailureDetector>>;
