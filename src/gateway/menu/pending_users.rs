//! Limits on users who are signed in and choose a target.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rights::ALL_AT_ONCE;
use crate::gateway::access::Refusal;

/// How many connections of a gateway may be choosing a target.
const PLACES: usize = 256;

/// What all who choose share.
pub struct PendingUsers {
    places: Arc<Semaphore>,
    pub(super) questions: Semaphore,
}

impl Default for PendingUsers {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), questions: Semaphore::new(ALL_AT_ONCE) }
    }
}

impl PendingUsers {
    /// A place in it, which is held until a target is chosen.
    ///
    /// # Errors
    /// When there is none.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| Refusal::Full)
    }
}
