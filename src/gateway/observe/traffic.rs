//! How many bytes have passed each way.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter for each direction.
#[derive(Debug, Default)]
pub struct Traffic {
    to_target: AtomicU64,
    to_user: AtomicU64,
}

impl Traffic {
    /// Bytes were passed from the user to the target.
    pub fn sent_to_target(&self, bytes: usize) {
        self.to_target.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes were passed from the target to the user.
    pub fn sent_to_user(&self, bytes: usize) {
        self.to_user.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes from the user to the target, and back.
    pub fn bytes(&self) -> (u64, u64) {
        (self.to_target.load(Ordering::Relaxed), self.to_user.load(Ordering::Relaxed))
    }
}
