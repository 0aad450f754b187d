//! Keeps the audit database in step with the sessions of a namespace, and lets go those that are on record.
//!
//! Nothing here is remembered across restarts: the watch begins with a list of every session, and writing a row or
//! letting a session go twice does no harm. So a database that turns out to be an older copy of itself is written anew
//! with all sessions that the cluster still has.

use std::pin::pin;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, Stream, StreamExt};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::{Cause, StoreError};
use super::pending::Pending;
use super::progress::{Finding, Progress};
use super::release::Release;
use super::row::SessionRecord;
use super::store::Store;
use crate::api::BastionSession;
use crate::cluster::{Guarded, REQUEST_TIMEOUT, UnreadableReports};
use crate::metrics::{AuditLabels, METRICS};

/// Rows in one transaction, and events that are read before one is written.
const ROWS_AT_ONCE: usize = 100;
/// How often the database is looked at when there is nothing to write.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Sessions that are let go at the same time.
const RELEASES_AT_ONCE: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Mirrors the sessions of `namespace` into `store` until `stop` is cancelled. One leader at a time should run it;
/// two do no harm. While the database or the API is down everything stays pending, and is tried again.
pub async fn run(
    client: kube::Client,
    namespace: &str,
    store: Store,
    reports: UnreadableReports,
    stop: CancellationToken,
) {
    let mut mirror = Mirror::new(Api::namespaced(client.clone(), namespace), store);
    let api = Api::<Guarded<BastionSession>>::namespaced(client, namespace);
    let mirroring = async {
        loop {
            mirror.follow(reports.watch(api.clone(), watcher::Config::default())).await;
        }
    };
    // It may be cut off anywhere: what is committed stays so, and the next run begins with all the rest.
    Box::pin(stop.run_until_cancelled(mirroring)).await;
}

/// Says that nothing waits here: whoever leads shows what does.
pub fn show_nothing() {
    METRICS.audit_backlog.set(0);
    METRICS.audit_oldest_unwritten_end_seconds.set(None);
}

/// A row to be written, and what to do once it is committed.
struct Entry {
    record: SessionRecord,
    release: Option<Release>,
}

struct Mirror {
    api: Api<BastionSession>,
    store: Store,
    /// Whether the schema is known to be there.
    migrated: bool,
    progress: Progress,
    look_at: Instant,
    rows: Pending<Entry>,
    rows_pace: Pace,
    /// How many rows are tried together: fewer after each failure, so that one which cannot be written ends up alone.
    rows_at_once: usize,
    releases: Pending<Release>,
    releases_pace: Pace,
}

impl Mirror {
    fn new(api: Api<BastionSession>, store: Store) -> Self {
        Self {
            api,
            store,
            migrated: false,
            progress: Progress::default(),
            look_at: Instant::now(),
            rows: Pending::default(),
            rows_pace: Pace::new(),
            rows_at_once: ROWS_AT_ONCE,
            releases: Pending::default(),
            releases_pace: Pace::new(),
        }
    }

    /// Reads what there is to read, then writes a batch, then lets some sessions go; again and again, until the database
    /// is found to be an older copy, and all sessions must be read anew.
    async fn follow(&mut self, events: impl Stream<Item = Event<Guarded<BastionSession>>>) {
        let mut events = pin!(events);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.hear(event),
                    None => return tracing::error!("the watch of sessions has ended; it is taken up again"),
                },
                () = self.due() => {}
            }
            for _ in 1..ROWS_AT_ONCE {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.hear(event);
            }
            self.show_backlog();
            let wrote = self.write_rows().await;
            self.release_sessions().await;
            self.show_backlog();
            if wrote == Finding::Older || self.look().await == Finding::Older {
                METRICS.audit_restores.inc();
                return tracing::warn!("the audit database is older than it was; all sessions are recorded anew");
            }
        }
    }

    /// A deleted session is written once more as it was last; one that somebody took away by force before it had
    /// ended stays on record as it was. A session that cannot be read is not recorded, and keeps its finalizer until
    /// somebody corrects the object or removes the finalizer: a leftover object is better than a record that is lost
    /// silently.
    fn hear(&mut self, event: Event<Guarded<BastionSession>>) {
        match event {
            Event::InitApply(Guarded(session)) | Event::Apply(Guarded(session)) | Event::Delete(Guarded(session)) => {
                let Ok(session) = session else { return };
                let entry = Entry { record: SessionRecord::of(&session), release: Release::of(&session) };
                self.rows.apply(entry.record.session_id.clone(), entry);
            }
            Event::Init | Event::InitDone => {}
        }
    }

    /// Waits until something that is pending may be tried, or it is time to look at the database.
    async fn due(&self) {
        let rows = (!self.rows.is_empty()).then_some(self.rows_pace.not_before);
        let releases = (!self.releases.is_empty()).then_some(self.releases_pace.not_before);
        let first = rows.into_iter().chain(releases).fold(self.look_at, Instant::min);
        tokio::time::sleep_until(first).await;
    }

    async fn write_rows(&mut self) -> Finding {
        if !self.rows_pace.is_due() {
            return Finding::Whole;
        }
        let batch = self.rows.take_batch(self.rows_at_once);
        if batch.is_empty() {
            return Finding::Whole;
        }
        let records: Vec<_> = batch.iter().map(|(_, entry)| entry.record.clone()).collect();
        match self.upsert(&records).await {
            Ok(batches) => {
                METRICS.audit_rows_written.inc_by(records.len() as u64);
                self.rows_pace.succeeded();
                self.rows_at_once = (self.rows_at_once * 2).min(ROWS_AT_ONCE);
                self.look_at = Instant::now() + LOOK_EVERY;
                let releases = batch.into_iter().filter_map(|(uid, entry)| Some((uid, entry.release?)));
                for (uid, release) in releases {
                    self.releases.apply(uid, release);
                }
                self.progress.wrote(batches)
            }
            Err(error) => {
                self.rows.give_back(batch);
                self.rows_at_once = (self.rows_at_once / 2).max(1);
                let retry_in = self.rows_pace.failed();
                self.failed(&error);
                tracing::warn!(%error, pending = self.rows.len(), ?retry_in, "sessions wait to be recorded");
                Finding::Whole
            }
        }
    }

    async fn upsert(&mut self, records: &[SessionRecord]) -> Result<i64, StoreError> {
        self.migrate().await?;
        self.store.upsert(records).await
    }

    async fn migrate(&mut self) -> Result<(), StoreError> {
        if !self.migrated {
            self.store.migrate().await?;
            self.migrated = true;
        }
        Ok(())
    }

    /// Looks at the database, now and then, whether it is there, and whether it is the one that was written to.
    async fn look(&mut self) -> Finding {
        if Instant::now() < self.look_at {
            return Finding::Whole;
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        let looked = async {
            self.migrate().await?;
            self.store.batches().await
        };
        match looked.await {
            Ok(batches) => self.progress.saw(batches),
            Err(error) => {
                self.failed(&error);
                tracing::warn!(%error, "the audit database does not answer");
                Finding::Whole
            }
        }
    }

    fn failed(&mut self, error: &StoreError) {
        METRICS.audit_failures.get_or_create(&AuditLabels { cause: error.cause.label() }).inc();
        if error.cause == Cause::Schema {
            self.migrated = false;
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
            METRICS.audit_failures.get_or_create(&AuditLabels { cause: "finalizer" }).inc_by(failed.len() as u64);
            self.releases.give_back(failed);
            self.releases_pace.failed();
        }
    }

    fn show_backlog(&self) {
        let backlog = self.rows.len() + self.releases.len();
        METRICS.audit_backlog.set(i64::try_from(backlog).unwrap_or(i64::MAX));
        let ends = self.rows.values().filter_map(|entry| entry.record.end_time);
        METRICS.audit_oldest_unwritten_end_seconds.set(ends.min());
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
