//! Leader election among the audit programs. Only the leader writes the audit database and deletes finished sessions.

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
use crate::leases::{LeaseError, new_instance_name, with_timeout};
use crate::lifecycle::{Election, ElectionStep, LEADER_LEASE_DURATION, LEADER_RETRY_PERIOD, RENEW_TIMEOUT};
use crate::metrics::METRICS;

/// The time until which this program leads. Check it before each action of a leader. After a pause of the process, or while
/// requests hang, only the clock shows that the leadership has expired.
#[derive(Clone)]
pub struct LeadershipGuard(watch::Receiver<Option<Instant>>);

impl LeadershipGuard {
    /// Creates a guard from the receiver of the channel that [`campaign`] sends to.
    pub const fn new(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }

    /// Returns whether this program leads now.
    pub fn holds(&self) -> bool {
        is_ahead(*self.0.borrow())
    }

    /// Waits until this program leads. Returns `false` if its campaign has ended.
    pub async fn begins(&mut self) -> bool {
        self.0.wait_for(|until| is_ahead(*until)).await.is_ok()
    }

    /// Waits until this program no longer leads.
    pub async fn ends(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| is_ahead(Some(*until))) else { return };
            tokio::select! {
                () = sleep_until(until.into()) => {}
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn is_ahead(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

/// Takes part in the election until `stop` is cancelled, then releases the Lease. Sends the end of this program's term to
/// `leads_until`. The term ends before another candidate can acquire the Lease, even if the API server is unreachable.
pub async fn campaign(
    leases: Api<LenientLease>,
    pod: String,
    leads_until: watch::Sender<Option<Instant>>,
    stop: CancellationToken,
) {
    let id = new_instance_name(&pod);
    let mut election = Election::new(&pod, &id);
    while !stop.is_cancelled() {
        if let Err(error) = acquire_or_renew(&leases, &id, &mut election).await {
            METRICS.lease_renewals_failed.inc();
            warn!(%error, "could not read or renew the leader's Lease; retrying");
        }
        announce(&leads_until, election.leads_until(Instant::now()));
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LEADER_RETRY_PERIOD) => {}
        }
    }
    let led = election.leads_until(Instant::now()).is_some();
    announce(&leads_until, None);
    if led {
        release(&leases, &id).await;
    }
}

/// Publishes until when this program leads. Wakes the receivers only when the program becomes the leader or stops leading.
fn announce(leads_until: &watch::Sender<Option<Instant>>, until: Option<Instant>) {
    METRICS.leader.set(i64::from(until.is_some()));
    leads_until.send_if_modified(|known| {
        let led = std::mem::replace(known, until);
        match (is_ahead(led), until.is_some()) {
            (false, true) => info!("this audit program leads"),
            (_, false) if led.is_some() => info!("this audit program no longer leads"),
            (_, false) | (true, true) => return false,
        }
        true
    });
}

/// Reads the leader's Lease once, and acquires or renews it if the election says so.
async fn acquire_or_renew(leases: &Api<LenientLease>, id: &str, election: &mut Election) -> Result<(), LeaseError> {
    let current = with_timeout(leases.get_opt(LEADER_LEASE)).await?;
    let (holder, version) = match &current {
        Some(LenientLease(lease)) => (holder(lease), lease.metadata.resource_version.clone().unwrap_or_default()),
        None => (String::new(), String::new()),
    };
    let sent = Instant::now();
    if election.observe(&holder, &version, sent) == ElectionStep::Wait {
        election.claim_failed();
        return Ok(());
    }
    match with_timeout(claim(leases, current, id)).await {
        Ok(_) => election.claim_succeeded(sent),
        Err(LeaseError::Kube(kube::Error::Api(status))) if status.code == 409 => election.claim_failed(),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Writes this program into the leader's Lease.
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
            lease_duration_seconds: i32::try_from(LEADER_LEASE_DURATION.as_secs()).ok(),
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

/// Removes the holder from the Lease, so that another candidate can lead at once.
async fn release(leases: &Api<LenientLease>, id: &str) {
    let released = async {
        let LenientLease(mut lease) = leases.get(LEADER_LEASE).await?;
        if holder(&lease) == id {
            lease.spec.get_or_insert_default().holder_identity = None;
            leases.replace(LEADER_LEASE, &PostParams::default(), &LenientLease(lease)).await?;
        }
        Ok::<_, kube::Error>(())
    };
    if let Ok(Err(error)) = timeout(RENEW_TIMEOUT, released).await {
        warn!(%error, "could not release the leader's Lease; another audit program waits until it expires");
    }
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}
