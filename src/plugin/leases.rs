//! Decides from the Leases of the bastion's programs whether the programs are alive. It does not rely on this machine's clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::output::age;
use crate::api::LOST_HOLDER;
use crate::cluster::LenientLease;
use crate::lifecycle::{LOST_AFTER, RENEW_INTERVAL, RENEW_RETRY_DELAY, RENEW_TIMEOUT};

/// How far this machine's clock may be behind the holder's clock before a Lease is read again.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// The interval at which a doubtful Lease is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The state of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// The holder renews it.
    Fresh,
    /// The holder has stopped renewing it. The time is the last renewal, if there was one.
    Silent(Option<Timestamp>),
    /// A controller has declared the holder lost.
    Lost,
    /// The Lease was released and has no holder.
    Vacant,
}

/// A Lease and its observed state.
#[derive(Clone, Debug)]
pub struct ObservedLease {
    /// The last version that was read.
    pub lease: Lease,
    /// The state of the Lease.
    pub state: LeaseState,
}

impl ObservedLease {
    /// Returns the holder; empty if there is none.
    pub fn holder(&self) -> &str {
        self.lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// Describes the state, for a sentence that begins with the holder.
    pub fn describe(&self, now: Timestamp) -> String {
        match &self.state {
            LeaseState::Fresh => "renews its Lease".to_owned(),
            LeaseState::Silent(Some(since)) => format!("has not renewed its Lease for {}", age(*since, now)),
            LeaseState::Silent(None) => "has never renewed its Lease".to_owned(),
            LeaseState::Lost => "was declared lost by a controller".to_owned(),
            LeaseState::Vacant => "was released".to_owned(),
        }
    }
}

/// Returns the state of a Lease by this machine's clock. The state `Silent` may be wrong, because clocks differ.
pub fn state_of(lease: &Lease, now: Timestamp) -> LeaseState {
    let spec = lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        Some(LOST_HOLDER) => return LeaseState::Lost,
        None | Some("") => return LeaseState::Vacant,
        Some(_) => {}
    }
    let renewed = spec.renew_time.map(|time| time.0);
    let elapsed = renewed.map(|time| now.duration_since(time));
    match elapsed {
        Some(elapsed) if elapsed >= -MAX_CLOCK_SKEW && elapsed.unsigned_abs() <= LOST_AFTER => LeaseState::Fresh,
        _ => LeaseState::Silent(renewed),
    }
}

/// Returns Leases with their states. Reads a silent Lease again until it changes, for at most as long as a live holder needs to
/// renew it.
///
/// # Errors
/// When a Lease cannot be read again.
pub async fn observe(
    api: &Api<LenientLease>,
    leases: Vec<Lease>,
    now: Timestamp,
) -> Result<Vec<ObservedLease>, kube::Error> {
    let mut seen: Vec<_> =
        leases.into_iter().map(|lease| ObservedLease { state: state_of(&lease, now), lease }).collect();
    let until = Instant::now() + RENEW_INTERVAL + RENEW_TIMEOUT + RENEW_RETRY_DELAY;
    while Instant::now() < until && seen.iter().any(in_doubt) {
        sleep(POLL_INTERVAL).await;
        for it in seen.iter_mut().filter(|it| in_doubt(it)) {
            if let Some(LenientLease(lease)) = api.get_opt(&it.lease.name_any()).await?
                && lease.metadata.resource_version != it.lease.metadata.resource_version
            {
                let state = state_of(&lease, now);
                // A change is a sign of life, even if the clocks differ.
                it.state = if matches!(state, LeaseState::Silent(_)) { LeaseState::Fresh } else { state };
                it.lease = lease;
            }
        }
    }
    Ok(seen)
}

const fn in_doubt(seen: &ObservedLease) -> bool {
    matches!(seen.state, LeaseState::Silent(_))
}

#[cfg(test)]
pub mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::plugin::samples::at;

    /// Returns a Lease that was renewed at this second.
    pub fn lease(name: &str, program: &str, holder: &str, renewed: i64) -> Lease {
        let spec = json!({"holderIdentity": holder, "renewTime": format!("{:.6}", at(renewed))});
        let metadata = json!({"name": name, "labels": {"bastion.dev/lease-of": program}, "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[rstest]
    #[case::just_now("a", 100, LeaseState::Fresh)]
    #[case::in_time("a", 80, LeaseState::Fresh)]
    #[case::by_a_clock_a_little_ahead("a", 104, LeaseState::Fresh)]
    #[case::by_a_clock_far_ahead("a", 106, LeaseState::Silent(Some(at(106))))]
    #[case::too_long_ago("a", 79, LeaseState::Silent(Some(at(79))))]
    #[case::lost("lost", 100, LeaseState::Lost)]
    #[case::given_back("", 100, LeaseState::Vacant)]
    fn a_lease_has_a_state(#[case] holder: &str, #[case] renewed: i64, #[case] expected: LeaseState) {
        assert_eq!(state_of(&lease("a", "gateway", holder, renewed), at(100)), expected);
    }
}
