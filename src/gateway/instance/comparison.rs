//! Compares the sessions that an instance carries with those that the API server lists, in both directions.
//!
//! The watch can miss a change. After an interruption it lists the objects that exist, which does not show the objects that
//! were deleted meanwhile. If etcd is restored from a snapshot, changes are undone without an event.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{TryStreamExt, stream};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use super::lifetime::{Instance, InstanceConfig};
use crate::api::BastionSession;
use crate::cluster::{Guarded, REQUEST_TIMEOUT, RequestError, SessionWriter, with_retries};
use crate::lifecycle::{COMPARISON_INTERVAL, Cause};
use crate::metrics::METRICS;

/// The pause between a failed comparison and the next.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How many of the sessions that are missing from the list are read at once.
const CONCURRENT_READS: usize = 8;

/// A session as the API server stores it: readable or not.
type Stored = Guarded<BastionSession>;

impl Instance {
    /// Compares at each [`COMPARISON_INTERVAL`], and whenever `listed` is notified. Never returns.
    pub(super) async fn compare_sessions(&self, config: &InstanceConfig, writer: &SessionWriter, listed: &Notify) {
        let api = config.sessions();
        loop {
            let pause = match self.compare(&api, writer).await {
                Ok(()) => COMPARISON_INTERVAL,
                Err(error) => {
                    METRICS.session_comparisons_failed.inc();
                    warn!(instance = self.id, %error, "the sessions could not be compared with their objects; trying again");
                    RETRY_PAUSE
                }
            };
            // An error means that the interval has passed.
            let _ = timeout(pause, listed.notified()).await;
        }
    }

    /// Ends each Active object without a session, and each session without an object.
    async fn compare(&self, api: &Api<Stored>, writer: &SessionWriter) -> Result<(), RequestError> {
        // Read before the list begins, so that the list has all of these objects if they still exist.
        let carried = self.registry.uids();
        let active = ListParams::default().fields(&format!("spec.gateway.instance={},status.phase=Active", self.id));
        let found = with_retries(REQUEST_TIMEOUT, || api.list(&active)).await?;
        for session in &found {
            self.reconcile(session, api, writer);
        }
        let uids = found.iter().filter_map(ResourceExt::uid).collect();
        stream::iter(absent(carried, &uids).into_iter().map(Ok))
            .try_for_each_concurrent(CONCURRENT_READS, async |(name, uid)| {
                let stored = with_retries(REQUEST_TIMEOUT, || api.get_opt(&name)).await?;
                self.end_absent(&name, cause_of_absence(stored.as_ref(), &uid));
                Ok(())
            })
            .await
    }

    /// Ends a session for `cause`, if there is one.
    fn end_absent(&self, name: &str, cause: Option<Cause>) {
        let Some(cause) = cause else { return };
        if self.registry.end(name, &cause) && cause == Cause::Vanished {
            METRICS.sessions_without_object.inc();
            warn!(session = name, "the session's object no longer exists; the session ends");
        }
    }
}

/// Returns the name and uid of each session whose uid is not in `listed`. `carried` has the uid of each session, by name.
fn absent(carried: HashMap<String, String>, listed: &HashSet<String>) -> Vec<(String, String)> {
    carried.into_iter().filter(|(_, uid)| !listed.contains(uid)).collect()
}

/// Returns why a session must end that is missing from the list of Active sessions; `None` if its object is Active after all.
/// `stored` is the object with the session's name, and `uid` is the uid of the object that the session created.
fn cause_of_absence(stored: Option<&Stored>, uid: &str) -> Option<Cause> {
    let Some(stored) = stored.filter(|stored| stored.uid().as_deref() == Some(uid)) else {
        return Some(Cause::Vanished);
    };
    stored.has_ended().then(|| stored.requested_end().unwrap_or(Cause::GatewayLost))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::Termination;
    use crate::audit::samples::{active, ended};
    use crate::cluster::samples::{readable, unreadable};

    #[rstest]
    #[case::nothing(&[], &[], &[])]
    #[case::all_are_listed(&[("x", "1"), ("y", "2")], &["1", "2"], &[])]
    #[case::others_are_listed_too(&[("x", "1")], &["1", "2"], &[])]
    #[case::one_is_not_listed(&[("x", "1"), ("y", "2")], &["2"], &[("x", "1")])]
    #[case::nothing_is_listed(&[("x", "1")], &[], &[("x", "1")])]
    fn sessions_without_a_listed_object_are_absent(
        #[case] carried: &[(&str, &str)],
        #[case] listed: &[&str],
        #[case] expected: &[(&str, &str)],
    ) {
        let pair = |&(name, uid): &(&str, &str)| (name.to_owned(), uid.to_owned());
        let listed = listed.iter().map(ToString::to_string).collect();
        let expected: Vec<_> = expected.iter().map(pair).collect();
        assert_eq!(absent(carried.iter().map(pair).collect(), &listed), expected);
    }

    fn terminated() -> BastionSession {
        let mut session = ended("a");
        session.spec.termination = Some(Termination { requested_by: "ops".into(), reason: None, via: None });
        session
    }

    #[rstest]
    #[case::no_object(None, Some(Cause::Vanished))]
    #[case::another_object_of_the_name(Some(readable(active("b"))), Some(Cause::Vanished))]
    #[case::created_after_the_list(Some(readable(active("a"))), None)]
    #[case::active_and_unreadable(Some(unreadable(&active("a"))), None)]
    #[case::ended_by_a_controller(Some(readable(ended("a"))), Some(Cause::GatewayLost))]
    #[case::ended_and_unreadable(Some(unreadable(&ended("a"))), Some(Cause::GatewayLost))]
    #[case::ended_on_request(
        Some(readable(terminated())),
        Some(Cause::Terminated { by: "ops".into(), reason: None })
    )]
    fn the_object_shows_why_an_absent_session_ends(#[case] stored: Option<Stored>, #[case] expected: Option<Cause>) {
        assert_eq!(cause_of_absence(stored.as_ref(), "a"), expected);
    }
}
