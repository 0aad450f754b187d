//! Records when the machine of the run is too busy for its own programs: a bound of 30 s means nothing then.

use std::sync::Arc;
use std::time::Duration;

use bastion_e2e::robustness::Fault;
use bastion_operator::api::BastionSession;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ListParams};
use tokio::time::interval;

use crate::environment::Environment;

/// How often the API server is asked straight, without proxy and relay.
const INTERVAL: Duration = Duration::from_millis(500);
/// An answer that takes longer, or a task that wakes up later, is a stall. A healthy answer takes milliseconds.
const STALLED_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// Watches for stalls. What stops the API server's process is a fault of its own.
pub async fn watch(environment: Arc<Environment>) {
    let client = environment.namespace.control_plane.admin_without_retries();
    let sessions: Api<BastionSession> = Api::namespaced(client, &environment.namespace.name);
    let mut ticks = interval(INTERVAL);
    loop {
        let before = Timestamp::now();
        ticks.tick().await;
        let is_answered = sessions.list_metadata(&ListParams::default().limit(1)).await.is_ok();
        if is_answered && Timestamp::now().duration_since(before) > STALLED_AFTER {
            environment.recorder.fault(Fault::MachineStalled, before);
        }
    }
}
