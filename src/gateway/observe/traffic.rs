//! Counts the bytes of a channel or session.

use std::sync::atomic::{AtomicU64, Ordering};

/// A byte counter for each direction.
#[derive(Debug, Default)]
pub struct Traffic {
    to_target: AtomicU64,
    to_user: AtomicU64,
}

impl Traffic {
    /// Counts bytes from the user to the target.
    pub fn sent_to_target(&self, bytes: usize) {
        self.to_target.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes from the target to the user.
    pub fn sent_to_user(&self, bytes: usize) {
        self.to_user.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the bytes sent to the target, and those sent to the user.
    pub fn bytes(&self) -> (u64, u64) {
        (self.to_target.load(Ordering::Relaxed), self.to_user.load(Ordering::Relaxed))
    }
}
