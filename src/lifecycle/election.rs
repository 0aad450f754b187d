//! Leader election among the audit programs: one candidate's view of the leader Lease, on its own monotonic clock.
//!
//! The leader steps down before another candidate can lead. No maintained crate guarantees this: the documentation of
//! `kube-leader-election` says that two replicas may lead for a short time.

use std::time::{Duration, Instant};

/// The interval at which the leader renews the Lease and the other candidates read it.
pub const LEADER_RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long a leader leads after it sent its last successful renewal.
pub const LEADER_RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How long the Lease must stay unchanged before another candidate takes it over. It is longer than
/// [`LEADER_RENEW_DEADLINE`], so that the old leader has stepped down by then.
pub const LEADER_LEASE_DURATION: Duration = Duration::from_secs(15);

/// The next action of a candidate that has read the leader Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    /// Waits: another candidate leads, or may still lead.
    Wait,
    /// Writes its own name as the holder, or renews the Lease, by compare-and-swap.
    Claim,
}

/// One candidate for leadership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    /// The name of the candidate's Pod. Only one process runs in a Pod at a time, so the claim of an earlier process in this
    /// Pod is void.
    pod: String,
    id: String,
    /// The last version of the Lease, and when it was first read.
    seen: Option<(String, Instant)>,
    /// When the last successful claim was sent.
    claimed: Option<Instant>,
}

impl Election {
    /// Creates the candidate `id`; `id` is the name of its Pod, a hyphen, and a random part.
    pub fn new(pod: &str, id: &str) -> Self {
        Self { pod: pod.to_owned(), id: id.to_owned(), seen: None, claimed: None }
    }

    /// Records the Lease's holder and the Lease's version, which changes with every renewal. Returns what to do next.
    pub fn observe(&mut self, holder: &str, version: &str, now: Instant) -> ElectionStep {
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != version) {
            self.seen = Some((version.to_owned(), now));
        }
        let stood_still = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.duration_since(*since));
        let own = holder == self.id || holder.rsplit_once('-').is_some_and(|(pod, _)| pod == self.pod);
        if holder.is_empty() || own || stood_still >= LEADER_LEASE_DURATION {
            ElectionStep::Claim
        } else {
            ElectionStep::Wait
        }
    }

    /// Records that the claim sent at `sent` has succeeded.
    pub fn claim_succeeded(&mut self, sent: Instant) {
        self.claimed = Some(sent);
    }

    /// Records that the claim failed, because another candidate holds the Lease.
    pub fn claim_failed(&mut self) {
        self.claimed = None;
    }

    /// Returns until when this candidate leads, or `None` if it does not lead.
    pub fn leads_until(&self, now: Instant) -> Option<Instant> {
        let until = self.claimed? + LEADER_RENEW_DEADLINE;
        (now < until).then_some(until)
    }

    /// Shifts every stored instant; see [`super::FailureDetector::shift`].
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        self.seen = self.seen.take().map(|(version, since)| (version, to(since)));
        self.claimed = self.claimed.map(to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_free_lease_is_claimed_and_a_held_one_left_alone() {
        let start = Instant::now();
        let mut election = Election::new("ctl-1", "ctl-1-aaaaaaaaaa");
        assert_eq!(election.observe("", "1", start), ElectionStep::Claim);
        assert_eq!(election.observe("ctl-2-bbbbbbbbbb", "2", start), ElectionStep::Wait);
        assert_eq!(election.observe("ctl-1-aaaaaaaaaa", "3", start), ElectionStep::Claim);
        assert_eq!(
            election.observe("ctl-1-zzzzzzzzzz", "4", start),
            ElectionStep::Claim,
            "an earlier process of the same Pod"
        );
        assert_eq!(election.observe("ctl-1-x-zzzzzzzzzz", "5", start), ElectionStep::Wait, "a Pod of a similar name");
    }

    #[test]
    fn an_unchanged_lease_is_taken_after_its_leader_has_stepped_down() {
        let start = Instant::now();
        let mut election = Election::new("ctl-1", "ctl-1-aaaaaaaaaa");
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(election.observe("ctl-2-bbbbbbbbbb", "1", at(0)), ElectionStep::Wait);
        assert_eq!(election.observe("ctl-2-bbbbbbbbbb", "1", at(14)), ElectionStep::Wait);
        assert_eq!(election.observe("ctl-2-bbbbbbbbbb", "2", at(14)), ElectionStep::Wait);
        assert_eq!(election.observe("ctl-2-bbbbbbbbbb", "2", at(29)), ElectionStep::Claim);
    }

    #[test]
    fn leadership_ends_without_a_renewal() {
        let start = Instant::now();
        let mut election = Election::new("ctl-1", "ctl-1-aaaaaaaaaa");
        assert_eq!(election.leads_until(start), None);
        election.claim_succeeded(start);
        assert_eq!(election.leads_until(start), Some(start + LEADER_RENEW_DEADLINE));
        assert_eq!(election.leads_until(start + LEADER_RENEW_DEADLINE), None);
        election.claim_succeeded(start + LEADER_RENEW_DEADLINE);
        election.claim_failed();
        assert_eq!(election.leads_until(start + LEADER_RENEW_DEADLINE), None);
    }

    /// The Lease on the API server. Writes to it are compare-and-swap.
    struct Lease {
        holder: String,
        version: u64,
    }

    proptest! {
        /// Holds for any delay of an answer and any sleep of a candidate.
        #[test]
        fn two_candidates_never_lead_at_once(steps in prop::collection::vec((0..2_usize, 0..8_000_u64, 0..6_000_u64), 1..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut lease = Lease { holder: String::new(), version: 0 };
            let mut candidates = [Election::new("a", "a-1"), Election::new("b", "b-1")];
            for (who, sleep, answer_after) in steps {
                now += Duration::from_millis(sleep);
                let id = candidates[who].id.clone();
                let version = lease.version.to_string();
                if candidates[who].observe(&lease.holder, &version, now) == ElectionStep::Claim {
                    // No other candidate wrote since this one read the Lease: the swap succeeds, and its answer is late.
                    lease = Lease { holder: id, version: lease.version + 1 };
                    let sent = now;
                    now += Duration::from_millis(answer_after);
                    candidates[who].claim_succeeded(sent);
                } else {
                    candidates[who].claim_failed();
                }
                let leading = candidates.iter().filter(|candidate| candidate.leads_until(now).is_some()).count();
                prop_assert!(leading <= 1, "{candidates:?}");
            }
        }
    }
}
