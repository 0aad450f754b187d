//! The Lease of one audit instance. It shows that the instance runs, and where consoles read the history.

use std::collections::BTreeMap;

use kube::Api;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::LEASE_OF_AUDIT;
use crate::cluster::LenientLease;
use crate::http::Readiness;
use crate::leases::{InstanceLease, LeaseError, new_instance_name};
use crate::lifecycle::RENEW_INTERVAL;
use crate::metrics::METRICS;
use crate::tasks::ticks;

/// Renews a Lease with these annotations until `stop` is cancelled, then deletes it. Sets `ready` when the first Lease exists,
/// because consoles find the program by its Lease. If a controller declares the instance lost, continues with a new Lease.
pub async fn run(
    leases: Api<LenientLease>,
    pod: String,
    annotations: BTreeMap<String, String>,
    ready: Readiness,
    stop: CancellationToken,
) {
    let mut ticks = ticks(RENEW_INTERVAL);
    let (mut name, mut lease) = (new_instance_name(&pod), None::<InstanceLease>);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let renewed = match &mut lease {
            Some(lease) => lease.renew().await,
            None => InstanceLease::acquire(leases.clone(), &name, LEASE_OF_AUDIT, annotations.clone()).await.map(
                |acquired| {
                    info!(instance = name, "audit instance started");
                    ready.set(true);
                    lease = Some(acquired);
                },
            ),
        };
        if let Err(error) = renewed {
            if matches!(error, LeaseError::Lost) {
                (name, lease) = (new_instance_name(&pod), None);
            }
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "could not renew the audit program's own Lease; consoles may not find the history; retrying");
        }
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
}
