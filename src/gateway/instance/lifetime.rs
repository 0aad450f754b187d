//! One gateway instance: a Lease that it renews, and the sessions that it owns.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kube::{Api, Client};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::pause_detector::PauseDetector;
use crate::api::{BastionSession, END_KEY_ANNOTATION, LEASE_OF_GATEWAY, POD_UID_ANNOTATION};
use crate::clock;
use crate::cluster::{Guarded, UnreadableReports};
use crate::gateway::session::Registry;
use crate::leases::{InstanceLease, LeaseError, new_instance_name};
use crate::lifecycle::{Cause, CredentialWatch, Fence, RENEW_INTERVAL, RENEW_RETRY_DELAY};
use crate::metrics::METRICS;
use crate::redis::reported_ends::EndSigner;

/// One instance of the gateway. A process that was declared lost continues as a new instance.
pub struct Instance {
    /// The name of the gateway's Pod.
    pub pod: String,
    /// The name of the instance and of its Lease.
    pub id: String,
    /// The sessions that the instance owns.
    pub registry: Registry,
    /// Signs the ends that the instance reports through Redis; `None` if the system has no random numbers for a key.
    pub end_signer: Option<Arc<EndSigner>>,
    /// Detects pauses of the process.
    pub pause_detector: Arc<PauseDetector>,
    /// The names of Active objects without a session whose end is being written.
    pub(super) stale_ends: Arc<Mutex<HashSet<String>>>,
    fence: Mutex<Fence>,
}

/// The configuration that all instances of one process share.
pub struct InstanceConfig {
    /// The client of the API server.
    pub client: Client,
    /// The client for the Leases. Its connections carry only Lease requests, so that other requests do not delay a renewal.
    pub lease_client: Client,
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
    /// Returns the annotations of the Leases: the Pod's uid, and the annotations of the endpoint for observers.
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
        let InstanceConfig { lease_client, namespace, pod, annotations, .. } = config;
        let id = new_instance_name(pod);
        let leases = Api::namespaced(lease_client.clone(), namespace);
        let end_signer = EndSigner::new(&id).map(Arc::new);
        let end_signer =
            end_signer.inspect_err(|error| warn!(%error, "no key for ends; they are not reported through Redis")).ok();
        let end_key = end_signer.iter().map(|signer| (END_KEY_ANNOTATION.to_owned(), signer.public_key()));
        let annotations = annotations.clone().into_iter().chain(end_key).collect();
        let lease = InstanceLease::acquire(leases, &id, LEASE_OF_GATEWAY, annotations).await?;
        info!(instance = id, "gateway instance started");
        let instance = Self {
            pod: pod.clone(),
            id,
            registry: Registry::default(),
            end_signer,
            pause_detector: Arc::default(),
            stale_ends: Arc::default(),
            fence: Mutex::new(Fence::new(clock::now())),
        };
        Ok((Arc::new(instance), lease))
    }

    /// Returns the fence, which records the heartbeats that reached the API server or Redis.
    pub fn fence(&self) -> MutexGuard<'_, Fence> {
        self.fence.lock()
    }

    /// Renews the Lease until `stop` is cancelled, and then returns it. Ends all sessions of the instance and returns `None`
    /// when a controller has declared the instance lost, or when the API server has refused the gateway's credentials for
    /// too long.
    pub async fn renew_lease(&self, mut lease: InstanceLease, stop: CancellationToken) -> Option<InstanceLease> {
        let mut pause = RENEW_INTERVAL;
        let mut credentials = CredentialWatch::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Some(lease),
                () = sleep(pause) => {}
                () = self.pause_detector.paused(), if pause > RENEW_RETRY_DELAY => {}
            }
            let begun = clock::now();
            let renewed = lease.renew().await;
            let code = renewed.as_ref().err().map_or(Some(200), LeaseError::code);
            let is_revoked = credentials.observe(code, clock::now());
            pause = match renewed {
                Ok(()) => {
                    self.pause_detector.lease_renewed(begun);
                    self.fence().heartbeat_sent(begun);
                    RENEW_INTERVAL.saturating_sub(clock::now().saturating_duration_since(begun))
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
                Err(error) if is_revoked => {
                    METRICS.fences.inc();
                    error!(instance = self.id, %error, "the API server refuses this gateway's credentials; all sessions end");
                    self.registry.end_all(&Cause::CutOff);
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
