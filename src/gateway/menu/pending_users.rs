//! Limits for users who are authenticated and choose a target.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rights::MAX_CONCURRENT_REVIEWS;
use crate::gateway::access::Refusal;

/// The number of users who may choose a target at once, per gateway.
const MAX_PENDING_USERS: usize = 256;

/// The limits that all users share while they choose a target.
pub struct PendingUsers {
    permits: Arc<Semaphore>,
    pub(super) review_permits: Semaphore,
}

impl Default for PendingUsers {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_PENDING_USERS)),
            review_permits: Semaphore::new(MAX_CONCURRENT_REVIEWS),
        }
    }
}

impl PendingUsers {
    /// Returns a permit, to be held until the user has chosen a target.
    ///
    /// # Errors
    /// [`Refusal::Full`] when all permits are held.
    pub fn acquire(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.permits.clone().try_acquire_owned().map_err(|_| Refusal::Full)
    }
}
