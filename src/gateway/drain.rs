//! Drains a gateway that shuts down. Its sessions may continue for the grace period; then the open ones end as GatewayShutdown.

use std::time::Duration;

use tokio::time::timeout;
use tracing::info;

use super::state::{Gateway, SessionDeps};
use crate::lifecycle::Cause;
use crate::metrics::METRICS;

/// How long the ends of the last sessions may take to be written at a shutdown.
const LAST_ENDS_TIMEOUT: Duration = Duration::from_secs(20);

/// Lets the sessions continue for the grace period, or until `failed` is ready. Then ends the sessions that are still open, and
/// waits for their ends to be written. Returns whether all ends were written within [`LAST_ENDS_TIMEOUT`].
pub async fn drain_sessions<T>(gateway: &Gateway, failed: impl Future<Output = T>) -> bool {
    let SessionDeps { tasks, grace_period, .. } = &*gateway.sessions;
    tasks.close();
    info!(sessions = METRICS.sessions_active.get(), seconds = grace_period.as_secs(), "draining");
    let all_ended = tokio::select! {
        biased;
        _ = failed => false,
        waited = timeout(*grace_period, tasks.wait()) => waited.is_ok(),
    };
    if all_ended {
        return true;
    }
    if let Some(instance) = gateway.access.instance.now() {
        instance.registry.end_all(&Cause::GatewayShutdown);
    }
    timeout(LAST_ENDS_TIMEOUT, tasks.wait()).await.is_ok()
}
