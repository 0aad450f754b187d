//! Closes the rows of sessions whose object no longer exists.
//!
//! An object keeps its finalizer until its end is recorded. It can still disappear without an end, if the finalizer is removed
//! by force or etcd is restored from a snapshot. Then no program writes an end that the mirror could record.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::error::StoreError;
use super::history::{HistoryFilter, PageKey};
use super::record::SessionRecord;
use super::store::Store;
use crate::api::{BastionSession, Phase};
use crate::cluster::{Guarded, REQUEST_TIMEOUT, RequestError, with_retries};
use crate::lifecycle::{COMPARISON_INTERVAL, Cause};

/// The number of active rows that are read at once.
const PAGE_SIZE: u32 = 1000;
/// The most rows that one comparison closes. Later comparisons close the rest.
const MAX_CLOSED: usize = 500;
/// How many objects are read at once.
const CONCURRENT_READS: usize = 8;
/// The pause between a failed comparison and the next.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Compares the active rows of a namespace with the sessions that the API server lists.
pub struct VanishedSessions {
    api: Api<Guarded<BastionSession>>,
    namespace: String,
    /// The time of the next comparison.
    pub next: Instant,
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sessions could not be read.
    #[error(transparent)]
    Cluster(#[from] RequestError),
}

impl VanishedSessions {
    /// Compares first at the next call of [`Self::close_if_due`].
    pub fn new(api: Api<Guarded<BastionSession>>, namespace: &str) -> Self {
        Self { api, namespace: namespace.to_owned(), next: Instant::now() }
    }

    /// Makes a comparison due, after a list of all sessions or the deletion of an active one.
    pub fn request(&mut self) {
        self.next = Instant::now();
    }

    /// Returns the final row of each session that is active in the database and has no object, if a comparison is due.
    ///
    /// # Errors
    /// When the rows or the sessions cannot be read.
    pub async fn close_if_due(&mut self, store: &Store) -> Result<Vec<SessionRecord>, ComparisonError> {
        if Instant::now() < self.next {
            return Ok(Vec::new());
        }
        let closed = self.close(store).await;
        self.next = Instant::now() + if closed.is_ok() { COMPARISON_INTERVAL } else { RETRY_PAUSE };
        closed
    }

    async fn close(&self, store: &Store) -> Result<Vec<SessionRecord>, ComparisonError> {
        // Read before the list: each of these rows was made of an object, so the list has it if it is still there and Active.
        let active = self.active_rows(store).await?;
        if active.is_empty() {
            return Ok(Vec::new());
        }
        let selector = ListParams::default().fields(&format!("status.phase={}", Phase::Active));
        let listed = with_retries(REQUEST_TIMEOUT, || self.api.list_metadata(&selector)).await?;
        let listed = listed.iter().filter_map(ResourceExt::uid).collect();
        let (now, absent) = (Timestamp::now(), absent(active, &listed));
        let closed = stream::iter(absent).map(async |row| {
            let stored = with_retries(REQUEST_TIMEOUT, || self.api.get_opt(&row.name)).await?;
            Ok((!is_object_of(stored.as_ref(), &row)).then(|| closed(row, now)))
        });
        closed.buffer_unordered(CONCURRENT_READS).try_filter_map(async |row| Ok(row)).try_collect().await
    }

    async fn active_rows(&self, store: &Store) -> Result<Vec<SessionRecord>, StoreError> {
        let (namespace, status) = (Some(self.namespace.clone()), Some(Phase::Active.record_name().to_owned()));
        let mut filter = HistoryFilter { namespace, status, ..HistoryFilter::default() };
        let mut rows = Vec::new();
        loop {
            let page = store.history(&filter, PAGE_SIZE).await?;
            filter.after = page.last().map(PageKey::from);
            let is_last = page.len() < PAGE_SIZE as usize;
            rows.extend(page);
            if is_last {
                return Ok(rows);
            }
        }
    }
}

/// Returns the rows whose session is not listed, at most [`MAX_CLOSED`].
fn absent(mut rows: Vec<SessionRecord>, listed: &HashSet<String>) -> Vec<SessionRecord> {
    rows.retain(|row| !listed.contains(&row.session_id));
    rows.truncate(MAX_CLOSED);
    rows
}

/// Returns whether `stored` is the object from which the row was made. Its row stays open: if the object is no longer Active,
/// the mirror records its end.
fn is_object_of(stored: Option<&Guarded<BastionSession>>, row: &SessionRecord) -> bool {
    stored.is_some_and(|stored| stored.uid().as_deref() == Some(row.session_id.as_str()))
}

/// Returns the row of a session without an object, with an end at `now`. `updated_at` does not change, so that a later state of
/// the object replaces the row if the object turns up after all.
fn closed(row: SessionRecord, now: Timestamp) -> SessionRecord {
    let (reason, end) = (Cause::Vanished.reason(), now.as_microsecond().max(row.start_time));
    SessionRecord {
        status: reason.phase().record_name().to_owned(),
        reason: Some(reason.as_str().to_owned()),
        message: Some(Cause::Vanished.message()),
        end_time: Some(end),
        duration_micros: Some(end - row.start_time),
        is_final: true,
        ..row
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::audit::samples::{active, ended};
    use crate::audit::settings::{AuditSettings, AuditTls};
    use crate::cluster::samples::{readable, unreadable};
    use crate::cluster::scripted_api::{Answer, ScriptedApi};

    fn row(uid: &str) -> SessionRecord {
        SessionRecord::of(&active(uid))
    }

    #[rstest]
    #[case::no_object(None, false)]
    #[case::another_object_of_the_name(Some(readable(active("b"))), false)]
    #[case::active(Some(readable(active("a"))), true)]
    #[case::ended_and_not_yet_recorded(Some(readable(ended("a"))), true)]
    #[case::unreadable(Some(unreadable(&ended("a"))), true)]
    fn a_row_stays_active_while_its_object_exists(
        #[case] stored: Option<Guarded<BastionSession>>,
        #[case] expected: bool,
    ) {
        assert_eq!(is_object_of(stored.as_ref(), &row("a")), expected);
    }

    #[test]
    fn a_closed_row_says_that_the_object_is_gone() {
        let now: Timestamp = "2026-01-02T03:04:15Z".parse().unwrap();
        let expected = SessionRecord {
            status: "terminated".into(),
            reason: Some("AdminTerminated".into()),
            message: Some(Cause::Vanished.message()),
            end_time: Some(now.as_microsecond()),
            duration_micros: Some(10_000_000),
            is_final: true,
            ..row("a")
        };
        assert_eq!(closed(row("a"), now), expected);
        let before_its_start = closed(row("a"), Timestamp::UNIX_EPOCH);
        assert_eq!((before_its_start.end_time, before_its_start.duration_micros), (Some(row("a").start_time), Some(0)));
    }

    #[tokio::test]
    async fn active_rows_without_an_object_are_closed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("audit.db").display());
        let settings = AuditSettings { url, password_file: None, tls: AuditTls::Verify, ca_file: None };
        let store = Store::new(settings).unwrap();
        store.migrate().await.unwrap();
        let other_namespace = SessionRecord { namespace: "other".into(), ..row("other") };
        let rows = [row("listed"), row("ends"), row("gone"), SessionRecord::of(&ended("ended")), other_namespace];
        store.upsert(&rows).await.unwrap();
        let api = ScriptedApi::by(|request| match request.path.rsplit('/').next() {
            Some("bastionsessions") => {
                assert!(request.query.contains("status.phase"), "{}", request.query);
                Answer::Object(json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionSessionList",
                    "metadata": {"resourceVersion": "7"}, "items": [active("listed")]}))
            }
            Some("alice-web-1-ends") => Answer::Object(serde_json::to_value(ended("ends")).unwrap()),
            _ => Answer::Status(404),
        });
        let sessions = Api::namespaced(api.client(), "bastion-system");
        let mut vanished = VanishedSessions::new(sessions, "bastion-system");
        let closed = vanished.close_if_due(&store).await.unwrap();
        let [gone] = closed.as_slice() else { panic!("{closed:?}") };
        assert_eq!((gone.session_id.as_str(), gone.is_final), ("gone", true));
        assert_eq!(vanished.close_if_due(&store).await.unwrap(), [], "the next comparison is not due");
    }
}
