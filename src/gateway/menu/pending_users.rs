//! Limits the number of authenticated users who are choosing a target.

use tokio::sync::Semaphore;

use super::rights::MAX_CONCURRENT_REVIEWS;
use crate::gateway::access::Refusal;
use crate::slots::{Slot, Slots, SlotsError};

/// The number of users who may choose a target at once, per gateway.
const MAX_PENDING_USERS: usize = 256;
/// The number of connections of one user that may choose a target at once, per gateway.
const MAX_PENDING_PER_USER: usize = 8;

/// The slots of users who are choosing a target.
pub struct PendingUsers {
    slots: Slots,
    pub(super) review_permits: Semaphore,
}

impl Default for PendingUsers {
    fn default() -> Self {
        Self { slots: Slots::new(MAX_PENDING_USERS), review_permits: Semaphore::new(MAX_CONCURRENT_REVIEWS) }
    }
}

impl PendingUsers {
    /// Returns a slot for this user, to be held until the user has chosen a target.
    ///
    /// # Errors
    /// [`Refusal::Full`] when all slots are held, [`Refusal::TooManyMenus`] when the user holds [`MAX_PENDING_PER_USER`] slots.
    pub fn acquire(&self, user: &str) -> Result<Slot, Refusal> {
        self.slots.take(user, MAX_PENDING_PER_USER).map_err(|error| match error {
            SlotsError::Total => Refusal::Full,
            SlotsError::User => Refusal::TooManyMenus { limit: MAX_PENDING_PER_USER },
        })
    }
}
