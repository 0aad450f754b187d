//! Bounds how many heavy tests run at once. Light tests mostly wait for others and take nothing.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit for each core of this machine.
static CORES: LazyLock<(Arc<Semaphore>, u32)> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, usize::from);
    (Arc::new(Semaphore::new(cores)), u32::try_from(cores).unwrap_or(u32::MAX))
});

/// Waits for as many cores as a heavy test keeps busy, or for all of them where the machine has fewer.
///
/// A test calls this once, in its first statement, and holds what it gets to its end. Two calls in one test can deadlock.
pub async fn take(cores: u32) -> OwnedSemaphorePermit {
    let (semaphore, all) = &*CORES;
    semaphore.clone().acquire_many_owned(cores.min(*all)).await.expect("the semaphore is never closed")
}
