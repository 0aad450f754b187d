//! The failure detector that the controller's tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lifecycle::FailureDetector;

/// A failure detector behind a lock.
pub type SharedDetector = Arc<Mutex<FailureDetector>>;

/// Locks the failure detector. A panic in another task does not poison it.
pub fn lock(detector: &SharedDetector) -> MutexGuard<'_, FailureDetector> {
    detector.lock().unwrap_or_else(PoisonError::into_inner)
}
