//! The current instance, which owns new sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lifetime::Instance;
use crate::http::Readiness;

/// How long a new session waits for its instance to be confirmed.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway's current instance. There is none while a new one starts.
#[derive(Clone)]
pub struct CurrentInstance {
    current: watch::Receiver<Option<Arc<Instance>>>,
    stop: CancellationToken,
}

impl CurrentInstance {
    /// Creates a view of the current instance, which it reads from `current`. `stop` is cancelled when the gateway shuts down.
    pub const fn new(current: watch::Receiver<Option<Arc<Instance>>>, stop: CancellationToken) -> Self {
        Self { current, stop }
    }

    /// Returns the current instance, if there is one.
    pub fn now(&self) -> Option<Arc<Instance>> {
        self.current.borrow().clone()
    }

    /// Returns whether the gateway shuts down.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Keeps the readiness up to date: the gateway is ready while it has an instance. Never returns.
    pub async fn show_readiness(&self, ready: &Readiness) {
        let mut current = self.current.clone();
        loop {
            ready.set(current.borrow_and_update().is_some());
            if current.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the current instance is confirmed: it was not declared lost during a pause or an outage. Returns `None` after
    /// 10 s, and when the gateway shuts down.
    pub async fn confirmed(&self) -> Option<Arc<Instance>> {
        let mut current = self.current.clone();
        let confirmed = async {
            loop {
                let instance = current.borrow_and_update().clone();
                let renewed = async {
                    match &instance {
                        Some(instance) => instance.pause_detector.recently_renewed().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = renewed => return instance,
                    changed = current.changed() => changed.ok()?,
                }
            }
        };
        self.stop.run_until_cancelled(timeout(CONFIRMATION_TIMEOUT, confirmed)).await?.ok()?
    }
}
