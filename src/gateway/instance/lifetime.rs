//! One gateway instance: a Lease that it renews, and the sessions that it owns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kube::{Api, Client};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::pause_detector::PauseDetector;
use crate::api::{BastionSession, LEASE_OF_GATEWAY, POD_UID_ANNOTATION};
use crate::cluster::{Guarded, UnreadableReports};
use crate::gateway::session::Registry;
use crate::leases::{InstanceLease, LeaseError, new_instance_name};
use crate::lifecycle::{Cause, Fence, RENEW_INTERVAL, RENEW_RETRY_DELAY};
use crate::metrics::METRICS;

/// One instance of the gateway. A process that was declared lost continues as a new instance.
pub struct Instance {
    /// The name of the gateway's Pod.
    pub pod: String,
    /// The instance's name, which is the name of its Lease too.
    pub id: String,
    /// The sessions that it owns.
    pub registry: Registry,
    /// Detects pauses of the process.
    pub pause_detector: Arc<PauseDetector>,
    fence: Mutex<Fence>,
}

/// The configuration that all instances of one process share.
pub struct InstanceConfig {
    /// The client of the API server.
    pub client: Client,
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the gateway's Pod.
    pub pod: String,
    /// The annotations of the Leases.
    pub annotations: BTreeMap<String, String>,
    /// Reports sessions that do not decode.
    pub reports: UnreadableReports,
}

impl InstanceConfig {
    /// Returns the annotations of the Leases: the Pod's uid, and those of the endpoint for observers.
    pub fn lease_annotations(
        pod_uid: Option<String>,
        observe: Option<BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let pod_uid = pod_uid.map(|uid| (POD_UID_ANNOTATION.to_owned(), uid));
        observe.unwrap_or_default().into_iter().chain(pod_uid).collect()
    }

    /// Returns the API of the bastion's sessions.
    pub fn sessions(&self) -> Api<Guarded<BastionSession>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl Instance {
    /// Starts an instance by creating its Lease.
    ///
    /// # Errors
    /// The Lease cannot be created.
    pub async fn start(config: &InstanceConfig) -> Result<(Arc<Self>, InstanceLease), LeaseError> {
        let InstanceConfig { client, namespace, pod, annotations, .. } = config;
        let id = new_instance_name(pod);
        let leases = Api::namespaced(client.clone(), namespace);
        let lease = InstanceLease::acquire(leases, &id, LEASE_OF_GATEWAY, annotations.clone()).await?;
        info!(instance = id, "gateway instance started");
        let instance = Self {
            pod: pod.clone(),
            id,
            registry: Registry::default(),
            pause_detector: Arc::default(),
            fence: Mutex::new(Fence::new(Instant::now())),
        };
        Ok((Arc::new(instance), lease))
    }

    /// Returns the record of the instance's own signs of life.
    pub fn fence(&self) -> MutexGuard<'_, Fence> {
        self.fence.lock()
    }

    /// Renews the Lease until `stop` is cancelled, and then returns it. Returns `None` once a controller has declared the instance
    /// lost. All its sessions end then, since they are already shown as ended.
    pub async fn renew_lease(&self, mut lease: InstanceLease, stop: CancellationToken) -> Option<InstanceLease> {
        let mut pause = RENEW_INTERVAL;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Some(lease),
                () = sleep(pause) => {}
                () = self.pause_detector.paused(), if pause > RENEW_RETRY_DELAY => {}
            }
            let begun = Instant::now();
            pause = match lease.renew().await {
                Ok(()) => {
                    self.pause_detector.lease_renewed(begun);
                    self.fence().heartbeat_sent(begun);
                    RENEW_INTERVAL.saturating_sub(begun.elapsed())
                }
                Err(LeaseError::Lost) => {
                    METRICS.instance_losses.inc();
                    error!(
                        instance = self.id,
                        "a controller has declared this instance lost; its sessions end and a new one begins"
                    );
                    self.registry.end_all(&Cause::GatewayLost);
                    return None;
                }
                Err(error) => {
                    METRICS.lease_renewals_failed.inc();
                    warn!(instance = self.id, %error, "the Lease could not be renewed; trying again");
                    RENEW_RETRY_DELAY
                }
            };
        }
    }
}
