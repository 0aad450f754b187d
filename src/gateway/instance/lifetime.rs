//! One life of the gateway's process, as controllers know it: a Lease that it renews, and the sessions it carries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use backon::Retryable;
use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::pause_detector::PauseDetector;
use crate::api::{
    AUDIT_FINALIZER, BastionSession, BastionSessionStatus, LEASE_OF_GATEWAY, ObservedBy, POD_UID_ANNOTATION, Reason,
};
use crate::cluster::{Guarded, SessionWriter, UnreadableReports, regarding, retry_pace};
use crate::gateway::observe::Endpoint;
use crate::gateway::session::Registry;
use crate::leases::{InstanceLease, LeaseError, new_instance};
use crate::lifecycle::{Cause, End, Fence, RENEW_EVERY, RENEW_RETRY, STALE_AFTER};
use crate::metrics::{EndLabels, METRICS};

/// One life of the gateway.
pub struct Instance {
    /// The name of the gateway's Pod.
    pub pod: String,
    /// The name of this life, and of its Lease.
    pub id: String,
    /// The sessions that it carries.
    pub registry: Registry,
    /// Whether the process has been running all the time.
    pub pulse: Arc<PauseDetector>,
    fence: Mutex<Fence>,
}

/// Where the process lives, life after life.
pub struct InstanceConfig {
    /// The way to the API server.
    pub client: Client,
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the gateway's Pod.
    pub pod: String,
    /// What stands in the Leases of its lives.
    pub annotations: BTreeMap<String, String>,
    /// Reports the sessions that cannot be read.
    pub reports: UnreadableReports,
}

impl InstanceConfig {
    /// Returns the annotations of the Leases: the Pod's uid, and where live sessions can be observed.
    pub fn lease_annotations(pod_uid: Option<String>, observe: Option<&Endpoint>) -> BTreeMap<String, String> {
        let pod_uid = pod_uid.map(|uid| (POD_UID_ANNOTATION.to_owned(), uid));
        observe.map(Endpoint::annotations).unwrap_or_default().into_iter().chain(pod_uid).collect()
    }

    /// The sessions of the bastion.
    pub fn sessions(&self) -> Api<Guarded<BastionSession>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl Instance {
    /// Begins a life: once this returns, the controllers know of it.
    ///
    /// # Errors
    /// When the Lease cannot be created.
    pub async fn begin(config: &InstanceConfig) -> Result<(Arc<Self>, InstanceLease), LeaseError> {
        let InstanceConfig { client, namespace, pod, annotations, .. } = config;
        let id = new_instance(pod);
        let leases = Api::namespaced(client.clone(), namespace);
        let lease = InstanceLease::acquire(leases, &id, LEASE_OF_GATEWAY, annotations.clone()).await?;
        info!(instance = id, "gateway instance begins");
        let instance = Self {
            pod: pod.clone(),
            id,
            registry: Registry::default(),
            pulse: Arc::default(),
            fence: Mutex::new(Fence::new(Instant::now())),
        };
        Ok((Arc::new(instance), lease))
    }

    /// What it knows of its own signs of life.
    pub fn fence(&self) -> MutexGuard<'_, Fence> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the Lease until `stop` is cancelled, or a controller has declared the instance lost, and then every
    /// session of it ends: in the cluster's books they ended already. Returns the Lease if it is still held.
    pub async fn stay_alive(&self, mut lease: InstanceLease, stop: CancellationToken) -> Option<InstanceLease> {
        let mut pause = RENEW_EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Some(lease),
                () = sleep(pause) => {}
                () = self.pulse.doubted(), if pause > RENEW_RETRY => {}
            }
            let begun = Instant::now();
            pause = match lease.renew().await {
                Ok(()) => {
                    self.pulse.assure(begun);
                    self.fence().shown(begun);
                    RENEW_EVERY.saturating_sub(begun.elapsed())
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
                    RENEW_RETRY
                }
            };
        }
    }

    /// Watches this instance's sessions: ends those that somebody asked to end or has ended, and those that it does
    /// not carry. A session that cannot be read goes on until then: its end can be written without reading it.
    pub async fn obey(&self, config: &InstanceConfig, writer: SessionWriter) {
        let api = config.sessions();
        let own = watcher::Config::default().fields(&format!("spec.gateway.instance={}", self.id));
        let mut events = std::pin::pin!(config.reports.watch(api.clone(), own));
        while let Some(event) = events.next().await {
            match event {
                Event::Apply(session) => {
                    if let Ok(session) = &session.0 {
                        observe_end(session);
                    }
                    self.consider(&session, api.clone(), writer.clone());
                }
                Event::InitApply(session) => self.consider(&session, api.clone(), writer.clone()),
                // Without a finalizer's hold, which only force can take off: there is nothing left to write to.
                Event::Delete(session) => drop(self.registry.end(&session.name_any(), &Cause::Deleted)),
                Event::Init | Event::InitDone => {}
            }
        }
    }

    fn consider(&self, session: &Guarded<BastionSession>, api: Api<Guarded<BastionSession>>, writer: SessionWriter) {
        let name = session.name_any();
        if session.has_ended() {
            // Ended by another hand, or by ours a moment ago, and then the order comes too late to matter.
            self.registry.end(&name, &session.asked_to_end().unwrap_or(Cause::GatewayLost));
        } else if let Some(cause) = session.asked_to_end() {
            if !self.registry.end(&name, &cause) {
                tokio::spawn(disown(api, name, cause, writer));
            }
        } else if !self.registry.contains(&name) {
            tokio::spawn(disown(api, name, Cause::Stale, writer));
        }
    }
}

/// Ends the object of a session that the instance does not carry. A session is in the registry from before its
/// object exists until its end is written, so one that is still Active a while later is nobody's. (At once it may
/// only be one that ended so soon that the watch still tells of its beginning.)
async fn disown(api: Api<Guarded<BastionSession>>, name: String, cause: Cause, writer: SessionWriter) {
    sleep(STALE_AFTER).await;
    let look = async || api.get_opt(&name).await;
    let found = look.retry(retry_pace()).notify(|error, _| {
        warn!(session = name, %error, "an Active session without a connection could not be looked at; trying again");
    });
    let (reference, start) = match found.await {
        Ok(Some(Guarded(Ok(session)))) if !session.phase().is_final() => {
            (regarding(&session), session.spec.start_time.0)
        }
        Ok(Some(Guarded(Err(unreadable)))) if unreadable.is_active() => {
            let start = unreadable.session.start.unwrap_or_else(Timestamp::now);
            (unreadable.reference::<BastionSession>(), start)
        }
        Ok(Some(_) | None) | Err(_) => return,
    };
    warn!(session = name, "an Active session of this instance has no connection");
    writer.end_until_final(&reference, &End::unseen(cause, ObservedBy::Gateway, start, None)).await;
}

/// How long after its end the watch told of it, for ends that this gateway saw: of the others, the end is older than
/// anybody's knowledge of it.
fn observe_end(session: &BastionSession) {
    // What comes after the audit's letting go is no news of the end.
    let news = session.finalizers().iter().any(|finalizer| finalizer == AUDIT_FINALIZER);
    let seen = |status: &&BastionSessionStatus| news && status.observed_by == Some(ObservedBy::Gateway);
    let Some(status) = session.status.as_ref().filter(seen) else { return };
    let reason = Reason::ALL.into_iter().find(|reason| Some(reason.as_str()) == status.reason.as_deref());
    if let (Some(reason), Some(end)) = (reason, &status.end_time) {
        let seconds = Timestamp::now().duration_since(end.0).as_secs_f64().max(0.0);
        METRICS.end_seen_seconds.get_or_create(&EndLabels::of(reason)).observe(seconds);
    }
}
