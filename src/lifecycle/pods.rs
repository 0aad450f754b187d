//! Tells from the gateways' Pods how long an instance may be silent before it counts as lost.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::timeouts::{LOST_AFTER, POD_GONE_AFTER};

/// The state of the gateway's container in a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayContainer {
    /// The Pod's status does not say.
    Unknown,
    /// The container ended or started at this time, by its node's clock. Instances that began before are dead; one that
    /// began later may be alive.
    DeadBefore(Timestamp),
    /// The container has ended and will not be restarted.
    Terminated,
}

/// The gateways' Pods of a namespace, by uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pods {
    /// `None` until the first list. Until then, no Pod counts as missing.
    containers: Option<BTreeMap<String, GatewayContainer>>,
}

impl Pods {
    /// Replaces all Pods by those of a new list.
    pub fn replace_all(&mut self, containers: BTreeMap<String, GatewayContainer>) {
        self.containers = Some(containers);
    }

    /// Adds or updates a Pod.
    pub fn update(&mut self, uid: &str, container: GatewayContainer) {
        if let Some(containers) = &mut self.containers {
            containers.insert(uid.to_owned(), container);
        }
    }

    /// Removes a deleted Pod.
    pub fn remove(&mut self, uid: &str) {
        if let Some(containers) = &mut self.containers {
            containers.remove(uid);
        }
    }

    /// Returns how long an instance may be silent before it counts as lost. It began at `began` in the Pod `uid`.
    ///
    /// Only an ended container proves a death. A deleted Pod does not: its container may still run on a node that the
    /// cluster cannot reach.
    pub fn silence_limit(&self, uid: Option<&str>, began: Option<Timestamp>) -> Duration {
        let (Some(containers), Some(uid)) = (&self.containers, uid) else { return LOST_AFTER };
        match containers.get(uid) {
            None => POD_GONE_AFTER,
            Some(GatewayContainer::Terminated) => Duration::ZERO,
            Some(GatewayContainer::DeadBefore(time)) if began.is_some_and(|began| began < *time) => Duration::ZERO,
            Some(GatewayContainer::DeadBefore(_) | GatewayContainer::Unknown) => LOST_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[rstest]
    #[case::container_terminated("over", 100, Duration::ZERO)]
    #[case::began_before_the_container_restarted("renewed", 99, Duration::ZERO)]
    #[case::began_when_the_container_restarted("renewed", 100, LOST_AFTER)]
    #[case::container_unknown("unknown", 100, LOST_AFTER)]
    #[case::pod_deleted("gone", 100, POD_GONE_AFTER)]
    fn an_instance_may_be_silent_for(#[case] uid: &str, #[case] began: i64, #[case] limit: Duration) {
        let mut pods = Pods::default();
        let containers = [
            ("over", GatewayContainer::Terminated),
            ("renewed", GatewayContainer::DeadBefore(at(100))),
            ("unknown", GatewayContainer::Unknown),
        ];
        pods.replace_all(containers.map(|(uid, container)| (uid.to_owned(), container)).into());
        assert_eq!(pods.silence_limit(Some(uid), Some(at(began))), limit);
        assert_eq!(pods.silence_limit(None, Some(at(began))), LOST_AFTER, "without a Pod");
    }

    #[test]
    fn no_pod_is_missing_before_the_first_list_and_changes_count_after_it() {
        let mut pods = Pods::default();
        pods.update("a", GatewayContainer::Terminated);
        assert_eq!(pods.silence_limit(Some("a"), None), LOST_AFTER);
        pods.replace_all(BTreeMap::new());
        assert_eq!(pods.silence_limit(Some("a"), None), POD_GONE_AFTER);
        pods.update("a", GatewayContainer::Terminated);
        assert_eq!(pods.silence_limit(Some("a"), None), Duration::ZERO);
        pods.remove("a");
        assert_eq!(pods.silence_limit(Some("a"), None), POD_GONE_AFTER);
    }
}
