//! Which gateway instances are alive, as one controller sees it: the evidence, and the doubts of the observer in
//! its own eyes. It never calls an instance lost; it names the suspects, and the swap of the Lease decides.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::decide::InstanceState;
use super::pods::Pods;
use super::timeouts::{
    HEARTBEAT_MAX_AGE, LOST_AFTER, PAUSED_AFTER, RECREATED_WITHIN, SWEEP_HEAD_START, VOUCH_AFTER, VOUCH_WITHIN,
};

/// A gateway instance's Lease, as the watch or a GET shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseSeen {
    /// Changes with every renewal.
    pub resource_version: String,
    /// By the gateway's clock; only passed on, never compared with the controller's.
    pub renewed: Option<Timestamp>,
    /// When it was made, by its maker's clock.
    pub acquired: Option<Timestamp>,
    /// The uid of the gateway's Pod, where the gateway knows it.
    pub pod_uid: Option<String>,
    /// Whether a controller has put `lost` in the holder's place.
    pub lost: bool,
}

/// An instance of which nothing was heard for as long as its Pod lets hope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The instance, which is also the name of its Lease.
    pub instance: String,
    /// The version of the Lease that was seen last; `None` where there is no Lease.
    pub resource_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Instance {
    lease: Option<LeaseSeen>,
    /// The last sign of life, through the Lease or through Redis.
    evidence: Instant,
    /// When the Lease was last seen to change.
    renewed: Instant,
    /// The last sign of life through Redis: in milliseconds since 1970 by Redis's clock, and by this process's.
    sign: Option<(u64, Instant)>,
    /// Since when it is lost, and whether this controller declared it.
    lost: Option<(Instant, bool)>,
}

/// One controller's view of all gateway instances, on its own monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailureDetector {
    instances: BTreeMap<String, Instance>,
    /// The Leases of controllers, which are only cleared away when they are old.
    controllers: BTreeMap<String, LeaseSeen>,
    pods: Pods,
    heartbeat: Option<Instant>,
    looked: Instant,
}

impl FailureDetector {
    /// A view without evidence: every count starts when an instance is first heard of.
    pub fn new(now: Instant) -> Self {
        Self {
            instances: BTreeMap::new(),
            controllers: BTreeMap::new(),
            pods: Pods::default(),
            heartbeat: None,
            looked: now,
        }
    }

    /// A Lease of a gateway instance came through the watch. Returns whether this is news of a loss.
    pub fn lease(&mut self, name: &str, lease: LeaseSeen, now: Instant) -> bool {
        let entry = self.instance(name, now);
        let news = lease.lost && entry.lost.is_none();
        if news {
            entry.lost = Some((now, false));
        }
        // The same version again, after a watch was started anew, proves nothing.
        if entry.lease.as_ref().is_none_or(|seen| seen.resource_version != lease.resource_version) && !lease.lost {
            entry.evidence = now;
            entry.renewed = now;
        }
        entry.lease = Some(lease);
        news
    }

    /// The instances whose signs of life are still of interest.
    pub fn hoped_for(&self) -> Vec<String> {
        self.instances.iter().filter(|(_, instance)| instance.lost.is_none()).map(|(name, _)| name.clone()).collect()
    }

    /// Redis told of a sign of life that an instance gave at `at`, and at `stamp` by Redis's own clock, in
    /// milliseconds since 1970. Only a later stamp than all before it proves anything: Redis may be set back to an older
    /// state, or its clock be. Returns the Lease to vouch for, where that is silent and the last sign is young: another
    /// controller may not hear of the instance through Redis.
    pub fn witnessed(&mut self, name: &str, stamp: u64, at: Instant, now: Instant) -> Option<Suspect> {
        let instance = self.instances.get_mut(name)?;
        if instance.lost.is_some() {
            return None;
        }
        if instance.sign.is_none_or(|(last, _)| stamp > last) {
            instance.sign = Some((stamp, at));
            instance.evidence = instance.evidence.max(at);
        }
        let young = instance.sign.is_some_and(|(_, at)| now.saturating_duration_since(at) <= VOUCH_WITHIN);
        let overdue = young && now.saturating_duration_since(instance.renewed) >= VOUCH_AFTER;
        let version = instance.lease.as_ref().filter(|_| overdue)?.resource_version.clone();
        Some(Suspect { instance: name.to_owned(), resource_version: Some(version) })
    }

    /// A Lease is gone: the gateway took it with it, or somebody deleted it. Neither is a sign of life, so the count
    /// goes on, but for the time that a gateway has to make its Lease anew; nor does it bring a lost instance back.
    pub fn lease_gone(&mut self, name: &str, now: Instant) {
        self.controllers.remove(name);
        if let Some(instance) = self.instances.get_mut(name)
            && instance.lease.take().is_some()
            && let Some(long_ago) = now.checked_sub(LOST_AFTER)
        {
            instance.evidence = instance.evidence.max(long_ago + RECREATED_WITHIN);
        }
    }

    /// An instance is gone that left nothing behind.
    pub fn forget(&mut self, name: &str) {
        self.instances.remove(name);
    }

    /// A Lease of a controller came through the watch.
    pub fn controller_lease(&mut self, name: &str, lease: LeaseSeen) {
        self.controllers.insert(name.to_owned(), lease);
    }

    /// This controller's own heartbeat came back through the watch.
    pub fn heartbeat(&mut self, now: Instant) {
        if !self.sees(now) {
            self.start_again(now);
        }
        self.heartbeat = Some(now);
    }

    /// The Leases that a new list of them holds: whatever else was known of is gone. Returns which those are.
    pub fn listed(&mut self, names: &HashSet<String>, now: Instant) -> Vec<String> {
        self.controllers.retain(|name, _| names.contains(name));
        let known = self.instances.iter().filter(|(_, instance)| instance.lease.is_some());
        let gone: Vec<_> = known.map(|(name, _)| name).filter(|name| !names.contains(*name)).cloned().collect();
        for name in &gone {
            self.lease_gone(name, now);
        }
        gone
    }

    /// What is known of Pods.
    pub fn pods(&mut self) -> &mut Pods {
        &mut self.pods
    }

    /// The observer runs. To be called every [`super::TICK`], whatever else it waits for: a gap means that it was
    /// paused.
    pub fn awake(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) > PAUSED_AFTER {
            self.heartbeat = None;
        }
        self.looked = now;
    }

    /// Whether what it sees can be believed: its own heartbeat came back of late.
    pub fn sees(&self, now: Instant) -> bool {
        self.heartbeat.is_some_and(|last| now.duration_since(last) <= HEARTBEAT_MAX_AGE)
    }

    /// The instances to doubt at this moment; none while the observer doubts itself.
    pub fn suspects(&mut self, now: Instant) -> Vec<Suspect> {
        self.awake(now);
        if !self.sees(now) {
            return Vec::new();
        }
        self.instances
            .iter()
            .filter(|(_, instance)| {
                instance.lost.is_none() && now.duration_since(instance.evidence) >= self.patience(instance)
            })
            .map(|(name, instance)| Suspect {
                instance: name.clone(),
                resource_version: instance.lease.as_ref().map(|lease| lease.resource_version.clone()),
            })
            .collect()
    }

    /// This controller has put `lost` in the place of the suspect's holder.
    pub fn declared_lost(&mut self, name: &str, now: Instant) {
        let entry = self.instance(name, now);
        entry.lost = Some((now, true));
    }

    /// How an instance is. One that was never heard of gets its count started here if `expected`: when it should be
    /// there because an Active session names it.
    pub fn state(&mut self, name: &str, now: Instant, expected: bool) -> InstanceState {
        if !expected && !self.instances.contains_key(name) {
            return InstanceState::Alive;
        }
        let entry = self.instance(name, now);
        let stamped = entry.sign.and_then(|(stamp, _)| Timestamp::from_millisecond(i64::try_from(stamp).ok()?).ok());
        let last_seen = entry.lease.as_ref().and_then(|lease| lease.renewed).max(stamped);
        match entry.lost {
            None => InstanceState::Alive,
            Some((_, true)) => InstanceState::Lost { mine_in: Duration::ZERO, last_seen },
            Some((since, false)) => {
                let mine_in = SWEEP_HEAD_START.saturating_sub(now.duration_since(since));
                InstanceState::Lost { mine_in, last_seen }
            }
        }
    }

    /// Leases that nobody needs any more: of lost instances and of controllers, last renewed before `before` by
    /// their holders' clocks.
    pub fn left_behind(&self, before: Timestamp) -> Vec<Suspect> {
        let lost = self.instances.iter().filter(|(_, instance)| instance.lost.is_some());
        let lost = lost.filter_map(|(name, instance)| Some((name, instance.lease.as_ref()?)));
        lost.chain(&self.controllers)
            .filter(|(_, lease)| lease.renewed.max(lease.acquired).is_none_or(|touched| touched < before))
            .map(|(name, lease)| Suspect {
                instance: name.clone(),
                resource_version: Some(lease.resource_version.clone()),
            })
            .collect()
    }

    /// What is known of an instance. For one that was never heard of the count starts now.
    fn instance(&mut self, name: &str, now: Instant) -> &mut Instance {
        self.instances.entry(name.to_owned()).or_insert(Instance {
            lease: None,
            evidence: now,
            renewed: now,
            sign: None,
            lost: None,
        })
    }

    fn patience(&self, instance: &Instance) -> Duration {
        let lease = instance.lease.as_ref();
        self.pods.patience(lease.and_then(|lease| lease.pod_uid.as_deref()), lease.and_then(|lease| lease.acquired))
    }

    /// Moves everything that it remembers in time. Only the time between two moments matters to a view, so that two
    /// views which differ by a shift are the same: that lets a model checker see all of them.
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        for instance in self.instances.values_mut() {
            instance.evidence = to(instance.evidence);
            instance.renewed = to(instance.renewed);
            instance.sign = instance.sign.map(|(stamp, at)| (stamp, to(at)));
            instance.lost = instance.lost.map(|(since, by_this)| (to(since), by_this));
        }
        self.heartbeat = self.heartbeat.map(&to);
        self.looked = to(self.looked);
    }

    /// The same for Redis's clock, which moves apart from this process's.
    pub fn shift_stamps(&mut self, to: impl Fn(u64) -> u64) {
        for instance in self.instances.values_mut() {
            instance.sign = instance.sign.map(|(stamp, at)| (to(stamp), at));
        }
    }

    /// After a start, a pause or an outage nobody's silence counts that fell into it.
    fn start_again(&mut self, now: Instant) {
        for instance in self.instances.values_mut() {
            instance.evidence = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lifecycle::pods::Container;

    fn seen(version: u64) -> LeaseSeen {
        LeaseSeen { resource_version: version.to_string(), renewed: None, acquired: None, pod_uid: None, lost: false }
    }

    /// Looks every half second from `from` to `to`, with a working watch, and returns the first second at which
    /// there was a suspect.
    fn first_suspect(
        observer: &mut FailureDetector,
        start: Instant,
        from: f64,
        to: f64,
        heartbeat: bool,
    ) -> Option<f64> {
        let mut at = from;
        while at <= to {
            let now = start + Duration::from_secs_f64(at);
            if heartbeat {
                observer.heartbeat(now);
            }
            if !observer.suspects(now).is_empty() {
                return Some(at);
            }
            at += 0.5;
        }
        None
    }

    #[test]
    fn a_silent_instance_is_suspected_after_its_time_and_not_before() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn the_same_version_again_is_no_evidence() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 10.0, true), None);
        observer.lease("gw-1", seen(1), start + Duration::from_secs(10));
        assert_eq!(first_suspect(&mut observer, start, 10.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn without_its_own_heartbeat_a_controller_suspects_nobody_and_counts_anew() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 100.0, false), None);
        assert_eq!(first_suspect(&mut observer, start, 100.0, 200.0, true), Some(120.0));
    }

    #[test]
    fn a_paused_controller_counts_anew() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 19.0, true), None);
        // A renewal that came in during the pause is not yet read; the old heartbeat is still fresh on its face.
        let thawed = start + Duration::from_secs_f64(22.5);
        assert_eq!(observer.suspects(thawed), vec![]);
        assert_eq!(first_suspect(&mut observer, start, 22.5, 60.0, true), Some(42.5));
    }

    #[test]
    fn a_controller_that_waits_for_an_answer_is_not_paused() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 60.0, true), Some(20.0));
        // The swap is not answered within its 3 s; the heartbeats come, and the process is awake.
        for half_seconds in 41..48 {
            let now = start + Duration::from_millis(500) * half_seconds;
            observer.awake(now);
            observer.heartbeat(now);
        }
        assert_eq!(observer.suspects(start + Duration::from_secs(24)).len(), 1);
    }

    /// A Lease that is renewed at second 0 and gone at second `gone`: the second of the suspicion.
    fn suspected_without_its_lease(gone: f64) -> Option<f64> {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.5, gone, true), None);
        observer.lease_gone("gw-1", start + Duration::from_secs_f64(gone));
        let suspected = first_suspect(&mut observer, start, gone, 60.0, true)?;
        // Told of it again, as by a GET, it does not begin again.
        let now = start + Duration::from_secs_f64(suspected);
        observer.lease_gone("gw-1", now);
        assert_eq!(observer.suspects(now), [Suspect { instance: "gw-1".into(), resource_version: None }]);
        Some(suspected)
    }

    #[test]
    fn a_lease_that_is_deleted_is_no_sign_of_life() {
        assert_eq!(suspected_without_its_lease(9.0), Some(20.0));
        assert_eq!(suspected_without_its_lease(19.0), Some(25.0), "the gateway may be making it anew");
    }

    #[test]
    fn a_lost_instance_stays_lost_without_its_lease() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.lease("gw-1", LeaseSeen { lost: true, ..seen(1) }, start);
        observer.lease_gone("gw-1", start);
        observer.lease("gw-1", seen(2), start);
        assert!(matches!(observer.state("gw-1", start, true), InstanceState::Lost { .. }));
    }

    #[test]
    fn a_shift_in_time_changes_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(100);
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        observer.lease("gw-2", LeaseSeen { lost: true, ..seen(1) }, start);
        observer.shift(|at| at + Duration::from_secs(100));
        assert!(matches!(observer.state("gw-2", later, true), InstanceState::Lost { mine_in: SWEEP_HEAD_START, .. }));
        assert_eq!(first_suspect(&mut observer, later, 0.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn a_session_without_a_lease_starts_the_count() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        assert_eq!(observer.state("gw-gone", start, true), InstanceState::Alive);
        assert_eq!(first_suspect(&mut observer, start, 0.5, 60.0, true), Some(20.0));
        let now = start + Duration::from_secs(20);
        assert_eq!(observer.suspects(now)[0].resource_version, None);
        observer.declared_lost("gw-gone", now);
        assert!(matches!(observer.state("gw-gone", now, true), InstanceState::Lost { mine_in: Duration::ZERO, .. }));
    }

    #[test]
    fn a_loss_that_another_controller_declared_leaves_it_a_head_start() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        assert!(observer.lease("gw-1", LeaseSeen { lost: true, ..seen(1) }, start));
        assert!(!observer.lease("gw-1", LeaseSeen { lost: true, ..seen(1) }, start), "told once");
        let mine_in = |observer: &mut FailureDetector, after| match observer.state(
            "gw-1",
            start + Duration::from_secs(after),
            true,
        ) {
            InstanceState::Lost { mine_in, .. } => mine_in,
            InstanceState::Alive => panic!("alive"),
        };
        assert_eq!(mine_in(&mut observer, 0), SWEEP_HEAD_START);
        assert_eq!(mine_in(&mut observer, 5), Duration::ZERO);
    }

    #[test]
    fn redis_keeps_an_instance_alive_whose_lease_is_silent() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        for beat in 1..=30_u32 {
            let (from, at) = (f64::from(beat - 1) * 2.0, f64::from(beat) * 2.0);
            assert_eq!(first_suspect(&mut observer, start, from, at, true), None);
            let now = start + Duration::from_secs_f64(at);
            let vouch = observer.witnessed("gw-1", u64::from(beat), now, now);
            assert_eq!(vouch.is_some(), at >= VOUCH_AFTER.as_secs_f64(), "at {at}");
        }
        // Neither the same stamp nor an older one is a new sign of life.
        let now = start + Duration::from_secs(70);
        assert_eq!(observer.witnessed("gw-1", 30, now, now), None);
        assert_eq!(observer.witnessed("gw-1", 3, now, now), None);
        assert_eq!(first_suspect(&mut observer, start, 60.0, 100.0, true), Some(80.0));
    }

    #[test]
    fn only_a_young_sign_of_life_is_vouched_for_and_again_until_the_lease_has_changed() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        let at = |second| start + Duration::from_secs(second);
        observer.lease("gw-1", seen(1), start);
        let mut look = |stamp, given, now| observer.witnessed("gw-1", stamp, at(given), at(now)).is_some();
        assert!(!look(5, 5, 5), "renewed a moment ago");
        assert!(look(5, 5, 6), "given before the Lease was overdue");
        assert!(look(5, 5, 8), "the first vouching may have been lost");
        assert!(!look(5, 5, 9), "too old");
        assert!(!look(5, 9, 9), "no younger, though Redis's clock was set back");
        assert!(!look(6, 20, 40), "too old when first heard of");
        assert!(look(7, 40, 40));
        observer.lease("gw-1", seen(2), at(40));
        assert_eq!(observer.witnessed("gw-1", 8, at(42), at(42)), None);
    }

    #[test]
    fn an_old_sign_of_life_counts_by_its_age() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        observer.lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut observer, start, 0.0, 19.0, true), None);
        let (at, now) = (start + Duration::from_secs(9), start + Duration::from_secs(19));
        assert_eq!(observer.witnessed("gw-1", 7, at, now), None, "too old to vouch for");
        assert_eq!(first_suspect(&mut observer, start, 19.0, 60.0, true), Some(29.0));
        assert_eq!(observer.hoped_for(), ["gw-1"]);
        observer.declared_lost("gw-1", now);
        assert_eq!(observer.witnessed("gw-1", 8, now, now), None);
        assert_eq!(observer.hoped_for(), [""; 0]);
    }

    #[test]
    fn a_new_list_says_what_is_gone() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.lease("gw-1", seen(1), start);
        observer.lease("gw-2", seen(1), start);
        observer.controller_lease("ctl-1", seen(1));
        observer.state("gw-without-lease", start, true);
        assert_eq!(observer.listed(&HashSet::from(["gw-2".to_owned()]), start), ["gw-1"]);
        assert_eq!(observer.listed(&HashSet::from(["gw-2".to_owned()]), start), [""; 0], "told once");
        assert!(observer.controllers.is_empty());
    }

    #[test]
    fn the_mark_on_an_instance_without_a_lease_is_kept_for_a_while() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        let made = Timestamp::from_second(100).unwrap();
        observer.lease("gw-1", LeaseSeen { lost: true, acquired: Some(made), ..seen(1) }, start);
        assert_eq!(observer.left_behind(Timestamp::from_second(99).unwrap()), []);
        assert_eq!(observer.left_behind(Timestamp::from_second(101).unwrap()).len(), 1);
    }

    #[test]
    fn a_container_that_ended_is_suspected_at_once_and_a_missing_pod_early() {
        let start = Instant::now();
        let mut observer = FailureDetector::new(start);
        observer.heartbeat(start);
        let of_pod = |uid: &str| LeaseSeen { pod_uid: Some(uid.to_owned()), ..seen(1) };
        observer.lease("gw-1", of_pod("one"), start);
        observer.lease("gw-2", of_pod("two"), start);
        let pods = ["one", "two"].map(|uid| (uid.to_owned(), Container::Unknown));
        observer.pods().list(pods.into());
        assert_eq!(first_suspect(&mut observer, start, 0.5, 1.0, true), None);
        observer.pods().changed("one", Container::Over);
        assert_eq!(first_suspect(&mut observer, start, 1.5, 60.0, true), Some(1.5));
        observer.declared_lost("gw-1", start + Duration::from_secs_f64(1.5));
        observer.pods().gone("two");
        assert_eq!(first_suspect(&mut observer, start, 2.0, 60.0, true), Some(10.0));
    }

    #[test]
    fn old_leases_of_the_lost_and_of_controllers_are_left_behind() {
        let start = Instant::now();
        let at = |second| Timestamp::from_second(second).unwrap();
        let lease = |second, lost| LeaseSeen { renewed: Some(at(second)), lost, ..seen(1) };
        let mut observer = FailureDetector::new(start);
        observer.lease("gw-alive", lease(10, false), start);
        observer.lease("gw-lost", lease(10, true), start);
        observer.lease("gw-just-lost", lease(100, true), start);
        observer.controller_lease("ctl-old", lease(10, false));
        observer.controller_lease("ctl-new", lease(100, false));
        let mut left: Vec<_> = observer.left_behind(at(50)).into_iter().map(|lease| lease.instance).collect();
        left.sort();
        assert_eq!(left, ["ctl-old", "gw-lost"]);
    }

    proptest! {
        /// An instance that renews in time is never suspected, whatever happens to the controller's own view.
        #[test]
        fn a_renewing_instance_is_never_suspected(
            beats in prop::collection::vec(any::<bool>(), 1..600),
            pauses in prop::collection::vec(0_u64..40, 1..600),
        ) {
            let start = Instant::now();
            let mut observer = FailureDetector::new(start);
            let mut at = start;
            for (version, (beat, pause)) in beats.into_iter().zip(pauses).enumerate() {
                // Most looks are on time; some come after a pause of up to 20 s.
                at += if pause < 30 { Duration::from_millis(500) } else { Duration::from_secs(2 * (pause - 29)) };
                if beat { observer.heartbeat(at); }
                // The renewals of 5 s arrive as they can: at each look the newest is there, unless the watch stands still.
                if beat { observer.lease("gw-1", seen(version as u64), at); }
                prop_assert_eq!(observer.suspects(at), vec![]);
            }
        }
    }
}
