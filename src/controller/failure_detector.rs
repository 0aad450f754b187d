//! Watches the Leases of the gateway instances, doubts itself by a Lease of its own, and declares losses.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Settings, pods, redis_heartbeats};
use crate::api::{BastionSession, LEASE_LABEL, LEASE_OF_CONTROLLER};
use crate::cluster::{Guarded, LenientLease, REQUEST_TIMEOUT, watch};
use crate::leases::{InstanceLease, LeaseError, declare_lost, forget, new_instance, seen};
use crate::lifecycle::{FailureDetector, HEARTBEAT_EVERY, HEARTBEAT_TIMEOUT, LOST_LEASE_KEPT, Suspect, TICK};
use crate::metrics::METRICS;
use crate::redis::RedisLink;

type Shared = Arc<Mutex<FailureDetector>>;

/// Observes until `stop` is cancelled. The names of lost instances go into `losses`.
///
/// # Errors
/// When the watch ends by itself.
pub async fn run(
    client: Client,
    settings: Settings,
    redis: Option<Arc<RedisLink>>,
    observer: Shared,
    losses: mpsc::Sender<String>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let leases: Api<LenientLease> = Api::namespaced(client.clone(), &settings.namespace);
    let sessions = Api::namespaced(client.clone(), &settings.namespace);
    let own = new_instance(&settings.pod);
    tokio::select! {
        () = follow(leases.clone(), &own, &observer, &losses) => anyhow::bail!("the watch of the Leases has ended"),
        () = beat(leases.clone(), &own, stop.clone()) => Ok(()),
        () = judge(leases.clone(), sessions, &observer, &losses) => anyhow::bail!("nobody sweeps any more"),
        () = pods::follow(client, &settings.namespace, &observer) => anyhow::bail!("the watch of the Pods has ended"),
        () = redis_heartbeats::follow(leases.clone(), redis, &observer) => anyhow::bail!("nobody asks Redis any more"),
        () = stay_awake(&observer) => Ok(()),
    }
}

fn with<T>(observer: &Shared, use_it: impl FnOnce(&mut FailureDetector) -> T) -> T {
    use_it(&mut observer.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps the observer's view up to date.
async fn follow(leases: Api<LenientLease>, own: &str, observer: &Shared, losses: &mpsc::Sender<String>) {
    let of_the_bastion = watcher::Config::default().labels(LEASE_LABEL);
    let mut events = std::pin::pin!(watch(leases, of_the_bastion));
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let news = match event {
            Event::Init => {
                listed.clear();
                vec![]
            }
            Event::InitApply(lease) => {
                listed.insert(lease.name_any());
                hear(&lease.0, own, observer, false)
            }
            Event::InitDone => with(observer, |view| view.listed(&listed, Instant::now())),
            Event::Apply(lease) => hear(&lease.0, own, observer, true),
            Event::Delete(lease) => {
                with(observer, |view| view.lease_gone(&lease.name_any(), Instant::now()));
                vec![lease.name_any()]
            }
        };
        // Lost, or gone: the sessions that name it, if any, must be looked at.
        for instance in news {
            if losses.send(instance).await.is_err() {
                return;
            }
        }
    }
}

/// Takes note of a Lease. `fresh`: it comes from the watch and not from a list, which alone shows that the watch
/// works. Returns the instance if it is news that it is lost.
fn hear(lease: &Lease, own: &str, observer: &Shared, fresh: bool) -> Vec<String> {
    let (name, now) = (lease.name_any(), Instant::now());
    if name == own {
        if fresh {
            with(observer, |view| view.heartbeat(now));
        }
    } else if of_controller(lease) {
        with(observer, |view| view.controller_lease(&name, seen(lease)));
    } else if with(observer, |view| view.lease(&name, seen(lease), now)) {
        info!(instance = name, "instance is lost");
        return vec![name];
    }
    vec![]
}

fn of_controller(lease: &Lease) -> bool {
    lease.labels().get(LEASE_LABEL).is_some_and(|program| program == LEASE_OF_CONTROLLER)
}

/// Renews this controller's own Lease, by which it sees whether its watch works.
async fn beat(leases: Api<LenientLease>, own: &str, stop: CancellationToken) {
    let mut ticks = interval(HEARTBEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lease: Option<InstanceLease> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let beaten = timeout(HEARTBEAT_TIMEOUT, async {
            if let Some(lease) = &mut lease {
                return lease.renew().await;
            }
            lease = Some(InstanceLease::acquire(leases.clone(), own, LEASE_OF_CONTROLLER, BTreeMap::new()).await?);
            Ok(())
        });
        if let Err(error) = beaten.await.unwrap_or(Err(LeaseError::Timeout)) {
            if matches!(error, LeaseError::Lost) {
                // Cleared away during a long absence.
                lease = None;
            }
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "the controller's own heartbeat failed; it declares nobody lost meanwhile");
        }
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
}

/// Has the observer know that it runs, apart from the requests that it waits for.
async fn stay_awake(observer: &Shared) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        with(observer, |view| view.awake(Instant::now()));
    }
}

/// Looks for suspects, and declares lost those that have not shown themselves to the API server either.
async fn judge(
    leases: Api<LenientLease>,
    sessions: Api<Guarded<BastionSession>>,
    observer: &Shared,
    losses: &mpsc::Sender<String>,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        METRICS.observing.set(with(observer, |view| view.sees(Instant::now())).into());
        for suspect in with(observer, |view| view.suspects(Instant::now())) {
            if suspect.resource_version.is_none() && !has_active_sessions(&sessions, &suspect.instance).await {
                with(observer, |view| view.forget(&suspect.instance));
                continue;
            }
            // Others took their time; meanwhile it may have shown itself, through Redis too.
            if !with(observer, |view| view.suspects(Instant::now())).contains(&suspect) {
                continue;
            }
            match declare_lost(&leases, &suspect).await {
                Ok(true) => {
                    METRICS.instances_declared_lost.inc();
                    warn!(instance = suspect.instance, "declared lost: no sign of life in time");
                    with(observer, |view| view.declared_lost(&suspect.instance, Instant::now()));
                    if losses.send(suspect.instance).await.is_err() {
                        return;
                    }
                }
                // Another controller did; the watch will say so.
                Ok(false) => {}
                Err(error) => doubt(&suspect, &error),
            }
        }
        clear_away(&leases, observer).await;
    }
}

/// Whether there is anything to sweep behind an instance that has no Lease: a consistent read. Where it fails,
/// the answer is yes: a Lease too many does no harm. A session that cannot be read counts as active.
async fn has_active_sessions(sessions: &Api<Guarded<BastionSession>>, instance: &str) -> bool {
    let selector = format!("spec.gateway.instance={instance},status.phase=Active");
    let params = ListParams::default().fields(&selector).limit(1);
    match timeout(REQUEST_TIMEOUT, sessions.list(&params)).await {
        Ok(Ok(list)) => !list.items.is_empty(),
        Ok(Err(_)) | Err(_) => true,
    }
}

fn doubt(suspect: &Suspect, error: &LeaseError) {
    match error {
        LeaseError::Kube(kube::Error::Api(status)) if status.code == 409 => {
            info!(instance = suspect.instance, "the suspect has shown itself, or another controller was first");
        }
        error => warn!(instance = suspect.instance, %error, "the suspect could not be declared lost"),
    }
}

/// Deletes the Leases of instances that were lost long ago, and of controllers that are no more.
async fn clear_away(leases: &Api<LenientLease>, observer: &Shared) {
    let Ok(before) = Timestamp::now().checked_sub(LOST_LEASE_KEPT) else { return };
    for lost in with(observer, |view| view.left_behind(before)) {
        if let Err(error) = forget(leases, &lost).await {
            warn!(lease = lost.instance, %error, "a Lease that nobody needs could not be deleted");
        }
    }
}
