//! Watches that survive interruptions.

use std::future::ready;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::warn;

use super::{code, retry_pace};
use crate::metrics::METRICS;

/// The duration of one watch request, in seconds. When the API server ends the request, the watch resumes at the last version.
///
/// A watch on a dead connection looks like a watch without changes. The client gives up such a request five seconds after it
/// should have ended. After a new request, terminations and Lease renewals arrive again.
pub const WATCH_SECONDS: u32 = 8;

/// The longest time between two failures to start a watch that together show an outage. It is longer than the timeout of any
/// request.
const OUTAGE_GAP: Duration = Duration::from_secs(15);

/// Watches objects; the stream never ends. After an interruption, which is logged, the watch resumes at the last version. It
/// starts with a new list if that version is too old, and after an outage.
pub fn watch<K>(api: kube::Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = config.timeout(WATCH_SECONDS);
    stream::repeat_with(move || watch_until_outage(api.clone(), config.clone())).flatten()
}

/// Watches objects until an outage.
fn watch_until_outage<K>(api: kube::Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, config).backoff(ExponentialBackoff::from(retry_pace()));
    let events = events.scan(Outage::default(), |outage, event| {
        ready(match event {
            Ok(event) => Some(Some(event)),
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "watch interrupted; resuming");
                METRICS.watch_interruptions.inc();
                (!outage.is_shown_by(&error, Instant::now())).then_some(None)
            }
        })
    });
    events.filter_map(ready)
}

/// Detects outages of the API server.
///
/// During an outage, etcd may be restored from a snapshot, which sets its resource versions back. A watch that resumes at a
/// later version then gets neither events nor an error until etcd reaches that version. A new list shows the objects that exist.
#[derive(Debug, Default)]
struct Outage {
    last_failure: Option<Instant>,
}

impl Outage {
    /// Returns whether a failure shows an outage: it is the second failure to start a watch within [`OUTAGE_GAP`]. An answer of
    /// 429 does not count: the API server is overloaded but not down, and a new list would add to its load.
    fn is_shown_by(&mut self, error: &watcher::Error, now: Instant) -> bool {
        let watcher::Error::WatchStartFailed(error) = error else { return false };
        if code(error) == Some(429) {
            return false;
        }
        self.last_failure.replace(now).is_some_and(|last| now.duration_since(last) <= OUTAGE_GAP)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;

    use super::*;
    use crate::api::BastionUser;
    use crate::cluster::scripted_api::{Answer, Received, ScriptedApi};

    fn failed(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("", "").with_code(code).boxed())
    }

    fn not_started(code: u16) -> watcher::Error {
        watcher::Error::WatchStartFailed(failed(code))
    }

    #[rstest]
    #[case::one_failure(&[(0, not_started(503))], false)]
    #[case::two_in_a_row(&[(0, not_started(503)), (1, not_started(503))], true)]
    #[case::two_that_are_far_apart(&[(0, not_started(503)), (16, not_started(503))], false)]
    #[case::overload(&[(0, not_started(429)), (1, not_started(429))], false)]
    #[case::watches_that_break_off(
        &[(0, watcher::Error::WatchFailed(failed(500))), (1, watcher::Error::WatchFailed(failed(500)))],
        false
    )]
    #[case::failed_lists(
        &[(0, watcher::Error::InitialListFailed(failed(503))), (1, watcher::Error::InitialListFailed(failed(503)))],
        false
    )]
    #[tokio::test(start_paused = true)]
    async fn two_failed_starts_in_a_row_show_an_outage(
        #[case] failures: &[(u64, watcher::Error)],
        #[case] expected: bool,
    ) {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let shown = failures.iter().map(|(at, error)| outage.is_shown_by(error, start + Duration::from_secs(*at)));
        assert_eq!(shown.last(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_lists_again_after_an_outage() {
        let list = serde_json::json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUserList",
            "metadata": {"resourceVersion": "7"}, "items": []});
        let is_watch = |request: &Received| request.query.contains("watch=true");
        let api = ScriptedApi::by(
            move |request| {
                if is_watch(request) { Answer::Status(503) } else { Answer::Object(list.clone()) }
            },
        );
        let users = kube::Api::<BastionUser>::namespaced(api.client(), "n");
        let events: Vec<_> = watch(users, watcher::Config::default()).take(4).collect().await;
        assert!(
            matches!(events.as_slice(), [Event::Init, Event::InitDone, Event::Init, Event::InitDone]),
            "{events:?}"
        );
        let watches: Vec<_> = api.received().iter().map(is_watch).collect();
        assert_eq!(watches, [false, true, true, false]);
    }
}
