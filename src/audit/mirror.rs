//! Keeps the audit database in step with the sessions of a namespace, and lets go those that are on record.
//!
//! Nothing here is remembered across restarts: the watch begins with a list of every session, and writing a row or
//! letting a session go twice does no harm.

use std::pin::pin;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, Stream, StreamExt};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pending::Pending;
use super::release::Release;
use super::row::SessionRecord;
use super::store::Store;
use crate::api::BastionSession;
use crate::cluster::{REQUEST_TIMEOUT, watch};
use crate::metrics::METRICS;

/// Rows in one transaction, and events that are read before one is written.
const ROWS_AT_ONCE: usize = 100;
/// Sessions that are let go at the same time.
const RELEASES_AT_ONCE: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Mirrors the sessions of `namespace` into `store` until `stop` is cancelled. One leader at a time should run it;
/// two do no harm. While the database or the API is down everything stays pending, and is tried again.
pub async fn run(client: kube::Client, namespace: &str, store: Store, stop: CancellationToken) {
    let api = Api::<BastionSession>::namespaced(client, namespace);
    let events = watch(api.clone(), watcher::Config::default());
    // It may be cut off anywhere: what is committed stays so, and the next run begins with all the rest.
    Box::pin(stop.run_until_cancelled(Mirror::new(api, store).follow(events))).await;
}

/// A row to be written, and what to do once it is committed.
struct Entry {
    record: SessionRecord,
    release: Option<Release>,
}

struct Mirror {
    api: Api<BastionSession>,
    store: Store,
    rows: Pending<Entry>,
    rows_pace: Pace,
    releases: Pending<Release>,
    releases_pace: Pace,
}

impl Mirror {
    fn new(api: Api<BastionSession>, store: Store) -> Self {
        let (rows, releases) = (Pending::default(), Pending::default());
        Self { api, store, rows, rows_pace: Pace::new(), releases, releases_pace: Pace::new() }
    }

    /// Reads what there is to read, then writes a batch, then lets some sessions go; again and again.
    async fn follow(mut self, events: impl Stream<Item = Event<BastionSession>>) {
        let mut events = pin!(events);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.hear(event),
                    None => return tracing::error!("the watch of sessions has ended; the audit stands still"),
                },
                () = self.due() => {}
            }
            for _ in 1..ROWS_AT_ONCE {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.hear(event);
            }
            self.show_backlog();
            self.write_rows().await;
            self.release_sessions().await;
            self.show_backlog();
        }
    }

    /// A deleted session is written once more as it was last; one that somebody took away by force before it had
    /// ended stays on record as it was.
    fn hear(&mut self, event: Event<BastionSession>) {
        match event {
            Event::InitApply(session) | Event::Apply(session) | Event::Delete(session) => {
                let entry = Entry { record: SessionRecord::of(&session), release: Release::of(&session) };
                self.rows.apply(entry.record.session_id.clone(), entry);
            }
            Event::Init | Event::InitDone => {}
        }
    }

    /// Waits until something that is pending may be tried; for ever when nothing is.
    async fn due(&self) {
        let rows = (!self.rows.is_empty()).then_some(self.rows_pace.not_before);
        let releases = (!self.releases.is_empty()).then_some(self.releases_pace.not_before);
        match rows.into_iter().chain(releases).min() {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }

    async fn write_rows(&mut self) {
        if !self.rows_pace.is_due() {
            return;
        }
        let batch = self.rows.take_batch(ROWS_AT_ONCE);
        if batch.is_empty() {
            return;
        }
        let records: Vec<_> = batch.iter().map(|(_, entry)| entry.record.clone()).collect();
        match self.store.upsert(&records).await {
            Ok(()) => {
                METRICS.audit_rows_written.inc_by(records.len() as u64);
                self.rows_pace.succeeded();
                let releases = batch.into_iter().filter_map(|(uid, entry)| Some((uid, entry.release?)));
                for (uid, release) in releases {
                    self.releases.apply(uid, release);
                }
            }
            Err(error) => {
                METRICS.audit_failures.inc();
                self.rows.give_back(batch);
                let retry_in = self.rows_pace.failed();
                tracing::warn!(%error, pending = self.rows.len(), ?retry_in, "sessions wait to be recorded");
            }
        }
    }

    async fn release_sessions(&mut self) {
        if !self.releases_pace.is_due() {
            return;
        }
        let batch = self.releases.take_batch(RELEASES_AT_ONCE);
        if batch.is_empty() {
            return;
        }
        let api = &self.api;
        let tries = batch.into_iter().map(|(uid, release)| async move {
            let done = let_go(api, &release).await;
            (!done).then_some((uid, release))
        });
        let failed: Vec<_> = join_all(tries).await.into_iter().flatten().collect();
        if failed.is_empty() {
            self.releases_pace.succeeded();
        } else {
            METRICS.audit_failures.inc_by(failed.len() as u64);
            self.releases.give_back(failed);
            self.releases_pace.failed();
        }
    }

    fn show_backlog(&self) {
        let backlog = self.rows.len() + self.releases.len();
        METRICS.audit_backlog.set(i64::try_from(backlog).unwrap_or(i64::MAX));
    }
}

/// Takes the finalizer off; whether there is nothing left to do.
async fn let_go(api: &Api<BastionSession>, release: &Release) -> bool {
    let name = &release.name;
    let parameters = PatchParams { field_manager: Some("bastion-controller".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(release.patch());
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, api.patch_metadata(name, &parameters, &patch)).await;
    let error = match answer {
        Ok(Ok(_)) => {
            tracing::debug!(session = %name, "on record and let go");
            return true;
        }
        Ok(Err(kube::Error::Api(status))) => match status.code {
            // Gone, or changed since: then its newer state is on its way through the watch, and asks for this again.
            404 | 409 => return true,
            _ => status.to_string(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs()),
    };
    tracing::warn!(session = %name, error, "on record, but its finalizer cannot be taken off yet");
    false
}

/// When something that has failed may be tried again.
struct Pace {
    not_before: Instant,
    pause: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { not_before: Instant::now(), pause: FIRST_PAUSE }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.not_before
    }

    fn succeeded(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// The pause before the next try; each failure in a row doubles it.
    fn failed(&mut self) -> Duration {
        let pause = self.pause;
        self.not_before = Instant::now() + pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_failure_in_a_row_doubles_the_pause_up_to_a_limit() {
        let mut pace = Pace::new();
        assert!(pace.is_due());
        let pauses: Vec<_> = (0..8).map(|_| pace.failed().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!(!pace.is_due());
        tokio::time::advance(LONGEST_PAUSE).await;
        assert!(pace.is_due());
        pace.succeeded();
        assert_eq!(pace.failed(), FIRST_PAUSE);
    }
}
