//! Who of the controllers leads: one candidate's view of the leader's Lease, on its own monotonic clock.

use std::time::{Duration, Instant};

/// How often the leader renews, and the others look.
pub const CAMPAIGN_EVERY: Duration = Duration::from_secs(2);
/// For how long after the beginning of its last successful renewal a leader leads.
pub const LEAD_FOR: Duration = Duration::from_secs(10);
/// How long the Lease must have stood still before another takes it: longer than [`LEAD_FOR`], so that a leader has
/// stepped down before anybody can step up.
pub const TAKE_AFTER: Duration = Duration::from_secs(15);

/// What a candidate does next about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing; somebody else leads, or may lead still.
    Wait,
    /// Put the own name into it, or renew it, by compare-and-swap.
    Claim,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    /// The Pod of the candidate. Its processes live one after the other, so a claim by an earlier one is void.
    pod: String,
    id: String,
    seen: Option<(String, Instant)>,
    claimed: Option<Instant>,
}

impl Election {
    /// A candidate called `id`, whose name begins with that of its Pod.
    pub fn new(pod: &str, id: &str) -> Self {
        Self { pod: pod.to_owned(), id: id.to_owned(), seen: None, claimed: None }
    }

    /// Looks at the Lease: its holder, and its version, which changes with every renewal.
    pub fn see(&mut self, holder: &str, version: &str, now: Instant) -> Move {
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != version) {
            self.seen = Some((version.to_owned(), now));
        }
        let stood_still = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.duration_since(*since));
        let own = holder == self.id || holder.rsplit_once('-').is_some_and(|(pod, _)| pod == self.pod);
        if holder.is_empty() || own || stood_still >= TAKE_AFTER { Move::Claim } else { Move::Wait }
    }

    /// A claim that was sent at `sent` has succeeded.
    pub fn claimed(&mut self, sent: Instant) {
        self.claimed = Some(sent);
    }

    /// Somebody else holds the Lease.
    pub fn beaten(&mut self) {
        self.claimed = None;
    }

    /// Until when this candidate leads, if it does.
    pub fn leads_until(&self, now: Instant) -> Option<Instant> {
        let until = self.claimed? + LEAD_FOR;
        (now < until).then_some(until)
    }

    /// Moves everything that it remembers in time, for which see [`super::FailureDetector::shift`].
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
        assert_eq!(election.see("", "1", start), Move::Claim);
        assert_eq!(election.see("ctl-2-bbbbbbbbbb", "2", start), Move::Wait);
        assert_eq!(election.see("ctl-1-aaaaaaaaaa", "3", start), Move::Claim);
        assert_eq!(election.see("ctl-1-zzzzzzzzzz", "4", start), Move::Claim, "an earlier process of the same Pod");
        assert_eq!(election.see("ctl-1-x-zzzzzzzzzz", "5", start), Move::Wait, "a Pod of a similar name");
    }

    #[test]
    fn a_lease_that_stands_still_is_taken_after_its_leader_has_stepped_down() {
        let start = Instant::now();
        let mut election = Election::new("ctl-1", "ctl-1-aaaaaaaaaa");
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(election.see("ctl-2-bbbbbbbbbb", "1", at(0)), Move::Wait);
        assert_eq!(election.see("ctl-2-bbbbbbbbbb", "1", at(14)), Move::Wait);
        assert_eq!(election.see("ctl-2-bbbbbbbbbb", "2", at(14)), Move::Wait);
        assert_eq!(election.see("ctl-2-bbbbbbbbbb", "2", at(29)), Move::Claim);
    }

    #[test]
    fn leading_ends_by_itself() {
        let start = Instant::now();
        let mut election = Election::new("ctl-1", "ctl-1-aaaaaaaaaa");
        assert_eq!(election.leads_until(start), None);
        election.claimed(start);
        assert_eq!(election.leads_until(start), Some(start + LEAD_FOR));
        assert_eq!(election.leads_until(start + LEAD_FOR), None);
        election.claimed(start + LEAD_FOR);
        election.beaten();
        assert_eq!(election.leads_until(start + LEAD_FOR), None);
    }

    /// The Lease as the API server has it: writes are compare-and-swap.
    struct Lease {
        holder: String,
        version: u64,
    }

    proptest! {
        /// Whatever the delays of claims, and however long each candidate sleeps, no two lead at once.
        #[test]
        fn never_two_lead(steps in prop::collection::vec((0..2_usize, 0..8_000_u64, 0..6_000_u64), 1..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut lease = Lease { holder: String::new(), version: 0 };
            let mut candidates = [Election::new("a", "a-1"), Election::new("b", "b-1")];
            for (who, sleep, answer_after) in steps {
                now += Duration::from_millis(sleep);
                let id = candidates[who].id.clone();
                let version = lease.version.to_string();
                if candidates[who].see(&lease.holder, &version, now) == Move::Claim {
                    // Between what it saw and its write nobody else wrote: the swap succeeds, the answer is late.
                    lease = Lease { holder: id, version: lease.version + 1 };
                    let sent = now;
                    now += Duration::from_millis(answer_after);
                    candidates[who].claimed(sent);
                } else {
                    candidates[who].beaten();
                }
                let leading = candidates.iter().filter(|candidate| candidate.leads_until(now).is_some()).count();
                prop_assert!(leading <= 1, "{candidates:?}");
            }
        }
    }
}
