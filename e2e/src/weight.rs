//! Bounds how many tests run at once. A heavy test keeps cores busy; a light test mostly waits for other programs.
//!
//! `RUST_TEST_THREADS` is much higher than both bounds, so that heavy tests which wait for a core keep no light test from
//! running.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many tests share one core.
const TESTS_PER_CORE: usize = 5;

/// One permit for each core of this machine.
static CORES: LazyLock<(Arc<Semaphore>, u32)> = LazyLock::new(|| {
    let cores = cores();
    (Arc::new(Semaphore::new(cores)), u32::try_from(cores).unwrap_or(u32::MAX))
});

/// One permit for each test that may run.
static TESTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(cores() * TESTS_PER_CORE)));

thread_local! {
    /// The permit of the test that runs on this thread. The test harness runs each test on a thread of its own.
    static RUNNING: RefCell<Option<OwnedSemaphorePermit>> = const { RefCell::new(None) };
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Waits for as many cores as a heavy test keeps busy, or for all of them where the machine has fewer.
///
/// A test calls this once, in its first statement, and holds the permit to its end. Two calls in one test can deadlock.
pub async fn take(cores: u32) -> OwnedSemaphorePermit {
    let (semaphore, all) = &*CORES;
    semaphore.clone().acquire_many_owned(cores.min(*all)).await.expect("the semaphore is never closed")
}

/// Waits until the test of this thread may run. Each new namespace calls this; calls after the first return at once.
pub async fn start() {
    if RUNNING.with_borrow(Option::is_some) {
        return;
    }
    let permit = TESTS.clone().acquire_owned().await.expect("the semaphore is never closed");
    RUNNING.set(Some(permit));
}
