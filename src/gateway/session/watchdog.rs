//! Sees to it that no session's task is stuck, on a thread and with connections of its own, since what holds up the
//! task may hold up everything else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::api::ObservedBy;
use crate::cluster;
use crate::cluster::{EventSink, REQUEST_TIMEOUT, SessionWriter};
use crate::gateway::net::Health;
use crate::lifecycle::{Cause, End, PAUSED_AFTER, STUCK_AFTER, TICK};

/// The sessions under supervision, by name.
#[derive(Debug, Default)]
pub struct Watchdog {
    sessions: Mutex<HashMap<String, Supervised>>,
}

#[derive(Clone, Debug)]
struct Supervised {
    session: ObjectReference,
    start: Timestamp,
    /// The user's, and those to the target.
    connections: Vec<Health>,
    /// When its task last moved.
    moved: Instant,
    since: Instant,
}

impl Watchdog {
    /// Takes a session under supervision. Its task has to say often that it moves, until it is let go.
    pub fn enter(&self, name: &str, session: ObjectReference, start: Timestamp, connection: Health) {
        let now = Instant::now();
        let supervised = Supervised { session, start, connections: vec![connection], moved: now, since: now };
        self.lock().insert(name.to_owned(), supervised);
    }

    /// The session has one more connection.
    pub fn joined(&self, name: &str, connection: Health) {
        if let Some(session) = self.lock().get_mut(name) {
            session.connections.retain(Health::is_open);
            session.connections.push(connection);
        }
    }

    /// The session's task moves.
    pub fn moves(&self, name: &str) {
        if let Some(session) = self.lock().get_mut(name) {
            session.moved = Instant::now();
        }
    }

    /// Lets a session go whose end has come.
    pub fn leave(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Takes out the sessions that have not moved for too long.
    fn take_stuck(&self, now: Instant) -> Vec<Supervised> {
        let stuck = |_: &String, session: &mut Supervised| now.saturating_duration_since(session.moved) >= STUCK_AFTER;
        self.lock().extract_if(stuck).map(|(_, session)| session).collect()
    }

    /// After a pause of the whole process nobody has moved.
    fn forgive(&self, now: Instant) {
        self.lock().values_mut().for_each(|session| session.moved = now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Supervised>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervised {
    /// The end of a session that is stuck, at the last moment in which it moved.
    fn end(&self) -> End {
        let moved = self.start.checked_add(self.moved.saturating_duration_since(self.since)).ok();
        End::unseen(Cause::Stuck, ObservedBy::Gateway, self.start, moved)
    }
}

/// Starts the thread, which supervises until `stop` is cancelled.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    watchdog: Arc<Watchdog>,
    config: kube::Config,
    namespace: String,
    pod: String,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        if let Err(error) = runtime.block_on(supervise(&watchdog, config, &namespace, &pod, stop)) {
            error!(%error, "sessions are not supervised");
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(run).context("the watchdog's thread")?;
    Ok(())
}

async fn supervise(
    watchdog: &Watchdog,
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
        () = look(watchdog, &writer) => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// Looks for sessions that are stuck: cuts them off, and writes their end.
async fn look(watchdog: &Watchdog, writer: &SessionWriter) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if now.duration_since(std::mem::replace(&mut looked, now)) > PAUSED_AFTER {
            watchdog.forgive(now);
        }
        for stuck in watchdog.take_stuck(now) {
            let name = stuck.session.name.as_deref().unwrap_or_default();
            error!(session = name, seconds = STUCK_AFTER.as_secs(), "the session's task has not moved; it is cut off");
            stuck.connections.iter().for_each(Health::shut_down);
            let (writer, end) = (writer.clone(), stuck.end());
            tokio::spawn(async move { writer.end_until_final(&stuck.session, &end).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sessions: Vec<Supervised>) -> Vec<String> {
        sessions.into_iter().filter_map(|it| it.session.name).collect()
    }

    #[test]
    fn a_session_that_does_not_move_is_taken_out_once() {
        let watchdog = Watchdog::default();
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        for name in ["moves", "stuck", "ended"] {
            let session = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
            watchdog.enter(name, session, start, Health::default());
        }
        let now = Instant::now();
        assert_eq!(names(watchdog.take_stuck(now)), [""; 0]);
        watchdog.leave("ended");
        watchdog.lock().get_mut("moves").unwrap().moved = now + STUCK_AFTER;
        let stuck = watchdog.take_stuck(now + STUCK_AFTER);
        assert_eq!((stuck[0].end().cause, stuck[0].end().time), (Cause::Stuck, start));
        assert_eq!(names(stuck), ["stuck"]);
        watchdog.forgive(now + 10 * STUCK_AFTER);
        assert_eq!(names(watchdog.take_stuck(now + 10 * STUCK_AFTER)), [""; 0]);
    }
}
