//! Leader election among the controllers: the leader alone mirrors sessions into the audit database and deletes
//! those that are on record.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::LEADER_LEASE;
use crate::cluster::LenientLease;
use crate::leases::LeaseError;
use crate::lifecycle::{CAMPAIGN_EVERY, Election, Move, RENEW_TIMEOUT, TAKE_AFTER};
use crate::metrics::METRICS;

/// Until when this controller leads. Whoever does what only the leader may looks at the clock before: one that was
/// paused, or whose requests hang, has no other way to know in time that its reign is over.
#[derive(Clone)]
pub struct LeadershipGuard(watch::Receiver<Option<Instant>>);

impl LeadershipGuard {
    /// One that its campaign tells of.
    pub const fn new(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }

    /// Whether this controller leads.
    pub fn holds(&self) -> bool {
        is_now(*self.0.borrow())
    }

    /// Returns when this controller leads; `false` when it never will any more.
    pub async fn begins(&mut self) -> bool {
        self.0.wait_for(|until| is_now(*until)).await.is_ok()
    }

    /// Returns when it leads no longer.
    pub async fn ends(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| is_now(Some(*until))) else { return };
            tokio::select! {
                () = sleep_until(until.into()) => {}
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn is_now(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

/// Campaigns until `stop` is cancelled, then gives the Lease back. `guard` says until when this controller leads, which
/// is before anybody else can lead, even if the API server cannot be reached.
pub async fn campaign(
    leases: Api<LenientLease>,
    pod: &str,
    id: &str,
    guard: watch::Sender<Option<Instant>>,
    stop: CancellationToken,
) {
    let mut election = Election::new(pod, id);
    while !stop.is_cancelled() {
        if let Err(error) = round(&leases, id, &mut election).await {
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "the leader's Lease could not be looked at or renewed");
        }
        announce(&guard, election.leads_until(Instant::now()));
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(CAMPAIGN_EVERY) => {}
        }
    }
    let led = election.leads_until(Instant::now()).is_some();
    announce(&guard, None);
    if led {
        give_back(&leases, id).await;
    }
}

/// Says until when this controller leads. That it leads on is no news.
fn announce(guard: &watch::Sender<Option<Instant>>, until: Option<Instant>) {
    METRICS.leader.set(i64::from(until.is_some()));
    guard.send_if_modified(|known| {
        let led = std::mem::replace(known, until);
        match (is_now(led), until.is_some()) {
            (false, true) => info!("this controller leads"),
            (_, false) if led.is_some() => info!("this controller leads no longer"),
            (_, false) | (true, true) => return false,
        }
        true
    });
}

async fn round(leases: &Api<LenientLease>, id: &str, election: &mut Election) -> Result<(), LeaseError> {
    let current = timeout(RENEW_TIMEOUT, leases.get_opt(LEADER_LEASE)).await.map_err(|_| LeaseError::Timeout)??;
    let (holder, version) = match &current {
        Some(LenientLease(lease)) => (holder(lease), lease.metadata.resource_version.clone().unwrap_or_default()),
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

async fn claim(
    leases: &Api<LenientLease>,
    current: Option<LenientLease>,
    id: &str,
) -> Result<LenientLease, kube::Error> {
    let now = MicroTime(Timestamp::now());
    let Some(LenientLease(mut lease)) = current else {
        let metadata = ObjectMeta { name: Some(LEADER_LEASE.to_owned()), ..ObjectMeta::default() };
        let spec = LeaseSpec {
            holder_identity: Some(id.to_owned()),
            lease_duration_seconds: i32::try_from(TAKE_AFTER.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        };
        return leases.create(&PostParams::default(), &LenientLease(Lease { metadata, spec: Some(spec) })).await;
    };
    let changes_hands = holder(&lease) != id;
    let spec = lease.spec.get_or_insert_default();
    if changes_hands {
        spec.holder_identity = Some(id.to_owned());
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
    }
    spec.renew_time = Some(now);
    leases.replace(LEADER_LEASE, &PostParams::default(), &LenientLease(lease)).await
}

/// Leaves the Lease without a holder, so that another can lead at once.
async fn give_back(leases: &Api<LenientLease>, id: &str) {
    let given_back = async {
        let LenientLease(mut lease) = leases.get(LEADER_LEASE).await?;
        if holder(&lease) == id {
            lease.spec.get_or_insert_default().holder_identity = None;
            leases.replace(LEADER_LEASE, &PostParams::default(), &LenientLease(lease)).await?;
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
