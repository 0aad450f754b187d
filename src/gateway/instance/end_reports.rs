//! Reports ends through Redis, if Redis is configured, while this gateway cannot write them. A controller then writes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tracing::info;

use crate::cluster::SessionWriter;
use crate::lifecycle::End;
use crate::metrics::METRICS;
use crate::redis::RedisClient;
use crate::redis::reported_ends::{self, EndSigner};
use crate::tasks::ticks;

/// The interval at which due ends are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long an end may take to be written before it is reported.
const REPORT_AFTER: Duration = Duration::from_secs(1);
/// The time after which a report is repeated. Redis may lose a report, and deletes each report after a minute.
const REPEAT_AFTER: Duration = Duration::from_secs(15);
/// The most ends in one request to Redis.
const BATCH_SIZE: usize = 100;

/// The ends that are not written yet, by the uid of the session. Each session holds a slot until its end is written. The
/// gateway's session limit thus bounds the number of unwritten ends.
#[derive(Debug, Default)]
pub struct EndReports {
    unwritten: Mutex<HashMap<String, UnwrittenEnd>>,
}

#[derive(Debug)]
struct UnwrittenEnd {
    session: String,
    signer: Arc<EndSigner>,
    end: End,
    since: Instant,
    reported: Option<Instant>,
}

impl EndReports {
    /// Writes an end, as [`SessionWriter::end_until_final`] does. Until the end is written, it is reported through Redis, if
    /// the session has a uid and there is a signer.
    pub async fn write(
        &self,
        writer: &SessionWriter,
        session: &ObjectReference,
        end: &End,
        signer: Option<&Arc<EndSigner>>,
    ) {
        let name = session.name.as_deref().unwrap_or_default();
        let reported = session.uid.as_deref().zip(signer);
        if let Some((uid, signer)) = reported {
            self.add(uid, name, end, signer);
        }
        writer.end_until_final(session, end).await;
        if let Some((uid, _)) = reported {
            self.remove(uid);
        }
    }

    fn add(&self, uid: &str, name: &str, end: &End, signer: &Arc<EndSigner>) {
        let (session, signer, end) = (name.to_owned(), signer.clone(), end.clone());
        let unwritten = UnwrittenEnd { session, signer, end, since: Instant::now(), reported: None };
        self.unwritten.lock().insert(uid.to_owned(), unwritten);
    }

    fn remove(&self, uid: &str) {
        self.unwritten.lock().remove(uid);
    }

    /// Reports ends that stay unwritten. Never returns.
    pub async fn run(&self, redis: &RedisClient) {
        let mut ticks = ticks(REPORT_INTERVAL);
        loop {
            ticks.tick().await;
            let due = self.due(Instant::now());
            for reports in due.chunks(BATCH_SIZE) {
                // Errors are counted and logged elsewhere; the next tick retries.
                if reported_ends::write(redis, reports).await.is_err() {
                    break;
                }
                self.mark_reported(reports, Instant::now());
            }
        }
    }

    /// Returns the signed reports that are due, by the uid of the session.
    fn due(&self, now: Instant) -> Vec<(String, Vec<u8>)> {
        let unwritten = self.unwritten.lock();
        let due = unwritten.iter().filter(|(_, unwritten)| unwritten.is_due(now));
        due.filter_map(|(uid, unwritten)| Some((uid.clone(), unwritten.signer.sign(uid, &unwritten.end)?))).collect()
    }

    fn mark_reported(&self, reports: &[(String, Vec<u8>)], now: Instant) {
        let mut unwritten = self.unwritten.lock();
        for (uid, _) in reports {
            let Some(unwritten) = unwritten.get_mut(uid) else { continue };
            if unwritten.reported.replace(now).is_none() {
                METRICS.ends_reported.inc();
                let session = &unwritten.session;
                info!(session, "the session's end cannot be written; it is reported to the controllers through Redis");
            }
        }
    }
}

impl UnwrittenEnd {
    fn is_due(&self, now: Instant) -> bool {
        match self.reported {
            None => now.saturating_duration_since(self.since) >= REPORT_AFTER,
            Some(reported) => now.saturating_duration_since(reported) >= REPEAT_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::lifecycle::Cause;

    #[test]
    fn an_end_is_reported_while_it_is_unwritten() {
        let reports = EndReports::default();
        let signer = Arc::new(EndSigner::new("gw-1").unwrap());
        let end = End::observed(Cause::TabClosed, Timestamp::UNIX_EPOCH, (0, 0));
        let start = Instant::now();
        reports.add("a", "first", &end, &signer);
        reports.add("b", "second", &end, &signer);
        assert_eq!(reports.due(start), []);
        let later = Instant::now() + REPORT_AFTER;
        let mut uids: Vec<_> = reports.due(later).into_iter().map(|(uid, _)| uid).collect();
        uids.sort();
        assert_eq!(uids, ["a", "b"]);
        reports.remove("b");
        reports.mark_reported(&reports.due(later), later);
        assert_eq!(reports.due(later), []);
        assert_eq!(reports.due(later + REPEAT_AFTER).len(), 1, "Redis may have lost it");
    }
}
