//! Watches that survive interruptions.

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::retry_pace;
use crate::metrics::METRICS;

/// The duration that each watch asks the API server for, in seconds. After it, the watch resumes where it was.
///
/// A watch on a dead connection looks like a watch without changes. The client gives it up five seconds after it should have
/// ended, so that terminations and Lease renewals arrive again.
pub const WATCH_SECONDS: u32 = 8;

/// Watches objects without end. After an interruption, which is logged, the watch resumes where it was; if that version is
/// too old, it starts with a new list.
pub fn watch<K>(api: kube::Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config.timeout(WATCH_SECONDS)).backoff(ExponentialBackoff::from(retry_pace())).filter_map(
        async |event| match event {
            Ok(event) => Some(event),
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "watch interrupted; resuming");
                METRICS.watch_interruptions.inc();
                None
            }
        },
    )
}
