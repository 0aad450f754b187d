//! Decides from the state of its Pod how long a gateway instance may be silent before it counts as lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::timeouts::{LOST_AFTER, POD_GONE_AFTER};

/// The state of the gateway's container in a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayContainer {
    /// The Pod's status does not say.
    Unknown,
    /// The container has run since this time, by its node's clock. An instance that began earlier ran in an earlier container,
    /// unless the node's clock was set back.
    Running(Timestamp),
    /// The container ended at this time, by its node's clock, and may be started again. An instance that began later may be
    /// alive.
    Ended(Timestamp),
    /// The container has ended and will not be restarted.
    Terminated,
}

impl GatewayContainer {
    const fn has_ended(self) -> bool {
        matches!(self, Self::Ended(_) | Self::Terminated)
    }
}

/// The state of a container, and when it was first seen to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ObservedContainer {
    container: GatewayContainer,
    ended_seen: Option<Instant>,
}

/// The gateways' Pods of a namespace, by uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pods {
    /// `None` until the first list. Until then, no Pod counts as missing.
    containers: Option<BTreeMap<String, ObservedContainer>>,
}

impl Pods {
    /// Replaces all Pods by those of a new list, observed at `now`.
    pub fn replace_all(&mut self, containers: BTreeMap<String, GatewayContainer>, now: Instant) {
        let old = self.containers.take().unwrap_or_default();
        let observed = containers.into_iter().map(|(uid, container)| {
            let container = observe(container, old.get(&uid), now);
            (uid, container)
        });
        self.containers = Some(observed.collect());
    }

    /// Adds or updates a Pod, observed at `now`.
    pub fn update(&mut self, uid: &str, container: GatewayContainer, now: Instant) {
        if let Some(containers) = &mut self.containers {
            let container = observe(container, containers.get(uid), now);
            containers.insert(uid.to_owned(), container);
        }
    }

    /// Removes a deleted Pod.
    pub fn remove(&mut self, uid: &str) {
        if let Some(containers) = &mut self.containers {
            containers.remove(uid);
        }
    }

    /// Returns how long an instance may be silent before it counts as lost; zero if its death is proven. The instance began at
    /// `began` in the Pod `uid`, and its last renewal was seen at `renewal`.
    ///
    /// Only an ended container proves a death, and only until a later renewal is seen. A deleted Pod proves nothing, because
    /// its container may still run on a node that the cluster cannot reach. A container that started after the instance
    /// proves nothing either, because the node's clock may have been set back. Both shorten the limit to [`POD_GONE_AFTER`].
    pub fn silence_limit(&self, uid: Option<&str>, began: Option<Timestamp>, renewal: Option<Instant>) -> Duration {
        let (Some(containers), Some(uid)) = (&self.containers, uid) else { return LOST_AFTER };
        let Some(observed) = containers.get(uid) else { return POD_GONE_AFTER };
        let began_before = |time: Timestamp| began.is_some_and(|began| began < time);
        let is_refuted = renewal > observed.ended_seen;
        match observed.container {
            GatewayContainer::Terminated if !is_refuted => Duration::ZERO,
            GatewayContainer::Ended(time) if began_before(time) && !is_refuted => Duration::ZERO,
            GatewayContainer::Running(time) if began_before(time) => POD_GONE_AFTER,
            _ => LOST_AFTER,
        }
    }

    /// Shifts every stored instant; see [`super::FailureDetector::shift`].
    pub fn shift(&mut self, to: impl Fn(Instant) -> Instant) {
        for observed in self.containers.iter_mut().flat_map(BTreeMap::values_mut) {
            observed.ended_seen = observed.ended_seen.map(&to);
        }
    }
}

/// Returns what is known of a container after it was observed at `now`. If the status repeats, the time of the first
/// observation stays.
fn observe(container: GatewayContainer, old: Option<&ObservedContainer>, now: Instant) -> ObservedContainer {
    match old {
        Some(old) if old.container == container => *old,
        _ => ObservedContainer { container, ended_seen: container.has_ended().then_some(now) },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pods(now: Instant) -> Pods {
        let mut pods = Pods::default();
        let containers = [
            ("terminated", GatewayContainer::Terminated),
            ("ended", GatewayContainer::Ended(at(100))),
            ("running", GatewayContainer::Running(at(100))),
            ("unknown", GatewayContainer::Unknown),
        ];
        pods.replace_all(containers.map(|(uid, container)| (uid.to_owned(), container)).into(), now);
        pods
    }

    #[rstest]
    #[case::container_terminated("terminated", 100, Duration::ZERO)]
    #[case::began_before_the_container_ended("ended", 99, Duration::ZERO)]
    #[case::began_when_the_container_ended("ended", 100, LOST_AFTER)]
    #[case::began_before_the_container_started("running", 99, POD_GONE_AFTER)]
    #[case::began_when_the_container_started("running", 100, LOST_AFTER)]
    #[case::container_unknown("unknown", 100, LOST_AFTER)]
    #[case::pod_deleted("gone", 100, POD_GONE_AFTER)]
    fn an_instance_may_be_silent_for(#[case] uid: &str, #[case] began: i64, #[case] limit: Duration) {
        let now = Instant::now();
        let pods = pods(now);
        assert_eq!(pods.silence_limit(Some(uid), Some(at(began)), None), limit);
        assert_eq!(pods.silence_limit(Some(uid), Some(at(began)), Some(now)), limit, "renewed before the status");
        assert_eq!(pods.silence_limit(None, Some(at(began)), None), LOST_AFTER, "without a Pod");
    }

    #[rstest]
    #[case::container_terminated("terminated")]
    #[case::container_ended("ended")]
    fn a_renewal_after_the_end_of_the_container_refutes_the_death(#[case] uid: &str) {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut pods = pods(now);
        let limit = |pods: &Pods| pods.silence_limit(Some(uid), Some(at(99)), Some(later));
        assert_eq!(limit(&pods), LOST_AFTER);
        let again = pods.containers.as_ref().unwrap()[uid].container;
        pods.update(uid, again, later);
        assert_eq!(limit(&pods), LOST_AFTER, "the same status again");
        pods.replace_all([(uid.to_owned(), again)].into(), later);
        assert_eq!(limit(&pods), LOST_AFTER, "the same status in a new list");
        pods.update(uid, GatewayContainer::Ended(at(200)), later);
        assert_eq!(limit(&pods), Duration::ZERO, "a later end");
    }

    #[test]
    fn no_pod_is_missing_before_the_first_list_and_changes_count_after_it() {
        let now = Instant::now();
        let mut pods = Pods::default();
        let limit = |pods: &Pods| pods.silence_limit(Some("a"), None, None);
        pods.update("a", GatewayContainer::Terminated, now);
        assert_eq!(limit(&pods), LOST_AFTER);
        pods.replace_all(BTreeMap::new(), now);
        assert_eq!(limit(&pods), POD_GONE_AFTER);
        pods.update("a", GatewayContainer::Terminated, now);
        assert_eq!(limit(&pods), Duration::ZERO);
        pods.remove("a");
        assert_eq!(limit(&pods), POD_GONE_AFTER);
    }
}
