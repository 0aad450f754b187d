//! The failure detector of one controller: names the gateway instances that have been silent for too long.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::controller_decision::InstanceState;
use super::pods::Pods;
use super::timeouts::{
    HEARTBEAT_MAX_AGE, LAPSE_GRACE, LEASE_RECREATE_GRACE, LOST_AFTER, PAUSED_AFTER, SWEEP_HEAD_START, VOUCH_AFTER,
    VOUCH_MAX_AGE,
};

/// A Lease as the watch or a GET shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObservedLease {
    /// Changes with every renewal.
    pub resource_version: String,
    /// `renewTime`, by the holder's clock. It is never compared with this controller's clock.
    pub renewed: Option<Timestamp>,
    /// `acquireTime`, by the holder's clock.
    pub acquired: Option<Timestamp>,
    /// The uid of the gateway's Pod, if the gateway knows it.
    pub pod_uid: Option<String>,
    /// The public key of the instance's reports of ends, in base64; see [`crate::redis::reported_ends`].
    pub end_key: Option<String>,
    /// Whether a controller has replaced the holder by `lost`.
    pub lost: bool,
}

/// An instance's Lease at one version, for a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseVersion {
    /// The instance's name, which is also the name of its Lease.
    pub instance: String,
    /// The last version of the Lease that was seen; `None` if there is no Lease.
    pub resource_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Instance {
    lease: Option<ObservedLease>,
    /// When the last sign of life was given, through the Lease or through Redis. The length of each lapse since then is added.
    evidence: Instant,
    /// The silence that was counted when this controller's own heartbeat last came back.
    counted: Duration,
    /// When the Lease was last seen to change, by its holder or by a controller that vouched.
    renewed: Instant,
    /// The last renewal by the holder.
    own_renewal: OwnRenewal,
    /// The public key in its Lease, also after the Lease was deleted.
    end_key: Option<String>,
    /// When the last heartbeat in Redis was given: by Redis's clock, in milliseconds since 1970, and by this process's clock.
    redis_heartbeat: Option<(u64, Instant)>,
    /// Since when the instance is lost, and whether this controller declared the loss.
    lost: Option<(Instant, bool)>,
}

/// When the holder of a Lease last renewed it, as far as this controller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OwnRenewal {
    /// When the last renewal was seen. Before the first renewal: when the instance was first observed.
    seen: Instant,
    /// Whether a renewal was seen. The Leases of a first list may be old.
    is_news: bool,
}

/// One controller's view of all gateway instances, on its own monotonic clock.
///
/// The detector names suspects only while the controller's watch works; the controller's own heartbeat proves that. It does not
/// declare a loss: the caller does so with a compare-and-swap of the suspect's Lease.
///
/// A lapse is a time in which the watch does not work. A lapse does not count as silence of an instance, but the silence before
/// the lapse still counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailureDetector {
    instances: BTreeMap<String, Instance>,
    /// The Leases of controllers and audit programs. The detector uses them only to find old ones to delete.
    controllers: BTreeMap<String, ObservedLease>,
    pods: Pods,
    /// When this controller's own heartbeat last came back through its watch.
    own_heartbeat: Option<Instant>,
    /// The end of the last lapse, for [`LAPSE_GRACE`].
    resumed: Option<Instant>,
    ticked: Instant,
}

impl FailureDetector {
    /// Creates a view without instances. The silence of each counts from when it is first observed.
    pub fn new(now: Instant) -> Self {
        Self {
            instances: BTreeMap::new(),
            controllers: BTreeMap::new(),
            pods: Pods::default(),
            own_heartbeat: None,
            resumed: None,
            ticked: now,
        }
    }

    /// Records the Lease of a gateway instance from the watch. Returns whether the instance is newly lost.
    pub fn observe_lease(&mut self, name: &str, lease: ObservedLease, now: Instant) -> bool {
        let watch_works = self.trusts_its_watch(now);
        let entry = self.instance(name, now);
        let newly_lost = lease.lost && entry.lost.is_none();
        if newly_lost {
            entry.lost = Some((now, false));
        }
        // A restarted watch shows the same version again, which is no sign of life.
        if entry.lease.as_ref().is_none_or(|seen| seen.resource_version != lease.resource_version) && !lease.lost {
            entry.evidence = now;
            entry.counted = Duration::ZERO;
            entry.renewed = now;
            match &entry.lease {
                Some(seen) if seen.renewed == lease.renewed => {}
                Some(_) => entry.own_renewal = OwnRenewal { seen: now, is_news: true },
                None => entry.own_renewal = OwnRenewal { seen: now, is_news: watch_works },
            }
        }
        entry.end_key.clone_from(&lease.end_key);
        entry.lease = Some(lease);
        newly_lost
    }

    /// Returns the instances that are not lost. The caller reads their heartbeats from Redis.
    pub fn monitored(&self) -> Vec<String> {
        self.instances.iter().filter(|(_, instance)| instance.lost.is_none()).map(|(name, _)| name.clone()).collect()
    }

    /// Records a heartbeat from Redis. `stamp` is its time by Redis's clock, in milliseconds since 1970, and `at` its time
    /// by this process's clock. Returns the Lease to vouch for, if the Lease is overdue and the heartbeat is young; see
    /// [`VOUCH_AFTER`].
    ///
    /// A stamp counts only if it is later than all stamps before, because Redis or its clock may have been set back.
    pub fn observe_redis_heartbeat(
        &mut self,
        name: &str,
        stamp: u64,
        at: Instant,
        now: Instant,
    ) -> Option<LeaseVersion> {
        let own_heartbeat = self.own_heartbeat;
        let instance = self.instances.get_mut(name)?;
        if instance.lost.is_some() {
            return None;
        }
        if instance.redis_heartbeat.is_none_or(|(last, _)| stamp > last) {
            instance.redis_heartbeat = Some((stamp, at));
            if at > instance.evidence {
                instance.evidence = at;
                let counted = own_heartbeat.map(|last| last.saturating_duration_since(at));
                instance.counted = instance.counted.min(counted.unwrap_or_default());
            }
        }
        let young = instance.redis_heartbeat.is_some_and(|(_, at)| now.saturating_duration_since(at) <= VOUCH_MAX_AGE);
        let overdue = young && now.saturating_duration_since(instance.renewed) >= VOUCH_AFTER;
        let version = instance.lease.as_ref().filter(|_| overdue)?.resource_version.clone();
        Some(LeaseVersion { instance: name.to_owned(), resource_version: Some(version) })
    }

    /// Records that a Lease was deleted, by its gateway or by a user.
    ///
    /// A deletion is no sign of life: the instance stays silent, but gets [`LEASE_RECREATE_GRACE`] to create the Lease again.
    /// A lost instance stays lost.
    pub fn lease_deleted(&mut self, name: &str, now: Instant) {
        self.controllers.remove(name);
        if let Some(instance) = self.instances.get_mut(name)
            && instance.lease.take().is_some()
            && let Some(long_ago) = now.checked_sub(LOST_AFTER)
        {
            instance.evidence = instance.evidence.max(long_ago + LEASE_RECREATE_GRACE);
            instance.counted = instance.counted.min(LOST_AFTER.saturating_sub(LEASE_RECREATE_GRACE));
        }
    }

    /// Removes an instance that has no Lease and no sessions.
    pub fn remove(&mut self, name: &str) {
        self.instances.remove(name);
    }

    /// Records the Lease of a controller or an audit program from the watch.
    pub fn observe_controller_lease(&mut self, name: &str, lease: ObservedLease) {
        self.controllers.insert(name.to_owned(), lease);
    }

    /// Records that this controller's own heartbeat came back through its watch.
    pub fn observe_own_heartbeat(&mut self, now: Instant) {
        let lapsed = !self.trusts_its_watch(now);
        for instance in self.instances.values_mut() {
            if lapsed {
                instance.evidence = now.checked_sub(instance.counted).unwrap_or(now);
            }
            instance.counted = now.saturating_duration_since(instance.evidence).min(LOST_AFTER);
        }
        if lapsed {
            self.resumed = Some(now);
        }
        self.own_heartbeat = Some(now);
    }

    /// Records the names of a complete list of Leases. Returns the instances whose Leases are gone.
    pub fn leases_listed(&mut self, names: &HashSet<String>, now: Instant) -> Vec<String> {
        self.controllers.retain(|name, _| names.contains(name));
        let known = self.instances.iter().filter(|(_, instance)| instance.lease.is_some());
        let gone: Vec<_> = known.map(|(name, _)| name).filter(|name| !names.contains(*name)).cloned().collect();
        for name in &gone {
            self.lease_deleted(name, now);
        }
        gone
    }

    /// Returns the gateways' Pods, to update them.
    pub fn pods(&mut self) -> &mut Pods {
        &mut self.pods
    }

    /// Records that this process runs. Call it every [`super::TICK`], also while requests are pending: a gap of more than
    /// [`PAUSED_AFTER`] means that the process was paused.
    pub fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.ticked) > PAUSED_AFTER {
            self.own_heartbeat = None;
        }
        self.resumed = self.resumed.filter(|resumed| now.saturating_duration_since(*resumed) < LAPSE_GRACE);
        self.ticked = now;
    }

    /// Returns whether the watch works: this controller's own heartbeat came back within [`HEARTBEAT_MAX_AGE`].
    pub fn trusts_its_watch(&self, now: Instant) -> bool {
        self.own_heartbeat.is_some_and(|last| now.duration_since(last) <= HEARTBEAT_MAX_AGE)
    }

    /// Returns the instances that have been silent for too long; none while this controller distrusts its watch.
    pub fn suspects(&mut self, now: Instant) -> Vec<LeaseVersion> {
        self.tick(now);
        if !self.trusts_its_watch(now) {
            return Vec::new();
        }
        self.instances
            .iter()
            .filter(|(_, instance)| {
                let limit = self.silence_limit(instance);
                // Just after an outage, a live gateway may not have renewed yet. A proof of death need not wait.
                let is_due = limit.is_zero() || self.resumed.is_none();
                instance.lost.is_none() && is_due && now.duration_since(instance.evidence) >= limit
            })
            .map(|(name, instance)| LeaseVersion {
                instance: name.clone(),
                resource_version: instance.lease.as_ref().map(|lease| lease.resource_version.clone()),
            })
            .collect()
    }

    /// Returns the instances that have not renewed their own Lease for [`VOUCH_AFTER`], with the public keys of their reports.
    /// Such an instance probably cannot write ends either. Leaves out instances without a key.
    pub fn unable_to_write(&self, now: Instant) -> BTreeMap<String, String> {
        let overdue = |instance: &Instance| now.saturating_duration_since(instance.own_renewal.seen) >= VOUCH_AFTER;
        let overdue = self.instances.iter().filter(|(_, instance)| overdue(instance));
        overdue.filter_map(|(name, instance)| Some((name.clone(), instance.end_key.clone()?))).collect()
    }

    /// Records that this controller has declared an instance lost.
    pub fn mark_lost(&mut self, name: &str, now: Instant) {
        let entry = self.instance(name, now);
        entry.lost = Some((now, true));
    }

    /// Returns the state of an instance. `expected` says that an Active session names the instance. If such an instance is
    /// unknown, its silence counts from now.
    pub fn state(&mut self, name: &str, now: Instant, expected: bool) -> InstanceState {
        if !expected && !self.instances.contains_key(name) {
            return InstanceState::Alive;
        }
        let entry = self.instance(name, now);
        let stamped =
            entry.redis_heartbeat.and_then(|(stamp, _)| Timestamp::from_millisecond(i64::try_from(stamp).ok()?).ok());
        let last_seen = entry.lease.as_ref().and_then(|lease| lease.renewed).max(stamped);
        match entry.lost {
            None => InstanceState::Alive,
            Some((_, true)) => InstanceState::Lost { sweep_after: Duration::ZERO, last_seen },
            Some((since, false)) => {
                let sweep_after = SWEEP_HEAD_START.saturating_sub(now.duration_since(since));
                InstanceState::Lost { sweep_after, last_seen }
            }
        }
    }

    /// Returns the Leases to delete: those of lost instances, controllers and audit programs that were last renewed before
    /// `before`, by their holders' clocks.
    pub fn expired_leases(&self, before: Timestamp) -> Vec<LeaseVersion> {
        let lost = self.instances.iter().filter(|(_, instance)| instance.lost.is_some());
        let lost = lost.filter_map(|(name, instance)| Some((name, instance.lease.as_ref()?)));
        lost.chain(&self.controllers)
            .filter(|(_, lease)| lease.renewed.max(lease.acquired).is_none_or(|touched| touched < before))
            .map(|(name, lease)| LeaseVersion {
                instance: name.clone(),
                resource_version: Some(lease.resource_version.clone()),
            })
            .collect()
    }

    /// Returns the entry of an instance, and creates it if there is none. The silence of a new instance counts from now.
    fn instance(&mut self, name: &str, now: Instant) -> &mut Instance {
        self.instances.entry(name.to_owned()).or_insert(Instance {
            lease: None,
            evidence: now,
            counted: Duration::ZERO,
            renewed: now,
            own_renewal: OwnRenewal { seen: now, is_news: false },
            end_key: None,
            redis_heartbeat: None,
            lost: None,
        })
    }

    fn silence_limit(&self, instance: &Instance) -> Duration {
        let lease = instance.lease.as_ref();
        let renewal = instance.own_renewal.is_news.then_some(instance.own_renewal.seen);
        let (uid, began) = (lease.and_then(|lease| lease.pod_uid.as_deref()), lease.and_then(|lease| lease.acquired));
        self.pods.silence_limit(uid, began, renewal)
    }

    /// Shifts every stored instant. Only differences of instants matter, so two views that differ by a shift behave the same.
    /// A model checker uses this to treat them as one state.
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        for instance in self.instances.values_mut() {
            instance.evidence = to(instance.evidence);
            instance.renewed = to(instance.renewed);
            instance.own_renewal.seen = to(instance.own_renewal.seen);
            instance.redis_heartbeat = instance.redis_heartbeat.map(|(stamp, at)| (stamp, to(at)));
            instance.lost = instance.lost.map(|(since, by_this)| (to(since), by_this));
        }
        self.pods.shift(&to);
        self.own_heartbeat = self.own_heartbeat.map(&to);
        self.resumed = self.resumed.map(&to);
        self.ticked = to(self.ticked);
    }

    /// Shifts every stored stamp of Redis's clock.
    pub fn shift_redis_stamps(&mut self, to: impl Fn(u64) -> u64) {
        for instance in self.instances.values_mut() {
            instance.redis_heartbeat = instance.redis_heartbeat.map(|(stamp, at)| (to(stamp), at));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::lifecycle::pods::GatewayContainer;

    fn seen(version: u64) -> ObservedLease {
        ObservedLease {
            resource_version: version.to_string(),
            renewed: None,
            acquired: None,
            pod_uid: None,
            end_key: None,
            lost: false,
        }
    }

    /// Asks for suspects every half second from `from` to `to`. Returns the time of the first suspect, in seconds. `heartbeat`
    /// says whether the watch works.
    fn first_suspect(
        detector: &mut FailureDetector,
        start: Instant,
        from: f64,
        to: f64,
        heartbeat: bool,
    ) -> Option<f64> {
        let mut at = from;
        while at <= to {
            let now = start + Duration::from_secs_f64(at);
            if heartbeat {
                detector.observe_own_heartbeat(now);
            }
            if !detector.suspects(now).is_empty() {
                return Some(at);
            }
            at += 0.5;
        }
        None
    }

    #[test]
    fn a_silent_instance_is_suspected_after_20_seconds() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn an_unchanged_version_is_no_sign_of_life() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 10.0, true), None);
        detector.observe_lease("gw-1", seen(1), start + Duration::from_secs(10));
        assert_eq!(first_suspect(&mut detector, start, 10.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn a_controller_without_its_own_heartbeat_suspects_no_instance() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 100.0, false), None);
        assert_eq!(first_suspect(&mut detector, start, 100.0, 200.0, true), Some(120.0));
    }

    #[test]
    fn silence_from_before_a_pause_stays_and_the_pause_does_not_count() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 19.0, true), None);
        // A renewal that arrived during the pause is not yet read, and the old heartbeat still looks fresh.
        let thawed = start + Duration::from_secs_f64(22.5);
        assert_eq!(detector.suspects(thawed), vec![]);
        assert_eq!(first_suspect(&mut detector, start, 22.5, 60.0, true), Some(22.5 + LAPSE_GRACE.as_secs_f64()));
    }

    /// In the last 6 s of every `period` seconds, the controller's heartbeat does not come back.
    #[rstest]
    #[case::every_20_seconds(20.0, 27.0)]
    #[case::every_15_seconds(15.0, 26.5)]
    #[case::every_10_seconds(10.0, 47.0)]
    fn a_silent_instance_is_suspected_though_the_controller_lapses(#[case] period: f64, #[case] expected: f64) {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        let mut at = 0.0;
        while at < 200.0 {
            at += 0.5;
            if let Some(suspected) = first_suspect(&mut detector, start, at, at, at % period < period - 6.0) {
                assert!((suspected - expected).abs() < f64::EPSILON, "suspected after {suspected} s");
                return;
            }
        }
        panic!("never suspected");
    }

    #[test]
    fn a_sign_of_life_during_a_lapse_ends_the_silence_from_before() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for through_redis in [false, true] {
            let mut detector = FailureDetector::new(start);
            detector.observe_own_heartbeat(start);
            detector.observe_lease("gw-1", seen(1), start);
            assert_eq!(first_suspect(&mut detector, start, 0.5, 10.0, true), None);
            assert_eq!(first_suspect(&mut detector, start, 10.5, 25.0, false), None);
            if through_redis {
                detector.observe_redis_heartbeat("gw-1", 1, at(25), at(25));
            } else {
                detector.observe_lease("gw-1", seen(2), at(25));
            }
            assert_eq!(first_suspect(&mut detector, start, 25.5, 29.5, false), None);
            assert_eq!(first_suspect(&mut detector, start, 30.0, 100.0, true), Some(50.0), "{through_redis}");
        }
    }

    #[test]
    fn a_renewal_after_the_end_of_the_container_refutes_it() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let renewed = |version, second| ObservedLease {
            renewed: Timestamp::from_second(second).ok(),
            pod_uid: Some("one".to_owned()),
            ..seen(version)
        };
        let mut detector = FailureDetector::new(start);
        detector.observe_lease("gw-1", renewed(1, 1), start);
        detector.observe_own_heartbeat(start);
        detector.pods().replace_all([("one".to_owned(), GatewayContainer::Terminated)].into(), at(1));
        assert_eq!(first_suspect(&mut detector, start, 1.0, 1.0, true), Some(1.0));
        // A controller that vouches changes the version, but not the time of the renewal.
        detector.observe_lease("gw-1", renewed(2, 1), at(2));
        assert_eq!(first_suspect(&mut detector, start, 2.0, 2.0, true), Some(2.0));
        detector.observe_lease("gw-1", renewed(3, 6), at(3));
        assert_eq!(first_suspect(&mut detector, start, 3.0, 60.0, true), Some(23.0));
    }

    #[test]
    fn a_gateway_that_does_not_renew_its_lease_itself_cannot_write_ends() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let renewed = |version, second| ObservedLease {
            renewed: Timestamp::from_second(second).ok(),
            end_key: Some("key".to_owned()),
            ..seen(version)
        };
        let mut detector = FailureDetector::new(start);
        detector.observe_lease("gw-1", renewed(1, 1), start);
        detector.observe_lease("gw-without-key", seen(1), start);
        let unable =
            |detector: &FailureDetector, second| detector.unable_to_write(at(second)).into_keys().collect::<Vec<_>>();
        assert_eq!(unable(&detector, 5), Vec::<String>::new());
        assert_eq!(unable(&detector, 6), ["gw-1"]);
        detector.observe_lease("gw-1", renewed(2, 1), at(6));
        assert_eq!(unable(&detector, 7), ["gw-1"], "vouched for");
        detector.observe_lease("gw-1", renewed(3, 8), at(8));
        assert_eq!(unable(&detector, 13), Vec::<String>::new(), "renewed");
        detector.lease_deleted("gw-1", at(13));
        assert_eq!(unable(&detector, 14), ["gw-1"], "without its Lease");
    }

    #[test]
    fn a_controller_that_waits_for_an_answer_is_not_paused() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 60.0, true), Some(20.0));
        // The swap is unanswered for 3 s. Heartbeats arrive, and the process runs.
        for half_seconds in 41..48 {
            let now = start + Duration::from_millis(500) * half_seconds;
            detector.tick(now);
            detector.observe_own_heartbeat(now);
        }
        assert_eq!(detector.suspects(start + Duration::from_secs(24)).len(), 1);
    }

    /// Returns the second of the suspicion for a Lease that was renewed at second 0 and deleted at second `gone`.
    fn suspected_without_its_lease(gone: f64) -> Option<f64> {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, gone, true), None);
        detector.lease_deleted("gw-1", start + Duration::from_secs_f64(gone));
        let suspected = first_suspect(&mut detector, start, gone, 60.0, true)?;
        // A second report of the deletion, as by a GET, grants no new time.
        let now = start + Duration::from_secs_f64(suspected);
        detector.lease_deleted("gw-1", now);
        assert_eq!(detector.suspects(now), [LeaseVersion { instance: "gw-1".into(), resource_version: None }]);
        Some(suspected)
    }

    #[test]
    fn a_deleted_lease_is_no_sign_of_life() {
        assert_eq!(suspected_without_its_lease(9.0), Some(20.0));
        assert_eq!(suspected_without_its_lease(19.0), Some(25.0), "the gateway may be creating it again");
    }

    #[test]
    fn a_lost_instance_stays_lost_without_its_lease() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_lease("gw-1", ObservedLease { lost: true, ..seen(1) }, start);
        detector.lease_deleted("gw-1", start);
        detector.observe_lease("gw-1", seen(2), start);
        assert!(matches!(detector.state("gw-1", start, true), InstanceState::Lost { .. }));
    }

    #[test]
    fn a_shift_in_time_changes_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(100);
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        detector.observe_lease("gw-2", ObservedLease { lost: true, ..seen(1) }, start);
        detector.shift(|at| at + Duration::from_secs(100));
        assert!(matches!(
            detector.state("gw-2", later, true),
            InstanceState::Lost { sweep_after: SWEEP_HEAD_START, .. }
        ));
        assert_eq!(first_suspect(&mut detector, later, 0.5, 60.0, true), Some(20.0));
    }

    #[test]
    fn silence_counts_from_the_first_session_that_names_an_unknown_instance() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        assert_eq!(detector.state("gw-gone", start, true), InstanceState::Alive);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 60.0, true), Some(20.0));
        let now = start + Duration::from_secs(20);
        assert_eq!(detector.suspects(now)[0].resource_version, None);
        detector.mark_lost("gw-gone", now);
        assert!(matches!(
            detector.state("gw-gone", now, true),
            InstanceState::Lost { sweep_after: Duration::ZERO, .. }
        ));
    }

    #[test]
    fn the_controller_that_declared_a_loss_has_a_head_start() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        assert!(detector.observe_lease("gw-1", ObservedLease { lost: true, ..seen(1) }, start));
        assert!(!detector.observe_lease("gw-1", ObservedLease { lost: true, ..seen(1) }, start), "reported once");
        let sweep_after = |detector: &mut FailureDetector, after| match detector.state(
            "gw-1",
            start + Duration::from_secs(after),
            true,
        ) {
            InstanceState::Lost { sweep_after, .. } => sweep_after,
            InstanceState::Alive => panic!("alive"),
        };
        assert_eq!(sweep_after(&mut detector, 0), SWEEP_HEAD_START);
        assert_eq!(sweep_after(&mut detector, 5), Duration::ZERO);
    }

    #[test]
    fn redis_heartbeats_keep_an_instance_with_an_overdue_lease_alive() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        for beat in 1..=30_u32 {
            let (from, at) = (f64::from(beat - 1) * 2.0, f64::from(beat) * 2.0);
            assert_eq!(first_suspect(&mut detector, start, from, at, true), None);
            let now = start + Duration::from_secs_f64(at);
            let vouch = detector.observe_redis_heartbeat("gw-1", u64::from(beat), now, now);
            assert_eq!(vouch.is_some(), at >= VOUCH_AFTER.as_secs_f64(), "at {at}");
        }
        // An equal or older stamp is no new sign of life.
        let now = start + Duration::from_secs(70);
        assert_eq!(detector.observe_redis_heartbeat("gw-1", 30, now, now), None);
        assert_eq!(detector.observe_redis_heartbeat("gw-1", 3, now, now), None);
        assert_eq!(first_suspect(&mut detector, start, 60.0, 100.0, true), Some(80.0));
    }

    #[test]
    fn a_young_redis_heartbeat_is_vouched_for_until_the_lease_changes() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        let at = |second| start + Duration::from_secs(second);
        detector.observe_lease("gw-1", seen(1), start);
        let mut look =
            |stamp, given, now| detector.observe_redis_heartbeat("gw-1", stamp, at(given), at(now)).is_some();
        assert!(!look(5, 5, 5), "renewed a moment ago");
        assert!(look(5, 5, 6), "given before the Lease was overdue");
        assert!(look(5, 5, 8), "the first vouching may have been lost");
        assert!(!look(5, 5, 9), "too old");
        assert!(!look(5, 9, 9), "no younger, though Redis's clock was set back");
        assert!(!look(6, 20, 40), "too old when first observed");
        assert!(look(7, 40, 40));
        detector.observe_lease("gw-1", seen(2), at(40));
        assert_eq!(detector.observe_redis_heartbeat("gw-1", 8, at(42), at(42)), None);
    }

    #[test]
    fn an_old_redis_heartbeat_counts_from_when_it_was_given() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        detector.observe_lease("gw-1", seen(1), start);
        assert_eq!(first_suspect(&mut detector, start, 0.0, 19.0, true), None);
        let (at, now) = (start + Duration::from_secs(9), start + Duration::from_secs(19));
        assert_eq!(detector.observe_redis_heartbeat("gw-1", 7, at, now), None, "too old to vouch for");
        assert_eq!(first_suspect(&mut detector, start, 19.0, 60.0, true), Some(29.0));
        assert_eq!(detector.monitored(), ["gw-1"]);
        detector.mark_lost("gw-1", now);
        assert_eq!(detector.observe_redis_heartbeat("gw-1", 8, now, now), None);
        assert_eq!(detector.monitored(), [""; 0]);
    }

    #[test]
    fn leases_missing_from_a_new_list_are_gone() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_lease("gw-1", seen(1), start);
        detector.observe_lease("gw-2", seen(1), start);
        detector.observe_controller_lease("ctl-1", seen(1));
        detector.state("gw-without-lease", start, true);
        assert_eq!(detector.leases_listed(&HashSet::from(["gw-2".to_owned()]), start), ["gw-1"]);
        assert_eq!(detector.leases_listed(&HashSet::from(["gw-2".to_owned()]), start), [""; 0], "reported once");
        assert!(detector.controllers.is_empty());
    }

    #[test]
    fn a_lost_lease_that_was_never_renewed_expires_by_its_acquire_time() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        let made = Timestamp::from_second(100).unwrap();
        detector.observe_lease("gw-1", ObservedLease { lost: true, acquired: Some(made), ..seen(1) }, start);
        assert_eq!(detector.expired_leases(Timestamp::from_second(99).unwrap()), []);
        assert_eq!(detector.expired_leases(Timestamp::from_second(101).unwrap()).len(), 1);
    }

    #[test]
    fn an_ended_container_is_suspected_at_once_and_a_deleted_pod_early() {
        let start = Instant::now();
        let mut detector = FailureDetector::new(start);
        detector.observe_own_heartbeat(start);
        let of_pod = |uid: &str| ObservedLease { pod_uid: Some(uid.to_owned()), ..seen(1) };
        detector.observe_lease("gw-1", of_pod("one"), start);
        detector.observe_lease("gw-2", of_pod("two"), start);
        let pods = ["one", "two"].map(|uid| (uid.to_owned(), GatewayContainer::Unknown));
        detector.pods().replace_all(pods.into(), start);
        assert_eq!(first_suspect(&mut detector, start, 0.5, 1.0, true), None);
        detector.pods().update("one", GatewayContainer::Terminated, start + Duration::from_secs(1));
        assert_eq!(first_suspect(&mut detector, start, 1.5, 60.0, true), Some(1.5));
        detector.mark_lost("gw-1", start + Duration::from_secs_f64(1.5));
        detector.pods().remove("two");
        assert_eq!(first_suspect(&mut detector, start, 2.0, 60.0, true), Some(10.0));
    }

    #[test]
    fn old_leases_of_lost_instances_and_controllers_expire() {
        let start = Instant::now();
        let at = |second| Timestamp::from_second(second).unwrap();
        let lease = |second, lost| ObservedLease { renewed: Some(at(second)), lost, ..seen(1) };
        let mut detector = FailureDetector::new(start);
        detector.observe_lease("gw-alive", lease(10, false), start);
        detector.observe_lease("gw-lost", lease(10, true), start);
        detector.observe_lease("gw-just-lost", lease(100, true), start);
        detector.observe_controller_lease("ctl-old", lease(10, false));
        detector.observe_controller_lease("ctl-new", lease(100, false));
        let mut left: Vec<_> = detector.expired_leases(at(50)).into_iter().map(|lease| lease.instance).collect();
        left.sort();
        assert_eq!(left, ["ctl-old", "gw-lost"]);
    }

    proptest! {
        /// The controller may pause, and its heartbeat may fail to come back, at any time.
        #[test]
        fn a_renewing_instance_is_never_suspected(
            beats in prop::collection::vec(any::<bool>(), 1..600),
            pauses in prop::collection::vec(0_u64..40, 1..600),
        ) {
            let start = Instant::now();
            let mut detector = FailureDetector::new(start);
            let mut at = start;
            for (version, (beat, pause)) in beats.into_iter().zip(pauses).enumerate() {
                // Most checks are on time. Some come after a pause of up to 20 s.
                at += if pause < 30 { Duration::from_millis(500) } else { Duration::from_secs(2 * (pause - 29)) };
                if beat { detector.observe_own_heartbeat(at); }
                // At each check the newest renewal is there, unless the watch stands still.
                if beat { detector.observe_lease("gw-1", seen(version as u64), at); }
                prop_assert_eq!(detector.suspects(at), vec![]);
            }
        }

        /// The API server goes down repeatedly, each time for longer than a controller trusts its watch. While it is up, the
        /// controller's heartbeat comes back, and the gateway renews its Lease within [`LAPSE_GRACE`] and then every 5 s.
        #[test]
        fn an_instance_that_renews_whenever_it_can_is_never_suspected(
            outages in prop::collection::vec((1_u64..60, 0_u64..14, 11_u64..80), 1..60),
        ) {
            let start = Instant::now();
            let half = Duration::from_millis(500);
            let mut detector = FailureDetector::new(start);
            let (mut at, mut version) = (start, 0);
            detector.observe_lease("gw-1", seen(version), at);
            for (up, delay, down) in outages {
                for step in 0..up {
                    at += half;
                    detector.observe_own_heartbeat(at);
                    if step >= delay && (step - delay) % 10 == 0 {
                        version += 1;
                        detector.observe_lease("gw-1", seen(version), at);
                    }
                    prop_assert_eq!(detector.suspects(at), vec![]);
                }
                for _ in 0..down {
                    at += half;
                    // A suspect of the outage cannot be declared lost before the next time that the API server is up.
                    detector.suspects(at);
                }
            }
        }
    }
}
