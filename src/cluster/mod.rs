//! The thin layer between the programs and the Kubernetes API server.

mod events;
mod lease;
mod readable;
mod request;
mod rights;
#[cfg(test)]
pub mod scripted_api;
mod sessions;

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use serde::de::DeserializeOwned;
use tracing::warn;

pub use events::{EventSink, regarding};
pub use lease::LenientLease;
pub use readable::{Guarded, ReadableStore, Unreadable, UnreadableReports, UnreadableSession, split};
pub use request::{RequestError, ask, client, code, is_overloaded};
pub use rights::{Right, asks_as};
pub use sessions::{Created, Ended, SessionWriter, WriteError};

/// How long one request to the API server may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a program that starts repeats requests to an overloaded API server. If it exited, Kubernetes would restart
/// it after ever longer pauses.
pub const START_TIMEOUT: Duration = Duration::from_mins(5);

/// How long a connection to the API server may be silent while an answer is awaited, or it lies idle: one that is
/// dead without having been closed must not be taken for a use that would find that out the slow way.
const SILENCE: Duration = Duration::from_secs(12);

/// How long the connection to the API server may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How many seconds the API server lets a watch last before it is taken up again, where it was. A watch on a
/// connection that is dead or stalled says nothing, like one on which nothing happens: it is given up five seconds
/// after it should have ended, and orders and signs of life come through again.
pub const WATCH_SECONDS: u32 = 8;

/// The way to the API server that the environment knows.
///
/// # Errors
/// When it knows none.
pub async fn config() -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Returns the pace of retries against the API server: quick at first, and at most two seconds apart, because the
/// display of who is online waits for them. The jitter at most doubles each pause.
pub fn retry_pace() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

/// Watches without end: an interruption is logged and the watch goes on where it was, or, when that is too long ago,
/// begins anew with a fresh list.
pub fn watch<K>(api: kube::Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config.timeout(WATCH_SECONDS)).backoff(ExponentialBackoff::from(retry_pace())).filter_map(
        async |event| match event {
            Ok(event) => Some(event),
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "a watch was interrupted; it is taken up again");
                crate::metrics::METRICS.watch_interruptions.inc();
                None
            }
        },
    )
}
