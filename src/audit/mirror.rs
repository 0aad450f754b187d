//! Mirrors the sessions of a namespace into the audit database, and removes the finalizer of recorded sessions.
//!
//! The mirror keeps nothing across restarts: its watch begins with a list of all sessions, and both writing a row and
//! removing a finalizer are idempotent. So it can also restore the rows of all existing sessions after the database was
//! replaced by an older copy.

use std::pin::pin;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::continuity::{Continuity, KnownBatches};
use super::error::{Cause, StoreError};
use super::pending::Pending;
use super::record::SessionRecord;
use super::release::Release;
use super::store::Store;
use super::vanished::{ComparisonError, VanishedSessions};
use crate::api::BastionSession;
use crate::cluster::{Guarded, REQUEST_TIMEOUT, UnreadableReports, injected};
use crate::failpoints::failpoint;
use crate::metrics::{AuditLabels, METRICS};

/// The name under which audit programs write objects and Events.
pub const MANAGER: &str = "bastion-audit";
/// The maximum number of rows in one transaction, and of events that are read between two transactions.
const MAX_BATCH: usize = 100;
/// How often an idle mirror checks the database.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// How many finalizers are removed at once.
const RELEASE_CONCURRENCY: usize = 8;

/// Mirrors the sessions of `namespace` into `store` until `stop` is cancelled. Only the leader should run it, but two
/// mirrors do no harm. While the database or the API server is down, rows and finalizers stay pending.
pub async fn run(
    client: kube::Client,
    namespace: &str,
    store: Store,
    reports: UnreadableReports,
    stop: CancellationToken,
) {
    let api = Api::<Guarded<BastionSession>>::namespaced(client.clone(), namespace);
    let vanished = VanishedSessions::new(api.clone(), namespace);
    let mut mirror = Mirror::new(Api::namespaced(client, namespace), store, vanished);
    let mirroring = async {
        loop {
            mirror.follow(reports.watch(api.clone(), watcher::Config::default())).await;
        }
    };
    // It may be cancelled at any point: committed rows stay, and the next run starts with a list of all sessions.
    Box::pin(stop.run_until_cancelled(mirroring)).await;
}

/// Clears the metrics of the backlog, which another audit program reports from now on.
pub fn reset_metrics() {
    METRICS.audit_backlog.set(0);
    METRICS.audit_oldest_unwritten_end_seconds.set(None);
}

/// A row to write, and the finalizer to remove after the commit.
struct Entry {
    record: SessionRecord,
    release: Option<Release>,
}

struct Mirror {
    api: Api<BastionSession>,
    store: Store,
    /// Whether the schema is known to be up to date.
    migrated: bool,
    known_batches: KnownBatches,
    next_check: Instant,
    rows: Pending<Entry>,
    rows_backoff: Backoff,
    /// The size of the next batch. Each failure halves it, so that a row which cannot be written ends up alone.
    batch_size: usize,
    releases: Pending<Release>,
    releases_backoff: Backoff,
    vanished: VanishedSessions,
}

impl Mirror {
    fn new(api: Api<BastionSession>, store: Store, vanished: VanishedSessions) -> Self {
        Self {
            api,
            store,
            migrated: false,
            known_batches: KnownBatches::default(),
            next_check: Instant::now(),
            rows: Pending::default(),
            rows_backoff: Backoff::new(),
            batch_size: MAX_BATCH,
            releases: Pending::default(),
            releases_backoff: Backoff::new(),
            vanished,
        }
    }

    /// Reads events, writes a batch of rows and removes finalizers, in turn. Returns when the watch ends, or when the
    /// database turns out to be an older copy, so that all sessions must be listed again.
    async fn follow(&mut self, events: impl Stream<Item = Event<Guarded<BastionSession>>>) {
        let mut events = pin!(events);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.observe(event),
                    None => return tracing::error!("the watch of sessions ended; starting it again"),
                },
                () = self.due() => {}
            }
            for _ in 1..MAX_BATCH {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.observe(event);
            }
            self.set_backlog_metrics();
            let written = self.write_rows().await;
            self.remove_finalizers().await;
            self.close_vanished().await;
            self.set_backlog_metrics();
            if written == Continuity::OlderCopy || self.check_database().await == Continuity::OlderCopy {
                METRICS.audit_restores.inc();
                return tracing::warn!(
                    "the audit database was replaced by an older copy; recording all sessions again"
                );
            }
        }
    }

    /// Enqueues a session. A deleted session is written once more with its last state. If that state is active, the next
    /// comparison with the cluster closes the row. A comparison also follows each list, because a list does not show which
    /// sessions were deleted before it.
    ///
    /// An unreadable session is not recorded. It keeps its finalizer until somebody corrects the object or removes the
    /// finalizer, because a leftover object is better than a missing record.
    fn observe(&mut self, event: Event<Guarded<BastionSession>>) {
        let is_deletion = matches!(&event, Event::Delete(session) if !session.has_ended());
        if is_deletion || matches!(event, Event::InitDone) {
            self.vanished.request();
        }
        match event {
            Event::InitApply(Guarded(session)) | Event::Apply(Guarded(session)) | Event::Delete(Guarded(session)) => {
                let Ok(session) = session else { return };
                let entry = Entry { record: SessionRecord::of(&session), release: Release::of(&session) };
                self.rows.push(entry.record.session_id.clone(), entry);
            }
            Event::Init | Event::InitDone => {}
        }
    }

    /// Waits until a pending item may be tried, or until a comparison with the cluster or a check of the database is due.
    async fn due(&self) {
        let rows = (!self.rows.is_empty()).then_some(self.rows_backoff.not_before);
        let releases = (!self.releases.is_empty()).then_some(self.releases_backoff.not_before);
        let comparison = self.migrated.then_some(self.vanished.next);
        let first = rows.into_iter().chain(releases).chain(comparison).fold(self.next_check, Instant::min);
        tokio::time::sleep_until(first).await;
    }

    async fn write_rows(&mut self) -> Continuity {
        if !self.rows_backoff.is_due() {
            return Continuity::Intact;
        }
        let batch = self.rows.take_batch(self.batch_size);
        if batch.is_empty() {
            return Continuity::Intact;
        }
        let records: Vec<_> = batch.iter().map(|(_, entry)| entry.record.clone()).collect();
        match self.upsert(&records).await {
            Ok(batches) => {
                METRICS.audit_rows_written.inc_by(records.len() as u64);
                self.rows_backoff.succeeded();
                self.batch_size = (self.batch_size * 2).min(MAX_BATCH);
                self.next_check = Instant::now() + CHECK_INTERVAL;
                let releases = batch.into_iter().filter_map(|(uid, entry)| Some((uid, entry.release?)));
                for (uid, release) in releases {
                    self.releases.push(uid, release);
                }
                self.known_batches.after_write(batches)
            }
            Err(error) => {
                self.rows.put_back(batch);
                self.batch_size = (self.batch_size / 2).max(1);
                let retry_in = self.rows_backoff.failed();
                self.count_failure(&error);
                tracing::warn!(%error, pending = self.rows.len(), ?retry_in, "could not write session records; retrying");
                Continuity::Intact
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

    /// Checks, at intervals, that the database answers and is not an older copy.
    async fn check_database(&mut self) -> Continuity {
        if Instant::now() < self.next_check {
            return Continuity::Intact;
        }
        self.next_check = Instant::now() + CHECK_INTERVAL;
        let batches = async {
            self.migrate().await?;
            self.store.batches().await
        };
        match batches.await {
            Ok(batches) => self.known_batches.after_read(batches),
            Err(error) => {
                self.count_failure(&error);
                tracing::warn!(%error, retry_in = ?CHECK_INTERVAL, "the check of the audit database failed; retrying");
                Continuity::Intact
            }
        }
    }

    /// Enqueues the final rows of sessions that no longer exist, if a comparison with the cluster is due.
    async fn close_vanished(&mut self) {
        if !self.migrated {
            return;
        }
        match self.vanished.close_if_due(&self.store).await {
            Ok(closed) => {
                let entries = closed.into_iter().map(|record| {
                    tracing::warn!(
                        session = record.name,
                        "the session's object is gone without an end; closing its record"
                    );
                    (record.session_id.clone(), Entry { record, release: None })
                });
                // A newer state that waits to be written is not replaced.
                self.rows.put_back(entries.collect());
            }
            Err(ComparisonError::Store(error)) => {
                self.count_failure(&error);
                tracing::warn!(%error, "could not compare the active records with the cluster; retrying");
            }
            Err(ComparisonError::Cluster(error)) => {
                METRICS.audit_failures.get_or_create(&AuditLabels { cause: "comparison" }).inc();
                tracing::warn!(%error, "could not compare the active records with the cluster; retrying");
            }
        }
    }

    fn count_failure(&mut self, error: &StoreError) {
        METRICS.audit_failures.get_or_create(&AuditLabels { cause: error.cause.label() }).inc();
        if error.cause == Cause::Schema {
            self.migrated = false;
        }
    }

    async fn remove_finalizers(&mut self) {
        if !self.releases_backoff.is_due() {
            return;
        }
        let batch = self.releases.take_batch(RELEASE_CONCURRENCY);
        if batch.is_empty() {
            return;
        }
        let api = &self.api;
        let attempts = batch.into_iter().map(|(uid, release)| async move {
            let done = remove_finalizer(api, &release).await;
            (!done).then_some((uid, release))
        });
        let failed: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
        if failed.is_empty() {
            self.releases_backoff.succeeded();
        } else {
            METRICS.audit_failures.get_or_create(&AuditLabels { cause: "finalizer" }).inc_by(failed.len() as u64);
            self.releases.put_back(failed);
            self.releases_backoff.failed();
        }
    }

    fn set_backlog_metrics(&self) {
        let backlog = self.rows.len() + self.releases.len();
        METRICS.audit_backlog.set(i64::try_from(backlog).unwrap_or(i64::MAX));
        let ends = self.rows.values().filter_map(|entry| entry.record.end_time);
        METRICS.audit_oldest_unwritten_end_seconds.set(ends.min());
    }
}

/// Removes the audit finalizer. Returns whether nothing remains to be done.
async fn remove_finalizer(api: &Api<BastionSession>, release: &Release) -> bool {
    let name = &release.name;
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(release.patch(Timestamp::now()));
    let patching = async {
        failpoint("remove-finalizer").await.map_err(injected)?;
        api.patch_metadata(name, &parameters, &patch).await?;
        failpoint("finalizer-removed").await.map_err(injected)
    };
    let error = match tokio::time::timeout(REQUEST_TIMEOUT, patching).await {
        Ok(Ok(())) => {
            tracing::debug!(session = %name, "removed the finalizer of a recorded session");
            return true;
        }
        Ok(Err(kube::Error::Api(status))) => match status.code {
            // The session is gone, or has changed. The watch delivers its newer version, which leads here again.
            404 | 409 => return true,
            _ => status.to_string(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs()),
    };
    tracing::warn!(session = %name, error, "could not remove the finalizer of a recorded session; retrying");
    false
}
