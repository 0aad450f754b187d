//! Ends sessions whose task is stuck. The watchdog has its own thread and API connections, because the cause that blocks a
//! session's task may block all other tasks too.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::api::ObservedBy;
use crate::cluster::{self, EventSink, REQUEST_TIMEOUT, SessionWriter};
use crate::gateway::instance::EndReports;
use crate::gateway::net::ConnectionHealth;
use crate::lifecycle::{Cause, End, PAUSED_AFTER, STUCK_AFTER, TICK};
use crate::redis::reported_ends::EndSigner;
use crate::tasks::ticks;

/// The watched sessions, by name.
#[derive(Debug, Default)]
pub struct Watchdog {
    sessions: Mutex<HashMap<String, WatchedSession>>,
}

/// A session whose task the watchdog watches.
#[derive(Clone, Debug)]
pub struct WatchedSession {
    session: ObjectReference,
    start: Timestamp,
    /// The connections to the user and to the target.
    connections: Vec<ConnectionHealth>,
    last_heartbeat: Instant,
    watched_since: Instant,
    end_signer: Option<Arc<EndSigner>>,
}

impl Watchdog {
    /// Watches a session until [`Self::remove`]. The session's task must call [`Self::heartbeat`] at least every
    /// [`STUCK_AFTER`].
    pub fn watch(&self, name: &str, session: WatchedSession) {
        self.sessions.lock().insert(name.to_owned(), session);
    }

    /// Adds a connection of the session. If the session is stuck, the watchdog cuts off this connection too.
    pub fn add_connection(&self, name: &str, connection: ConnectionHealth) {
        if let Some(session) = self.sessions.lock().get_mut(name) {
            session.connections.retain(ConnectionHealth::is_open);
            session.connections.push(connection);
        }
    }

    /// Records that the session's task makes progress.
    pub fn heartbeat(&self, name: &str) {
        if let Some(session) = self.sessions.lock().get_mut(name) {
            session.last_heartbeat = Instant::now();
        }
    }

    /// Stops watching a session that ends.
    pub fn remove(&self, name: &str) {
        self.sessions.lock().remove(name);
    }

    /// Removes and returns the sessions without a heartbeat for [`STUCK_AFTER`].
    fn take_stuck(&self, now: Instant) -> Vec<WatchedSession> {
        let stuck = |_: &String, session: &mut WatchedSession| {
            now.saturating_duration_since(session.last_heartbeat) >= STUCK_AFTER
        };
        self.sessions.lock().extract_if(stuck).map(|(_, session)| session).collect()
    }

    /// Counts every session as alive at `now`. Call it after a pause of the whole process, in which no task could run.
    fn reset(&self, now: Instant) {
        self.sessions.lock().values_mut().for_each(|session| session.last_heartbeat = now);
    }
}

impl WatchedSession {
    /// Returns a session that started at `start` and has only the connection to its user. `end_signer` signs the report of its
    /// end.
    pub fn new(
        session: ObjectReference,
        start: Timestamp,
        connection: ConnectionHealth,
        end_signer: Option<Arc<EndSigner>>,
    ) -> Self {
        let now = Instant::now();
        Self { session, start, connections: vec![connection], last_heartbeat: now, watched_since: now, end_signer }
    }

    /// Returns the end of a stuck session, at its last heartbeat.
    fn end(&self) -> End {
        let age = self.last_heartbeat.saturating_duration_since(self.watched_since);
        End::inferred(Cause::Stuck, ObservedBy::Gateway, self.start, self.start.checked_add(age).ok())
    }
}

/// Starts the watchdog's thread, which runs until `stop` is cancelled. Returns a future that is ready when the thread has
/// ended, also if it panicked.
///
/// # Errors
/// The runtime or the thread cannot be created.
pub fn start(
    watchdog: Arc<Watchdog>,
    reports: Arc<EndReports>,
    config: kube::Config,
    namespace: String,
    pod: String,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (running, ended) = oneshot::channel::<Infallible>();
    let thread = move || {
        // Dropped at the end of the thread, also when it panics.
        let _running = running;
        if let Err(error) = runtime.block_on(run(&watchdog, reports, config, &namespace, &pod, stop)) {
            error!(%error, "the watchdog cannot start; stuck sessions are not ended");
        }
    };
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(thread)
        .context("cannot start the watchdog's thread")?;
    Ok(ended.map(drop))
}

async fn run(
    watchdog: &Watchdog,
    reports: Arc<EndReports>,
    config: kube::Config,
    namespace: &str,
    pod: &str,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = cluster::client(config, REQUEST_TIMEOUT)?;
    let (events, publishing) = EventSink::new(client.clone(), "bastion-gateway", pod, stop.clone());
    let writer = SessionWriter::new(client, namespace, "bastion-gateway", events);
    tokio::select! {
        () = publishing => {}
        () = end_stuck_sessions(watchdog, &writer, &reports) => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// Polls for stuck sessions, cuts off their connections, and writes their ends. Returns only if a task that writes an end
/// panics.
async fn end_stuck_sessions(watchdog: &Watchdog, writer: &SessionWriter, reports: &Arc<EndReports>) {
    let mut ticks = ticks(TICK);
    let mut last_poll = Instant::now();
    let mut ends = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = ends.join_next() => match ended {
                Ok(()) => continue,
                Err(error) => return error!(%error, "the task that writes the end of a stuck session failed"),
            },
        }
        let now = Instant::now();
        if now.duration_since(std::mem::replace(&mut last_poll, now)) > PAUSED_AFTER {
            watchdog.reset(now);
        }
        for stuck in watchdog.take_stuck(now) {
            let name = stuck.session.name.as_deref().unwrap_or_default();
            error!(
                session = name,
                seconds = STUCK_AFTER.as_secs(),
                "the session's task is stuck; the session is cut off and ends"
            );
            stuck.connections.iter().for_each(ConnectionHealth::shut_down);
            let (writer, reports, end) = (writer.clone(), reports.clone(), stuck.end());
            ends.spawn(async move {
                reports.write(&writer, &stuck.session, &end, stuck.end_signer.as_ref()).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sessions: Vec<WatchedSession>) -> Vec<String> {
        sessions.into_iter().filter_map(|it| it.session.name).collect()
    }

    #[test]
    fn a_session_without_heartbeats_is_returned_once() {
        let watchdog = Watchdog::default();
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        for name in ["alive", "stuck", "ended"] {
            let session = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
            watchdog.watch(name, WatchedSession::new(session, start, ConnectionHealth::default(), None));
        }
        let now = Instant::now();
        assert_eq!(names(watchdog.take_stuck(now)), [""; 0]);
        watchdog.remove("ended");
        watchdog.sessions.lock().get_mut("alive").unwrap().last_heartbeat = now + STUCK_AFTER;
        let stuck = watchdog.take_stuck(now + STUCK_AFTER);
        assert_eq!((stuck[0].end().cause, stuck[0].end().time), (Cause::Stuck, start));
        assert_eq!(names(stuck), ["stuck"]);
        watchdog.reset(now + 10 * STUCK_AFTER);
        assert_eq!(names(watchdog.take_stuck(now + 10 * STUCK_AFTER)), [""; 0]);
    }
}
