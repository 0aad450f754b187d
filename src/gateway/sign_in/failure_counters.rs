//! Counts failed answers per user and address, per user, and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::addresses::rate_limit_key;

/// The number of failures that lock out, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct LockoutLimits {
    /// Failures of one user from one address.
    pub per_user_and_address: u32,
    /// Failures of one user from all addresses. This limit does not lock out the addresses from which the user has signed in
    /// within the last week.
    pub per_user: u32,
    /// Failures from one address for all users.
    pub per_address: u32,
    /// The time that a lock-out lasts. Each counted failure restarts it.
    pub duration: Duration,
}

/// The time for which a user's address stays known after a sign-in.
pub const KNOWN_ADDRESS_TTL: Duration = Duration::from_hours(7 * 24);
/// The most entries in each map of [`Counters`].
const MAX_COUNTERS: usize = 16_384;

/// The key of a counter of failures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CounterKey {
    UserAtAddress(Arc<str>, IpAddr),
    User(Arc<str>),
    Address(IpAddr),
}

/// An attempt to answer a prompt, with the name and the address under which a failure counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    user: Arc<str>,
    address: IpAddr,
}

impl Attempt {
    /// Returns the attempt of a user who was asked for this answer.
    pub fn for_user(user: &str, address: IpAddr) -> Self {
        Self { user: user.into(), address: rate_limit_key(address) }
    }

    /// Returns an attempt that counts against no user: it counts under `?` followed by the typed name. A typed name that is
    /// not a valid user name counts under `?` alone.
    pub fn unattributed(typed: &str, address: IpAddr) -> Self {
        let is_name_byte = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let name = if typed.len() <= 63 && typed.bytes().all(is_name_byte) { typed } else { "" };
        Self::for_user(&format!("?{name}"), address)
    }

    /// Returns the keys of the counters in which a failure counts.
    fn counter_keys(&self) -> [CounterKey; 3] {
        let user = self.user.clone();
        [
            CounterKey::UserAtAddress(user.clone(), self.address),
            CounterKey::User(user),
            CounterKey::Address(self.address),
        ]
    }

    /// Returns the Redis keys of the three counters, and the key that marks a known address.
    pub fn redis_keys(&self) -> [String; 4] {
        let Self { user, address } = self;
        [
            format!("sign-in:failed:both:{user}@{address}"),
            format!("sign-in:failed:user:{user}"),
            format!("sign-in:failed:address:{address}"),
            format!("sign-in:known:{user}@{address}"),
        ]
    }
}

impl LockoutLimits {
    /// Returns the limits in the order of [`Attempt::counter_keys`].
    pub const fn in_key_order(&self) -> [u32; 3] {
        [self.per_user_and_address, self.per_user, self.per_address]
    }
}

/// The counters of one process.
#[derive(Debug, Default)]
pub struct Counters {
    failures: HashMap<CounterKey, (u32, Instant)>,
    known: HashMap<(Arc<str>, IpAddr), Instant>,
}

impl Counters {
    /// Returns whether an attempt may be checked.
    pub fn may_begin(&self, attempt: &Attempt, limits: LockoutLimits, now: Instant) -> bool {
        let known = self.known.get(&(attempt.user.clone(), attempt.address)).is_some_and(|until| *until > now);
        let [at_address, by_user, from_address] = attempt.counter_keys().map(|key| self.count(&key, now));
        let [max_at_address, max_by_user, max_from_address] = limits.in_key_order();
        at_address < max_at_address && (by_user < max_by_user || known) && from_address < max_from_address
    }

    /// Counts an attempt as a failure. Returns false, and counts nothing, if the attempt is locked out.
    pub fn begin(&mut self, attempt: &Attempt, limits: LockoutLimits, now: Instant) -> bool {
        if !self.may_begin(attempt, limits, now) {
            return false;
        }
        for key in attempt.counter_keys() {
            let count = self.count(&key, now);
            make_room(&mut self.failures, now, |(_, until)| *until);
            self.failures.insert(key, (count + 1, now + limits.duration));
        }
        true
    }

    fn count(&self, key: &CounterKey, now: Instant) -> u32 {
        let current = self.failures.get(key).filter(|(_, until)| *until > now);
        current.map_or(0, |(count, _)| *count)
    }

    /// Takes back the failure that was counted for an attempt that succeeded. Only a completed sign-in also clears earlier
    /// failures, so that a guessed password does not allow endless attempts at the code.
    pub fn succeed(&mut self, attempt: &Attempt, signed_in: bool, now: Instant) {
        for key in attempt.counter_keys() {
            if let Some((count, _)) = self.failures.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
        if signed_in {
            self.failures.remove(&attempt.counter_keys()[0]);
            make_room(&mut self.known, now, |until| *until);
            self.known.insert((attempt.user.clone(), attempt.address), now + KNOWN_ADDRESS_TTL);
        }
    }
}

/// Makes room in a full map. Removes expired entries, or, if no entry has expired, the quarter of the entries that expires
/// first.
fn make_room<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, now: Instant, until: impl Fn(&V) -> Instant) {
    if map.len() < MAX_COUNTERS {
        return;
    }
    map.retain(|_, value| until(value) > now);
    if map.len() >= MAX_COUNTERS {
        let mut expiries: Vec<Instant> = map.values().map(&until).collect();
        let (_, quartile, _) = expiries.select_nth_unstable(MAX_COUNTERS / 4);
        let quartile = *quartile;
        map.retain(|_, value| until(value) > quartile);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const LIMITS: LockoutLimits =
        LockoutLimits { per_user_and_address: 3, per_user: 6, per_address: 5, duration: Duration::from_mins(10) };

    fn attempt(user: &str, address: &str) -> Attempt {
        Attempt::for_user(user, address.parse().unwrap())
    }

    fn fail(counters: &mut Counters, attempt: &Attempt, times: u32, now: Instant) -> u32 {
        (0..times).map(|_| u32::from(counters.begin(attempt, LIMITS, now))).sum()
    }

    #[test]
    fn a_user_is_locked_out_at_one_address_only() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        assert_eq!(fail(&mut counters, &attempt("alice", "192.0.2.1"), 9, now), 3);
        assert_eq!(fail(&mut counters, &attempt("alice", "192.0.2.2"), 1, now), 1);
        assert_eq!(fail(&mut counters, &attempt("bob", "192.0.2.1"), 1, now), 1);
    }

    #[test]
    fn unattributed_attempts_lock_out_the_address_but_no_user() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        let unattributed = Attempt::unattributed("alice", "192.0.2.1".parse().unwrap());
        assert_eq!(fail(&mut counters, &unattributed, 9, now), 3);
        assert_eq!(fail(&mut counters, &attempt("alice", "192.0.2.1"), 1, now), 1);
        assert_eq!(fail(&mut counters, &attempt("bob", "192.0.2.1"), 9, now), 1, "the address has had five");
    }

    #[rstest]
    #[case("alice", "alice", true)]
    #[case("alice", "bob", false)]
    #[case("ALICE", "", true)]
    #[case("no user's name", "?", true)]
    #[case("0123456789012345678901234567890123456789012345678901234567890123", "", true)]
    fn impossible_names_share_one_counter(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(Attempt::unattributed(one, address) == Attempt::unattributed(other, address), same);
        assert_ne!(Attempt::unattributed(one, address), Attempt::for_user(one, address));
    }

    #[test]
    fn a_lockout_ends() {
        let (mut counters, now, alice) = (Counters::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        assert_eq!(fail(&mut counters, &alice, 9, now), 3);
        let later = now + Duration::from_secs(599);
        assert_eq!(fail(&mut counters, &alice, 1, later), 0, "refused attempts do not extend the lock-out");
        assert_eq!(fail(&mut counters, &alice, 1, now + LIMITS.duration), 1);
    }

    #[test]
    fn may_begin_counts_nothing() {
        let (mut counters, now, alice) = (Counters::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        for begun in 0..=LIMITS.per_user_and_address {
            for _ in 0..9 {
                assert_eq!(
                    counters.may_begin(&alice, LIMITS, now),
                    begun < LIMITS.per_user_and_address,
                    "after {begun}"
                );
            }
            assert_eq!(counters.begin(&alice, LIMITS, now), begun < LIMITS.per_user_and_address);
        }
    }

    #[test]
    fn many_addresses_lock_a_user_out_except_at_known_addresses() {
        let (mut counters, now, home) = (Counters::default(), Instant::now(), attempt("alice", "198.51.100.1"));
        assert!(counters.begin(&home, LIMITS, now));
        counters.succeed(&home, true, now);
        let from = |last: u32| attempt("alice", &format!("192.0.2.{last}"));
        let checked: u32 = (1..=20).map(|last| fail(&mut counters, &from(last), 1, now)).sum();
        assert_eq!(checked, LIMITS.per_user);
        assert_eq!(fail(&mut counters, &home, 1, now), 1, "a known address is not locked out");
        assert_eq!(fail(&mut counters, &home, 9, now), 2, "a known address has its own limit");
    }

    #[test]
    fn one_address_is_locked_out_for_all_users() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        let tried: u32 =
            (0..20).map(|user| fail(&mut counters, &attempt(&format!("user-{user}"), "2001:db8::1"), 1, now)).sum();
        assert_eq!(tried, LIMITS.per_address);
        assert_eq!(fail(&mut counters, &attempt("alice", "2001:db8::2:1"), 1, now), 0, "the same network");
        assert_eq!(fail(&mut counters, &attempt("alice", "2001:db8:0:1::1"), 1, now), 1);
    }

    #[test]
    fn a_completed_sign_in_clears_failures() {
        let (mut counters, now, alice) = (Counters::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        for _ in 0..50 {
            assert!(counters.begin(&alice, LIMITS, now));
            counters.succeed(&alice, true, now);
        }
        assert_eq!(fail(&mut counters, &alice, 9, now), 3);
    }

    #[test]
    fn a_right_password_does_not_clear_wrong_codes() {
        let (mut counters, now, alice) = (Counters::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        let mut codes = 0;
        while counters.begin(&alice, LIMITS, now) {
            counters.succeed(&alice, false, now);
            codes += fail(&mut counters, &alice, 1, now);
        }
        assert_eq!(codes, LIMITS.per_user_and_address);
    }

    #[test]
    fn the_maps_are_bounded() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        for number in 0..u32::try_from(MAX_COUNTERS).unwrap() {
            let attempt = Attempt::for_user(&number.to_string(), IpAddr::from(number.to_be_bytes()));
            counters.begin(&attempt, LIMITS, now + Duration::from_micros(number.into()));
            counters.succeed(&attempt, true, now);
        }
        assert!(counters.known.len() <= MAX_COUNTERS, "{}", counters.known.len());
        assert!(counters.failures.len() <= MAX_COUNTERS, "{}", counters.failures.len());
    }

    proptest! {
        /// If no attempt has the right answer, at most the limit of attempts is checked within the duration of a lock-out.
        #[test]
        fn no_order_of_attempts_evades_a_lockout(seconds in prop::collection::vec(0..200u64, 1..60)) {
            let (mut counters, begin, alice) = (Counters::default(), Instant::now(), attempt("alice", "192.0.2.1"));
            let (mut now, mut checked) = (begin, Vec::new());
            for pause in seconds {
                now += Duration::from_secs(pause);
                if counters.begin(&alice, LIMITS, now) {
                    checked.push(now);
                }
            }
            let limit = LIMITS.per_user_and_address as usize;
            for window in checked.windows(limit + 1) {
                prop_assert!(window[limit].duration_since(window[0]) >= LIMITS.duration);
            }
        }
    }
}
