//! Deletes recorded finished sessions that are past their retention, or beyond the maximum number.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::reflector::{Store, reflector, store};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::leader::LeadershipGuard;
use super::retention::Retention;
use crate::api::BastionSession;
use crate::cluster::{Guarded, REQUEST_TIMEOUT, RequestError, code, watch};
use crate::metrics::METRICS;
use crate::tasks::ticks;

/// How often expired sessions are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How many sessions are deleted at once.
const DELETE_CONCURRENCY: usize = 8;

/// Deletes expired sessions while `guard` holds, until `stop` is cancelled.
pub async fn run(
    client: Client,
    namespace: &str,
    retention: Retention,
    guard: LeadershipGuard,
    stop: CancellationToken,
) {
    let api: Api<BastionSession> = Api::namespaced(client.clone(), namespace);
    let (sessions, writer) = store();
    let watched = watch(Api::<Guarded<BastionSession>>::namespaced(client, namespace), watcher::Config::default());
    let watching = reflector(writer, watched.map(Ok::<_, watcher::Error>)).for_each(|_| std::future::ready(()));
    tokio::select! {
        () = stop.cancelled() => {}
        () = watching => error!("the watch of sessions ended; finished sessions are no longer deleted"),
        () = prune(&api, &sessions, retention, &guard) => {}
    }
}

/// Deletes expired sessions at every tick while `guard` holds. Never returns.
async fn prune(
    api: &Api<BastionSession>,
    sessions: &Store<Guarded<BastionSession>>,
    retention: Retention,
    guard: &LeadershipGuard,
) {
    let mut ticks = ticks(CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        if !guard.holds() {
            continue;
        }
        // An unreadable session is not on record, and so is never deleted.
        let readable: Vec<_> =
            sessions.state().iter().filter_map(|observed| observed.0.as_ref().ok().cloned()).collect();
        let deleting = stream::iter(retention.expired(&readable, Timestamp::now()).into_iter().map(Ok));
        // The first failure ends this round.
        let _ = deleting
            .try_for_each_concurrent(DELETE_CONCURRENCY, async |session| delete(api, &session, guard).await)
            .await;
    }
}

/// Deletes this version of a session, if the leadership still holds.
///
/// # Errors
/// When the session could not be deleted, which is counted and logged. The next tick tries again.
async fn delete(
    api: &Api<BastionSession>,
    session: &Arc<BastionSession>,
    guard: &LeadershipGuard,
) -> Result<(), RequestError> {
    if !guard.holds() {
        return Ok(());
    }
    let name = session.name_any();
    let preconditions = Preconditions { uid: session.uid(), resource_version: session.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let deleted = timeout(REQUEST_TIMEOUT, api.delete(&name, &params)).await;
    let error = match deleted.map_err(|_| RequestError::Timeout(REQUEST_TIMEOUT)) {
        Ok(Ok(_)) => {
            METRICS.sessions_pruned.inc();
            debug!(session = name, "finished session deleted");
            return Ok(());
        }
        // The session is gone, or it has changed and the watch delivers its newer version.
        Ok(Err(error)) if matches!(code(&error), Some(404 | 409)) => return Ok(()),
        Ok(Err(error)) => RequestError::Kube(error),
        Err(error) => error,
    };
    METRICS.reconcile_failures.inc();
    warn!(session = name, %error, "could not delete a finished session; retrying");
    Err(error)
}
