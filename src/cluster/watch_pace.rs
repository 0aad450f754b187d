//! Spaces out the starts of watches. kube's watcher restarts a watch at once when the watch has ended without an error. Behind
//! a proxy that cuts watches off, the watcher would send hundreds of requests a second.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Uri};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tower::Service;

/// The time between two starts of a watch that keeps ending.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How many starts in a row are not delayed. Two watches of the same objects share them.
const BURST: u32 = 4;

/// The starts of the watches of one client.
#[derive(Debug, Default)]
pub struct WatchPace {
    /// When the next start of each watch is due, if its starts are [`MIN_INTERVAL`] apart. A burst of starts may come earlier.
    last: HashMap<String, Instant>,
}

impl WatchPace {
    /// Records a request at `now`. Returns how long the request must wait; zero if it does not start a watch.
    fn delay(&mut self, uri: &Uri, now: Instant) -> Duration {
        let Some(watch) = watch_of(uri) else { return Duration::ZERO };
        let last = self.last.entry(watch).or_insert(now);
        *last = (*last).max(now) + MIN_INTERVAL;
        last.saturating_duration_since(now + MIN_INTERVAL * BURST)
    }
}

/// Returns the key of the watch that a request starts: its path and its parameters, except the version from which it resumes.
/// `None` if the request starts no watch.
fn watch_of(uri: &Uri) -> Option<String> {
    let parameters = uri.query().unwrap_or_default().split('&');
    let is_watch = parameters.clone().any(|it| it == "watch=true");
    let fixed: Vec<_> = parameters.filter(|it| !it.starts_with("resourceVersion=")).collect();
    is_watch.then(|| format!("{}?{}", uri.path(), fixed.join("&")))
}

/// A client's service that spaces out the starts of watches.
pub struct PacedWatches<S> {
    inner: S,
    pace: Arc<Mutex<WatchPace>>,
}

impl<S> PacedWatches<S> {
    /// Wraps the service of one client.
    pub fn new(inner: S) -> Self {
        Self { inner, pace: Arc::default() }
    }
}

impl<S, B> Service<Request<B>> for PacedWatches<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let delay = self.pace.lock().delay(request.uri(), Instant::now());
        // Nothing is sent before the first poll.
        let sending = self.inner.call(request);
        Box::pin(async move {
            sleep(delay).await;
            sending.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: &str = "/apis/bastion.dev/v1alpha1/namespaces/n/bastionsessions";

    fn delays(uris: &[String], spacing: Duration) -> Vec<u64> {
        let (mut pace, start) = (WatchPace::default(), Instant::now());
        let delay = |(number, uri): (u32, &String)| {
            u64::try_from(pace.delay(&uri.parse().unwrap(), start + spacing * number).as_millis()).unwrap()
        };
        (0..).zip(uris).map(delay).collect()
    }

    fn watches(number: usize) -> Vec<String> {
        (0..number)
            .map(|version| format!("{SESSIONS}?&watch=true&resourceVersion={version}&timeoutSeconds=8"))
            .collect()
    }

    #[test]
    fn a_watch_that_keeps_ending_starts_once_a_second_after_the_first_few() {
        assert_eq!(delays(&watches(7), Duration::ZERO), [0, 0, 0, 0, 1000, 2000, 3000]);
        assert_eq!(delays(&watches(9), Duration::from_millis(500)), [0, 0, 0, 0, 0, 0, 0, 500, 1000]);
    }

    #[test]
    fn a_watch_that_lasts_is_not_delayed_and_nor_is_another_request() {
        assert_eq!(delays(&watches(20), Duration::from_secs(8)), [0; 20]);
        let lists: Vec<String> = (0..20).map(|_| format!("{SESSIONS}?&limit=500")).collect();
        assert_eq!(delays(&lists, Duration::ZERO), [0; 20]);
        let others: Vec<String> =
            (0..20).map(|number| format!("{SESSIONS}?&watch=true&fieldSelector=f{number}")).collect();
        assert_eq!(delays(&others, Duration::ZERO), [0; 20]);
    }
}
