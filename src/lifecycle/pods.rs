//! What the gateways' Pods tell of their instances. Only a container that has ended proves a death; a Pod that is
//! gone does not, for its container may live on where the cluster cannot see it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::timeouts::{LOST_AFTER, POD_GONE_AFTER};

/// The gateway's container in a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// The Pod does not say.
    Unknown,
    /// It ended, or was started (again), at this time, by the clock of its node, which is the gateway's too: whatever
    /// began in it before is no more. (What began after may be alive: the news of an end can come after it.)
    NothingBefore(Timestamp),
    /// It has ended and will not be started again.
    Over,
}

/// The Pods of a namespace, by uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pods {
    /// `None` until they were listed once: before that, none is missing.
    containers: Option<BTreeMap<String, Container>>,
}

impl Pods {
    /// All Pods there are.
    pub fn list(&mut self, containers: BTreeMap<String, Container>) {
        self.containers = Some(containers);
    }

    /// A Pod has changed.
    pub fn changed(&mut self, uid: &str, container: Container) {
        if let Some(containers) = &mut self.containers {
            containers.insert(uid.to_owned(), container);
        }
    }

    /// A Pod is gone.
    pub fn gone(&mut self, uid: &str) {
        if let Some(containers) = &mut self.containers {
            containers.remove(uid);
        }
    }

    /// How long an instance may be silent that began at `began` in the Pod `uid`.
    pub fn patience(&self, uid: Option<&str>, began: Option<Timestamp>) -> Duration {
        let (Some(containers), Some(uid)) = (&self.containers, uid) else { return LOST_AFTER };
        match containers.get(uid) {
            None => POD_GONE_AFTER,
            Some(Container::Over) => Duration::ZERO,
            Some(Container::NothingBefore(time)) if began.is_some_and(|began| began < *time) => Duration::ZERO,
            Some(Container::NothingBefore(_) | Container::Unknown) => LOST_AFTER,
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
    #[case::of_a_container_that_is_over("over", 100, Duration::ZERO)]
    #[case::from_before_its_container_ended_or_started("renewed", 99, Duration::ZERO)]
    #[case::from_after_its_container_started("renewed", 100, LOST_AFTER)]
    #[case::of_a_container_nobody_knows_of("unknown", 100, LOST_AFTER)]
    #[case::of_a_pod_that_is_gone("gone", 100, POD_GONE_AFTER)]
    fn an_instance(#[case] uid: &str, #[case] began: i64, #[case] patience: Duration) {
        let mut pods = Pods::default();
        let containers = [
            ("over", Container::Over),
            ("renewed", Container::NothingBefore(at(100))),
            ("unknown", Container::Unknown),
        ];
        pods.list(containers.map(|(uid, container)| (uid.to_owned(), container)).into());
        assert_eq!(pods.patience(Some(uid), Some(at(began))), patience);
        assert_eq!(pods.patience(None, Some(at(began))), LOST_AFTER, "without a Pod");
    }

    #[test]
    fn nothing_is_missing_before_the_first_list_and_changes_count_after_it() {
        let mut pods = Pods::default();
        pods.changed("a", Container::Over);
        assert_eq!(pods.patience(Some("a"), None), LOST_AFTER);
        pods.list(BTreeMap::new());
        assert_eq!(pods.patience(Some("a"), None), POD_GONE_AFTER);
        pods.changed("a", Container::Over);
        assert_eq!(pods.patience(Some("a"), None), Duration::ZERO);
        pods.gone("a");
        assert_eq!(pods.patience(Some("a"), None), POD_GONE_AFTER);
    }
}
