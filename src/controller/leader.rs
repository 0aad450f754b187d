//! Leader election among the controllers: the leader alone mirrors sessions into the audit database and deletes
//! those that are on record.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::lifecycle::{CAMPAIGN_EVERY, Election, Move, RENEW_TIMEOUT, TAKE_AFTER};
use crate::liveness::LeaseError;
use crate::metrics::METRICS;

/// The Lease that the leader holds.
const LEADER_LEASE: &str = "bastion-controller";

/// Campaigns until `stop` is cancelled, then gives the Lease back. `leading` says at each moment whether this
/// controller leads; it turns false before anybody else can lead, even if the API server cannot be reached.
pub async fn campaign(leases: Api<Lease>, pod: &str, id: &str, leading: watch::Sender<bool>, stop: CancellationToken) {
    let mut election = Election::new(pod, id);
    while !stop.is_cancelled() {
        if let Err(error) = round(&leases, id, &mut election).await {
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "the leader's Lease could not be looked at or renewed");
        }
        let until = election.leads_until(Instant::now());
        announce(&leading, until.is_some());
        let expired = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(CAMPAIGN_EVERY) => {}
            () = expired => announce(&leading, false),
        }
    }
    let led = election.leads_until(Instant::now()).is_some();
    announce(&leading, false);
    if led {
        give_back(&leases, id).await;
    }
}

fn announce(leading: &watch::Sender<bool>, leads: bool) {
    let changed = leading.send_if_modified(|led| std::mem::replace(led, leads) != leads);
    match (changed, leads) {
        (true, true) => info!("this controller leads"),
        (true, false) => info!("this controller leads no longer"),
        (false, _) => {}
    }
}

async fn round(leases: &Api<Lease>, id: &str, election: &mut Election) -> Result<(), LeaseError> {
    let current = timeout(RENEW_TIMEOUT, leases.get_opt(LEADER_LEASE)).await.map_err(|_| LeaseError::Timeout)??;
    let (holder, version) = match &current {
        Some(lease) => (holder(lease), lease.metadata.resource_version.clone().unwrap_or_default()),
        None => (String::new(), String::new()),
    };
    let sent = Instant::now();
    if election.see(&holder, &version, sent) == Move::Wait {
        election.beaten();
        return Ok(());
    }
    match timeout(RENEW_TIMEOUT, claim(leases, current, id)).await.map_err(|_| LeaseError::Timeout)? {
        Ok(_) => election.claimed(sent),
        Err(kube::Error::Api(status)) if status.code == 409 => election.beaten(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn claim(leases: &Api<Lease>, current: Option<Lease>, id: &str) -> Result<Lease, kube::Error> {
    let now = MicroTime(Timestamp::now());
    let Some(mut lease) = current else {
        let metadata = ObjectMeta { name: Some(LEADER_LEASE.to_owned()), ..ObjectMeta::default() };
        let spec = LeaseSpec {
            holder_identity: Some(id.to_owned()),
            lease_duration_seconds: i32::try_from(TAKE_AFTER.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        };
        return leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await;
    };
    let changes_hands = holder(&lease) != id;
    let spec = lease.spec.get_or_insert_default();
    if changes_hands {
        spec.holder_identity = Some(id.to_owned());
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
    }
    spec.renew_time = Some(now);
    leases.replace(LEADER_LEASE, &PostParams::default(), &lease).await
}

/// Leaves the Lease without a holder, so that another can lead at once.
async fn give_back(leases: &Api<Lease>, id: &str) {
    let given_back = async {
        let mut lease = leases.get(LEADER_LEASE).await?;
        if holder(&lease) == id {
            lease.spec.get_or_insert_default().holder_identity = None;
            leases.replace(LEADER_LEASE, &PostParams::default(), &lease).await?;
        }
        Ok::<_, kube::Error>(())
    };
    if let Ok(Err(error)) = timeout(RENEW_TIMEOUT, given_back).await {
        warn!(%error, "the leader's Lease could not be given back; another controller waits until it has expired");
    }
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}
