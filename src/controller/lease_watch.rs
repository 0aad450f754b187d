//! Detects lost gateway instances by their Leases. A Lease of the controller's own shows whether its watch of Leases works.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::shared_detector::SharedDetector;
use super::{Settings, pods, redis_heartbeats};
use crate::api::{BastionSession, LEASE_LABEL, LEASE_OF_CONTROLLER, LEASE_OF_GATEWAY};
use crate::clock;
use crate::cluster::{Guarded, LenientLease, REQUEST_TIMEOUT, watch};
use crate::http::Readiness;
use crate::leases::{InstanceLease, LeaseError, declare_lost, delete_lost, new_instance_name, observe_lease};
use crate::lifecycle::{HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT, LOST_AFTER, LOST_LEASE_RETENTION, LeaseVersion, TICK};
use crate::metrics::METRICS;
use crate::redis::RedisClient;
use crate::tasks::{named, ticks};

/// Detects lost instances.
pub struct Detection {
    pub client: Client,
    /// The API of Leases, on connections of its own.
    pub leases: Api<LenientLease>,
    pub settings: Settings,
    pub redis: Option<Arc<RedisClient>>,
    pub detector: SharedDetector,
    /// Takes the name of each lost instance, for the reconciler.
    pub losses: mpsc::Sender<String>,
    /// Set once the controller has observed for [`LOST_AFTER`] without a lapse, so that it can declare an instance lost.
    pub ready: Readiness,
}

impl Detection {
    /// Detects losses until `stop` is cancelled. Returns earlier only if one of the detector's parts ends, which is a failure.
    pub async fn run(self, stop: CancellationToken) {
        let Self { client, leases, settings, redis, detector, losses, ready } = self;
        let sessions = Api::namespaced(client.clone(), &settings.namespace);
        let own = new_instance_name(&settings.pod);
        let watching = watch_leases(leases.clone(), &own, &detector, &losses);
        let checking = check_suspects(leases.clone(), sessions, &detector, &losses, &ready);
        let part = tokio::select! {
            () = named("Lease watch", watching) => "Lease watch",
            () = named("Lease renewal", renew_own_lease(leases.clone(), &own, stop.clone())) => "Lease renewal",
            () = named("check for lost instances", checking) => "check for lost instances",
            () = named("Pod watch", pods::watch(client, &settings.namespace, &detector)) => "Pod watch",
            () = named("Redis poll", redis_heartbeats::poll(leases.clone(), redis, &detector)) => "Redis poll",
            () = tick(&detector) => "clock",
        };
        // At a shutdown, the renewal of the Lease ends. Or the reconciler ends first, and with it the receiver of losses.
        if !stop.is_cancelled() {
            error!(part, "a part of the failure detector ended");
        }
    }
}

/// Feeds the watch of Leases into the failure detector.
async fn watch_leases(leases: Api<LenientLease>, own: &str, detector: &SharedDetector, losses: &mpsc::Sender<String>) {
    let bastion_leases = watcher::Config::default().labels(LEASE_LABEL);
    let mut events = std::pin::pin!(watch(leases, bastion_leases));
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let lost = match event {
            Event::Init => {
                listed.clear();
                vec![]
            }
            Event::InitApply(lease) => {
                listed.insert(lease.name_any());
                observe(&lease.0, own, detector, Source::List)
            }
            Event::InitDone => detector.lock().leases_listed(&listed, clock::now()),
            Event::Apply(lease) => observe(&lease.0, own, detector, Source::Watch),
            Event::Delete(lease) => {
                detector.lock().lease_deleted(&lease.name_any(), clock::now());
                vec![lease.name_any()]
            }
        };
        // The sessions of an instance that is lost, or that has no Lease, must be reconciled.
        for instance in lost {
            if losses.send(instance).await.is_err() {
                return;
            }
        }
    }
}

/// How a Lease reached the controller: in a list, or as an event of the watch. Only an event proves that the watch works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    List,
    Watch,
}

/// Records a Lease in the failure detector. If a gateway's Lease is newly marked as lost, returns a list of the instance's
/// name; otherwise an empty list.
fn observe(lease: &Lease, own: &str, detector: &SharedDetector, source: Source) -> Vec<String> {
    let (name, now) = (lease.name_any(), clock::now());
    if name == own {
        if source == Source::Watch {
            detector.lock().observe_own_heartbeat(now);
        }
    } else if !is_of_gateway(lease) {
        detector.lock().observe_controller_lease(&name, observe_lease(lease));
    } else if detector.lock().observe_lease(&name, observe_lease(lease), now) {
        info!(instance = name, "instance is lost");
        return vec![name];
    }
    vec![]
}

/// Returns whether a gateway renews the Lease. Controllers and audit programs have Leases too, and no session depends on them.
fn is_of_gateway(lease: &Lease) -> bool {
    lease.labels().get(LEASE_LABEL).is_none_or(|program| program == LEASE_OF_GATEWAY)
}

/// Renews this controller's own Lease until `stop` is cancelled. The events of that Lease prove that the watch works.
async fn renew_own_lease(leases: Api<LenientLease>, own: &str, stop: CancellationToken) {
    let mut ticks = ticks(HEARTBEAT_INTERVAL);
    let mut lease: Option<InstanceLease> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let renewed = timeout(HEARTBEAT_TIMEOUT, async {
            if let Some(lease) = &mut lease {
                return lease.renew().await;
            }
            lease = Some(InstanceLease::acquire(leases.clone(), own, LEASE_OF_CONTROLLER, BTreeMap::new()).await?);
            Ok(())
        });
        if let Err(error) = renewed.await.unwrap_or(Err(LeaseError::Timeout)) {
            if matches!(error, LeaseError::Lost) {
                // Another controller deleted the Lease during a long absence.
                lease = None;
            }
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "could not renew the controller's own Lease; it declares no instance lost until it can");
        }
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
}

/// Tells the failure detector at every tick that this process runs, so that the detector notices pauses of the process.
async fn tick(detector: &SharedDetector) {
    let mut ticks = ticks(TICK);
    loop {
        ticks.tick().await;
        detector.lock().tick(clock::now());
    }
}

/// Declares suspects lost at every tick, and deletes Leases that are no longer needed.
async fn check_suspects(
    leases: Api<LenientLease>,
    sessions: Api<Guarded<BastionSession>>,
    detector: &SharedDetector,
    losses: &mpsc::Sender<String>,
    ready: &Readiness,
) {
    let mut ticks = ticks(TICK);
    let mut observing_since = None;
    loop {
        ticks.tick().await;
        let now = clock::now();
        let (observing, suspects) = {
            let mut detector = detector.lock();
            (detector.trusts_its_watch(now), detector.suspects(now))
        };
        METRICS.observing.set(observing.into());
        observing_since = observing.then(|| observing_since.unwrap_or(now));
        // A rollout stops the old controllers once the new ones are ready. Only a controller that has observed for this long
        // notices a loss during the rollout.
        if observing_since.is_some_and(|since| now.duration_since(since) >= LOST_AFTER) {
            ready.set(true);
        }
        for suspect in suspects {
            if suspect.resource_version.is_none() && !has_active_sessions(&sessions, &suspect.instance).await {
                detector.lock().remove(&suspect.instance);
            } else if try_declare_lost(&leases, &suspect, detector).await
                && losses.send(suspect.instance).await.is_err()
            {
                return;
            }
        }
        delete_old_leases(&leases, detector).await;
    }
}

/// Declares a suspect lost, unless it has given a sign of life since. Returns whether this controller declared the loss.
async fn try_declare_lost(leases: &Api<LenientLease>, suspect: &LeaseVersion, detector: &SharedDetector) -> bool {
    // The suspects before this one took time. A new Lease or Redis heartbeat may have come meanwhile.
    if !detector.lock().suspects(clock::now()).contains(suspect) {
        return false;
    }
    match declare_lost(leases, suspect).await {
        Ok(true) => {
            METRICS.instances_declared_lost.inc();
            warn!(instance = suspect.instance, "declared lost: no sign of life in time");
            detector.lock().mark_lost(&suspect.instance, clock::now());
            true
        }
        // Another controller declared it lost; the watch delivers that.
        Ok(false) => false,
        Err(LeaseError::Kube(kube::Error::Api(status))) if status.code == 409 => {
            info!(instance = suspect.instance, "the Lease changed; the instance runs, or another controller was first");
            false
        }
        Err(error) => {
            warn!(instance = suspect.instance, %error, "could not declare the instance lost; retrying");
            false
        }
    }
}

/// Returns whether an instance without a Lease has active sessions, by a consistent read of the API server. An unreadable
/// session counts as active. A failed read counts as yes, because the Lease that the controller then creates does no harm.
async fn has_active_sessions(sessions: &Api<Guarded<BastionSession>>, instance: &str) -> bool {
    let selector = format!("spec.gateway.instance={instance},status.phase=Active");
    let params = ListParams::default().fields(&selector).limit(1);
    match timeout(REQUEST_TIMEOUT, sessions.list(&params)).await {
        Ok(Ok(list)) => !list.items.is_empty(),
        Ok(Err(_)) | Err(_) => true,
    }
}

/// Deletes the Leases of instances that were lost long ago, and of controllers that are gone.
async fn delete_old_leases(leases: &Api<LenientLease>, detector: &SharedDetector) {
    let Ok(before) = Timestamp::now().checked_sub(LOST_LEASE_RETENTION) else { return };
    let old = detector.lock().expired_leases(before);
    for lease in old {
        if let Err(error) = delete_lost(leases, &lease).await {
            warn!(lease = lease.instance, %error, "could not delete an old Lease; retrying");
        }
    }
}
