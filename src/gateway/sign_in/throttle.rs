//! Lock-outs: how many passwords and codes may be tried in vain, by one address for one user, for one user, and by one
//! address. Keys and certificates cannot be guessed and are not counted, so nobody can be locked out of them.
//!
//! Only an answer to a question that was the user's to answer counts against that user. Any other is counted under the name
//! that was typed, by the same rules, but apart from whoever has that name: nobody is locked out by it, and how many
//! attempts an address is left with tells nobody whether the name is anybody's.
//!
//! An attempt is counted as a failure before it is looked at, and taken back when it was none; else a hundred at once
//! would all be looked at. What Redis counts, where there is one, holds for all gateways; each gateway counts for
//! itself too, and goes by that alone while Redis does not answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Pipeline, pipe};

use crate::gateway::net::source;
use crate::redis::RedisLink;

/// How many failures lock out, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct LockOut {
    /// From one address for one user.
    pub of_user_at_address: u32,
    /// For one user, from addresses from which that user has not signed in of late.
    pub of_user: u32,
    /// From one address.
    pub of_address: u32,
    /// How long a failure counts after the last one, and so how long a lock-out lasts.
    pub time: Duration,
}

/// How long an address is known as one from which a user signs in.
const KNOWN: Duration = Duration::from_hours(7 * 24);
/// How many tallies are kept at most.
const MAX_TALLIES: usize = 16_384;

/// Whose failures are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Tallied {
    UserAtAddress(Arc<str>, IpAddr),
    User(Arc<str>),
    Address(IpAddr),
}

/// One attempt: whose failure it would be, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    user: Arc<str>,
    address: IpAddr,
}

impl Attempt {
    /// Of a user who was asked for what was answered.
    pub fn by_user(user: &str, address: IpAddr) -> Self {
        Self { user: user.into(), address: source(address) }
    }

    /// Of anybody else, under a name that no user has. Whatever can be no user's name at all is one.
    pub fn out_of_turn(typed: &str, address: IpAddr) -> Self {
        let possible = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let name = if typed.len() <= 63 && typed.bytes().all(possible) { typed } else { "" };
        Self::by_user(&format!("?{name}"), address)
    }

    fn tallied(&self) -> [Tallied; 3] {
        let user = self.user.clone();
        [Tallied::UserAtAddress(user.clone(), self.address), Tallied::User(user), Tallied::Address(self.address)]
    }

    fn keys(&self) -> [String; 4] {
        let Self { user, address } = self;
        [
            format!("sign-in:failed:both:{user}@{address}"),
            format!("sign-in:failed:user:{user}"),
            format!("sign-in:failed:address:{address}"),
            format!("sign-in:known:{user}@{address}"),
        ]
    }
}

impl LockOut {
    const fn limits(&self) -> [u32; 3] {
        [self.of_user_at_address, self.of_user, self.of_address]
    }
}

/// The counts of one process: pure, with every moment passed in.
#[derive(Debug, Default)]
struct Tallies {
    failures: HashMap<Tallied, (u32, Instant)>,
    known: HashMap<(Arc<str>, IpAddr), Instant>,
}

impl Tallies {
    /// Whether an attempt may be looked at.
    fn may_begin(&self, attempt: &Attempt, limits: LockOut, now: Instant) -> bool {
        let known = self.known.get(&(attempt.user.clone(), attempt.address)).is_some_and(|until| *until > now);
        let [at_address, by_user, from_address] = attempt.tallied().map(|tallied| self.count(&tallied, now));
        let [most_at_address, most_by_user, most_from_address] = limits.limits();
        at_address < most_at_address && (by_user < most_by_user || known) && from_address < most_from_address
    }

    /// Counts an attempt as a failure. Returns whether it may be looked at at all; one that may not does not count.
    fn begin(&mut self, attempt: &Attempt, limits: LockOut, now: Instant) -> bool {
        if !self.may_begin(attempt, limits, now) {
            return false;
        }
        for tallied in attempt.tallied() {
            let count = self.count(&tallied, now);
            make_room(&mut self.failures, now, |(_, until)| *until);
            self.failures.insert(tallied, (count + 1, now + limits.time));
        }
        true
    }

    fn count(&self, tallied: &Tallied, now: Instant) -> u32 {
        let alive = self.failures.get(tallied).filter(|(_, until)| *until > now);
        alive.map_or(0, |(count, _)| *count)
    }

    /// The attempt was no failure. Only a whole sign-in makes up for earlier ones: whoever has guessed a password must not
    /// try codes for ever.
    fn passed(&mut self, attempt: &Attempt, signed_in: bool, now: Instant) {
        for tallied in attempt.tallied() {
            if let Some((count, _)) = self.failures.get_mut(&tallied) {
                *count = count.saturating_sub(1);
            }
        }
        if signed_in {
            self.failures.remove(&attempt.tallied()[0]);
            make_room(&mut self.known, now, |until| *until);
            self.known.insert((attempt.user.clone(), attempt.address), now + KNOWN);
        }
    }
}

/// Forgets what is over when there is too much, and if that does not help, the quarter that would be over first.
fn make_room<K: Eq + std::hash::Hash, V>(kept: &mut HashMap<K, V>, now: Instant, until: impl Fn(&V) -> Instant) {
    if kept.len() < MAX_TALLIES {
        return;
    }
    kept.retain(|_, value| until(value) > now);
    if kept.len() >= MAX_TALLIES {
        let mut ends: Vec<Instant> = kept.values().map(&until).collect();
        let (_, first, _) = ends.select_nth_unstable(MAX_TALLIES / 4);
        let first = *first;
        kept.retain(|_, value| until(value) > first);
    }
}

/// The lock-outs of this gateway and, through Redis, of all.
pub struct Throttle {
    limits: LockOut,
    own: Mutex<Tallies>,
    shared: Option<Arc<RedisLink>>,
}

/// KEYS: failures of user and address, of user, of address; whether the address is known. ARGV: the three limits, and
/// how long a failure counts, in milliseconds.
const BEGIN: &str = "
local known = redis.call('EXISTS', KEYS[4]) == 1
for i = 1, 3 do
  if not (i == 2 and known) and tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i]) then return 0 end
end
for i = 1, 3 do
  redis.call('INCR', KEYS[i])
  redis.call('PEXPIRE', KEYS[i], ARGV[4])
end
return 1";

/// KEYS as above. ARGV: whether that was a whole sign-in, and how long the address is then known, in milliseconds.
const PASSED: &str = "
for i = 1, 3 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[4], '1', 'PX', ARGV[2])
end
return 1";

impl Throttle {
    /// With these limits, and Redis where there is one.
    pub fn new(limits: LockOut, shared: Option<Arc<RedisLink>>) -> Self {
        Self { limits, own: Mutex::default(), shared }
    }

    /// Counts an attempt as a failure, until it is known to be none. Returns whether it may be looked at; what one count
    /// refuses, the other does not count.
    pub async fn begin(&self, attempt: &Attempt) -> bool {
        if !self.own().may_begin(attempt, self.limits, Instant::now()) || !self.shared_begin(attempt).await {
            return false;
        }
        // Others may have begun meanwhile.
        self.own().begin(attempt, self.limits, Instant::now())
    }

    /// The same for what all gateways count. Where Redis does not answer, it refuses nothing.
    async fn shared_begin(&self, attempt: &Attempt) -> bool {
        let Some(redis) = &self.shared else { return true };
        let [at_address, of_user, of_address] = self.limits.limits();
        let mut script = script(BEGIN, attempt);
        script.arg(at_address).arg(of_user).arg(of_address).arg(milliseconds(self.limits.time));
        // What failed is counted and logged.
        redis.ask("begin sign-in", &script).await.map_or(true, |(allowed,): (i64,)| allowed == 1)
    }

    /// The attempt was no failure, and maybe the last step of a sign-in.
    pub async fn passed(&self, attempt: &Attempt, signed_in: bool) {
        self.own().passed(attempt, signed_in, Instant::now());
        if let Some(redis) = &self.shared {
            let mut script = script(PASSED, attempt);
            script.arg(u8::from(signed_in)).arg(milliseconds(KNOWN));
            let _: Result<(i64,), _> = redis.ask("signed in", &script).await;
        }
    }

    fn own(&self) -> std::sync::MutexGuard<'_, Tallies> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn script(text: &str, attempt: &Attempt) -> Pipeline {
    let mut pipeline = pipe();
    pipeline.cmd("EVAL").arg(text).arg(4).arg(attempt.keys().to_vec());
    pipeline
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const LIMITS: LockOut = LockOut { of_user_at_address: 3, of_user: 6, of_address: 5, time: Duration::from_mins(10) };

    fn attempt(user: &str, address: &str) -> Attempt {
        Attempt::by_user(user, address.parse().unwrap())
    }

    fn fail(tallies: &mut Tallies, attempt: &Attempt, times: u32, now: Instant) -> u32 {
        (0..times).map(|_| u32::from(tallies.begin(attempt, LIMITS, now))).sum()
    }

    #[test]
    fn a_user_is_locked_out_at_one_address_and_not_at_another() {
        let (mut tallies, now) = (Tallies::default(), Instant::now());
        assert_eq!(fail(&mut tallies, &attempt("alice", "192.0.2.1"), 9, now), 3);
        assert_eq!(fail(&mut tallies, &attempt("alice", "192.0.2.2"), 1, now), 1);
        assert_eq!(fail(&mut tallies, &attempt("bob", "192.0.2.1"), 1, now), 1);
    }

    #[test]
    fn answers_out_of_turn_lock_no_user_out_and_cost_an_address_as_much_as_those_of_users() {
        let (mut tallies, now) = (Tallies::default(), Instant::now());
        let stranger = Attempt::out_of_turn("alice", "192.0.2.1".parse().unwrap());
        assert_eq!(fail(&mut tallies, &stranger, 9, now), 3);
        assert_eq!(fail(&mut tallies, &attempt("alice", "192.0.2.1"), 1, now), 1);
        assert_eq!(fail(&mut tallies, &attempt("bob", "192.0.2.1"), 9, now), 1, "the address has had five");
    }

    #[rstest]
    #[case("alice", "alice", true)]
    #[case("alice", "bob", false)]
    #[case("ALICE", "", true)]
    #[case("no user's name", "?", true)]
    #[case("0123456789012345678901234567890123456789012345678901234567890123", "", true)]
    fn what_can_be_no_users_name_is_one_name(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(Attempt::out_of_turn(one, address) == Attempt::out_of_turn(other, address), same);
        assert_ne!(Attempt::out_of_turn(one, address), Attempt::by_user(one, address));
    }

    #[test]
    fn it_passes() {
        let (mut tallies, now, alice) = (Tallies::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        assert_eq!(fail(&mut tallies, &alice, 9, now), 3);
        let later = now + Duration::from_secs(599);
        assert_eq!(fail(&mut tallies, &alice, 1, later), 0, "and those that are not looked at do not draw it out");
        assert_eq!(fail(&mut tallies, &alice, 1, now + LIMITS.time), 1);
    }

    #[test]
    fn asking_whether_an_attempt_may_begin_counts_nothing() {
        let (mut tallies, now, alice) = (Tallies::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        for begun in 0..=LIMITS.of_user_at_address {
            for _ in 0..9 {
                assert_eq!(tallies.may_begin(&alice, LIMITS, now), begun < LIMITS.of_user_at_address, "after {begun}");
            }
            assert_eq!(tallies.begin(&alice, LIMITS, now), begun < LIMITS.of_user_at_address);
        }
    }

    #[test]
    fn many_addresses_lock_a_user_out_but_not_where_the_user_is_known() {
        let (mut tallies, now, home) = (Tallies::default(), Instant::now(), attempt("alice", "198.51.100.1"));
        assert!(tallies.begin(&home, LIMITS, now));
        tallies.passed(&home, true, now);
        let from = |last: u32| attempt("alice", &format!("192.0.2.{last}"));
        let looked_at: u32 = (1..=20).map(|last| fail(&mut tallies, &from(last), 1, now)).sum();
        assert_eq!(looked_at, LIMITS.of_user);
        assert_eq!(fail(&mut tallies, &home, 1, now), 1, "a known address goes on");
        assert_eq!(fail(&mut tallies, &home, 9, now), 2, "but may not guess for ever");
    }

    #[test]
    fn one_address_may_not_try_many_users() {
        let (mut tallies, now) = (Tallies::default(), Instant::now());
        let tried: u32 =
            (0..20).map(|user| fail(&mut tallies, &attempt(&format!("user-{user}"), "2001:db8::1"), 1, now)).sum();
        assert_eq!(tried, LIMITS.of_address);
        assert_eq!(fail(&mut tallies, &attempt("alice", "2001:db8::2:1"), 1, now), 0, "the same network");
        assert_eq!(fail(&mut tallies, &attempt("alice", "2001:db8:0:1::1"), 1, now), 1);
    }

    #[test]
    fn signing_in_takes_failures_back() {
        let (mut tallies, now, alice) = (Tallies::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        for _ in 0..50 {
            assert!(tallies.begin(&alice, LIMITS, now));
            tallies.passed(&alice, true, now);
        }
        assert_eq!(fail(&mut tallies, &alice, 9, now), 3);
    }

    #[test]
    fn a_good_password_does_not_make_up_for_wrong_codes() {
        let (mut tallies, now, alice) = (Tallies::default(), Instant::now(), attempt("alice", "192.0.2.1"));
        let mut codes = 0;
        while tallies.begin(&alice, LIMITS, now) {
            tallies.passed(&alice, false, now);
            codes += fail(&mut tallies, &alice, 1, now);
        }
        assert_eq!(codes, LIMITS.of_user_at_address);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut tallies, now) = (Tallies::default(), Instant::now());
        for number in 0..u32::try_from(MAX_TALLIES).unwrap() {
            let attempt = Attempt::by_user(&number.to_string(), IpAddr::from(number.to_be_bytes()));
            tallies.begin(&attempt, LIMITS, now + Duration::from_micros(number.into()));
            tallies.passed(&attempt, true, now);
        }
        assert!(tallies.known.len() <= MAX_TALLIES, "{}", tallies.known.len());
        assert!(tallies.failures.len() <= MAX_TALLIES, "{}", tallies.failures.len());
    }

    proptest! {
        /// However attempts follow each other, one address never has more of them looked at for a user than the limit
        /// within the time of a lock-out, unless the right answer came between.
        #[test]
        fn no_order_of_attempts_gets_around_a_lock_out(seconds in prop::collection::vec(0..200u64, 1..60)) {
            let (mut tallies, begin, alice) = (Tallies::default(), Instant::now(), attempt("alice", "192.0.2.1"));
            let (mut now, mut looked_at) = (begin, Vec::new());
            for pause in seconds {
                now += Duration::from_secs(pause);
                if tallies.begin(&alice, LIMITS, now) {
                    looked_at.push(now);
                }
            }
            let limit = LIMITS.of_user_at_address as usize;
            for window in looked_at.windows(limit + 1) {
                prop_assert!(window[limit].duration_since(window[0]) >= LIMITS.time);
            }
        }
    }
}
