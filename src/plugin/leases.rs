//! The signs of life of the bastion's programs, looked at from outside, by a clock that may be wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::output::age;
use crate::api::LOST_HOLDER;
use crate::cluster::LenientLease;
use crate::lifecycle::{LOST_AFTER, RENEW_EVERY, RENEW_RETRY, RENEW_TIMEOUT};

/// How far this machine's clock may be behind a gateway's without that being noticed.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(5);
/// How often a Lease in doubt is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether somebody renews a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is renewed.
    Fresh,
    /// It is not renewed any more, since this time where that is known.
    Silent(Option<Timestamp>),
    /// A controller has declared the holder lost.
    Lost,
    /// It was given back, and nobody has taken it.
    Vacant,
}

/// A Lease, and what became of it while it was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As it was at last.
    pub lease: Lease,
    /// Whether somebody renews it.
    pub life: Life,
}

impl Seen {
    /// Who holds it.
    pub fn holder(&self) -> &str {
        self.lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// Its life in words.
    pub fn told(&self, now: Timestamp) -> String {
        match &self.life {
            Life::Fresh => "renews its Lease".to_owned(),
            Life::Silent(Some(since)) => format!("has not renewed its Lease for {}", age(*since, now)),
            Life::Silent(None) => "has never renewed its Lease".to_owned(),
            Life::Lost => "was declared lost by a controller".to_owned(),
            Life::Vacant => "was given back".to_owned(),
        }
    }
}

/// What can be said of a Lease by its own words and this machine's clock. `Silent` is a doubt: clocks differ.
pub fn judge(lease: &Lease, now: Timestamp) -> Life {
    let spec = lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        Some(LOST_HOLDER) => return Life::Lost,
        None | Some("") => return Life::Vacant,
        Some(_) => {}
    }
    let renewed = spec.renew_time.map(|time| time.0);
    let past = renewed.map(|time| now.duration_since(time));
    match past {
        Some(past) if past >= -CLOCKS_DIFFER && past.unsigned_abs() <= LOST_AFTER => Life::Fresh,
        _ => Life::Silent(renewed),
    }
}

/// Looks at Leases, and where the clock makes one doubtful, looks again until it has changed or should have.
///
/// # Errors
/// When they cannot be read any more.
pub async fn look(api: &Api<LenientLease>, leases: Vec<Lease>, now: Timestamp) -> Result<Vec<Seen>, kube::Error> {
    let mut seen: Vec<_> = leases.into_iter().map(|lease| Seen { life: judge(&lease, now), lease }).collect();
    let until = Instant::now() + RENEW_EVERY + RENEW_TIMEOUT + RENEW_RETRY;
    while Instant::now() < until && seen.iter().any(in_doubt) {
        sleep(LOOK_EVERY).await;
        for it in seen.iter_mut().filter(|it| in_doubt(it)) {
            if let Some(LenientLease(lease)) = api.get_opt(&it.lease.name_any()).await?
                && lease.metadata.resource_version != it.lease.metadata.resource_version
            {
                let life = judge(&lease, now);
                // A change is a sign of life, whatever the clocks say.
                it.life = if matches!(life, Life::Silent(_)) { Life::Fresh } else { life };
                it.lease = lease;
            }
        }
    }
    Ok(seen)
}

const fn in_doubt(seen: &Seen) -> bool {
    matches!(seen.life, Life::Silent(_))
}

#[cfg(test)]
pub mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::plugin::samples::at;

    /// A Lease that was renewed at this second.
    pub fn lease(name: &str, program: &str, holder: &str, renewed: i64) -> Lease {
        let spec = json!({"holderIdentity": holder, "renewTime": format!("{:.6}", at(renewed))});
        let metadata = json!({"name": name, "labels": {"bastion.dev/lease-of": program}, "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[rstest]
    #[case::just_now("a", 100, Life::Fresh)]
    #[case::in_time("a", 80, Life::Fresh)]
    #[case::by_a_clock_a_little_ahead("a", 104, Life::Fresh)]
    #[case::by_a_clock_far_ahead("a", 106, Life::Silent(Some(at(106))))]
    #[case::too_long_ago("a", 79, Life::Silent(Some(at(79))))]
    #[case::lost("lost", 100, Life::Lost)]
    #[case::given_back("", 100, Life::Vacant)]
    fn a_lease_is_judged(#[case] holder: &str, #[case] renewed: i64, #[case] expected: Life) {
        assert_eq!(judge(&lease("a", "gateway", holder, renewed), at(100)), expected);
    }
}
