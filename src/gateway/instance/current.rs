//! The instance that carries new sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lifetime::Instance;

/// How long a new session waits until the gateway knows that its instance was not declared lost.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway's present instance. There is none while a new one begins.
#[derive(Clone)]
pub struct CurrentInstance {
    present: watch::Receiver<Option<Arc<Instance>>>,
    stop: CancellationToken,
}

impl CurrentInstance {
    /// Follows `present` until `stop` is cancelled.
    pub const fn new(present: watch::Receiver<Option<Arc<Instance>>>, stop: CancellationToken) -> Self {
        Self { present, stop }
    }

    /// Returns the present instance, if there is one.
    pub fn now(&self) -> Option<Arc<Instance>> {
        self.present.borrow().clone()
    }

    /// Returns whether the gateway shuts down.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the present instance is known not to have been declared lost during a pause or an outage. Returns `None`
    /// after 10 s, and when the gateway shuts down.
    pub async fn confirmed(&self) -> Option<Arc<Instance>> {
        let mut present = self.present.clone();
        let confirmed = async {
            loop {
                let instance = present.borrow_and_update().clone();
                let fresh = async {
                    match &instance {
                        Some(instance) => instance.pulse.fresh().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = fresh => return instance,
                    changed = present.changed() => changed.ok()?,
                }
            }
        };
        self.stop.run_until_cancelled(timeout(CONFIRMATION_TIMEOUT, confirmed)).await?.ok()?
    }
}
