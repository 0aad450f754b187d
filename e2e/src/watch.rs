//! A watch of BastionSessions, as `kubectl get bastionsessions -w` has it, that remembers what it saw and when.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, CONDITION_ENDED, Phase, Reason};
use bastion_operator::cluster::{Guarded, retry_pace};
use futures::StreamExt;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::{PROMPT_BOUND, default_timeout};

/// One event of the watch.
#[derive(Clone, Debug)]
pub struct Observation {
    pub at: Instant,
    pub name: String,
    pub phase: Phase,
    pub reason: Option<String>,
    pub session: BastionSession,
    /// Whether the event said that the object is no more.
    pub gone: bool,
}

/// All observations since the start of the watch.
pub struct SessionWatch {
    seen: Arc<Mutex<Vec<Observation>>>,
    changed: watch::Receiver<()>,
    taken: Mutex<HashSet<String>>,
    task: JoinHandle<()>,
}

impl SessionWatch {
    /// Starts, and returns once the sessions that exist are listed.
    pub async fn start(api: Api<Guarded<BastionSession>>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notify, changed) = watch::channel(());
        let (listed, ready) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(record(api, seen.clone(), notify, listed));
        ready.await.expect("the watch lists the sessions");
        Self { seen, changed, taken: Mutex::default(), task }
    }

    /// Waits until `find` finds something in all that was seen.
    pub async fn until<T>(&self, deadline: Duration, what: &str, find: impl Fn(&[Observation]) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let found = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = find(&self.seen.lock().expect("no panic")) {
                    return found;
                }
                changed.changed().await.expect("the watch goes on");
            }
        };
        match tokio::time::timeout(deadline, found).await {
            Ok(found) => found,
            Err(tokio::time::error::Elapsed { .. }) => {
                panic!("{what}: not within {deadline:?}; the watch saw:\n{}", self.summary())
            }
        }
    }

    /// Waits for a session of the user that no earlier call has returned.
    pub async fn started(&self, user: &str) -> BastionSession {
        let new = |seen: &[Observation]| {
            let taken = self.taken.lock().expect("no panic");
            seen.iter().find(|it| it.session.spec.user.name == user && !taken.contains(&it.name)).cloned()
        };
        let observation = self.until(default_timeout(), &format!("a new session of {user}"), new).await;
        self.taken.lock().expect("no panic").insert(observation.name);
        observation.session
    }

    /// Waits until the session is shown as ended at once, for this reason.
    pub async fn ended(&self, session: &BastionSession, reason: Reason) -> Observation {
        self.ended_within(PROMPT_BOUND, session, reason).await
    }

    /// Waits until the session is shown as ended, for this reason.
    pub async fn ended_within(&self, deadline: Duration, session: &BastionSession, reason: Reason) -> Observation {
        let name = session.name_any();
        let ended = |seen: &[Observation]| seen.iter().find(|it| it.name == name && it.phase.is_final()).cloned();
        let observation = self.until(deadline, &format!("session {name} has ended as {reason}"), ended).await;
        assert_ended(&observation, reason);
        observation
    }

    /// Waits until the object of the session is no more.
    pub async fn gone(&self, session: &BastionSession) {
        let name = session.name_any();
        let gone = |seen: &[Observation]| seen.iter().any(|it| it.name == name && it.gone).then_some(());
        self.until(default_timeout(), &format!("session {name} is gone"), gone).await;
    }

    /// The phase in which the session was seen last.
    pub fn phase(&self, session: &BastionSession) -> Phase {
        let name = session.name_any();
        self.seen().iter().rev().find(|it| it.name == name).expect("it was seen").phase
    }

    /// A copy of all that was seen.
    pub fn seen(&self) -> Vec<Observation> {
        self.seen.lock().expect("no panic").clone()
    }

    fn summary(&self) -> String {
        self.seen().iter().fold(String::new(), |mut text, it| {
            let message = it.session.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default();
            let reason = it.reason.as_deref().unwrap_or("-");
            let _ = writeln!(
                text,
                "  {:?} ago: {} {} {reason} {message} gone={}",
                it.at.elapsed(),
                it.name,
                it.phase,
                it.gone
            );
            text
        })
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        self.task.abort();
        if std::thread::panicking() {
            eprintln!("--- the watch of sessions ---\n{}", self.summary());
        }
    }
}

async fn record(
    api: Api<Guarded<BastionSession>>,
    seen: Arc<Mutex<Vec<Observation>>>,
    changed: watch::Sender<()>,
    listed: tokio::sync::oneshot::Sender<()>,
) {
    let mut listed = Some(listed);
    // At the pace of the bastion's own watches: the library's own would be half a minute late after an outage.
    let pace = watcher::ExponentialBackoff::from(retry_pace());
    let mut events = watcher(api, watcher::Config::default()).backoff(pace).boxed();
    while let Some(event) = events.next().await {
        let (session, gone) = match event {
            Ok(Event::Apply(session) | Event::InitApply(session)) => (session, false),
            Ok(Event::Delete(session)) => (session, true),
            Ok(Event::InitDone) => {
                listed.take().map(|listed| listed.send(()));
                continue;
            }
            Ok(Event::Init) | Err(_) => continue,
        };
        // The history leaves out sessions that cannot be read.
        let Ok(session) = session.0.map(Arc::unwrap_or_clone) else { continue };
        let reason = session.status.as_ref().and_then(|status| status.reason.clone());
        let observation =
            Observation { at: Instant::now(), name: session.name_any(), phase: session.phase(), reason, session, gone };
        seen.lock().expect("no panic").push(observation);
        changed.send_replace(());
    }
}

/// Checks all that must hold of an ended session, whatever ended it.
fn assert_ended(observation: &Observation, reason: Reason) {
    let (name, session) = (&observation.name, &observation.session);
    let status = session.status.clone().expect("an ended session has a status");
    let shown = (observation.phase, observation.reason.as_deref().unwrap_or_default());
    assert_eq!(shown, (reason.phase(), reason.as_str()), "of session {name}, whose status is {status:?}");
    let end = status.end_time.as_ref().unwrap_or_else(|| panic!("session {name} has no endTime: {status:?}"));
    assert!(*end >= session.spec.start_time, "session {name} ended before it started: {session:?}");
    assert!(status.message.as_ref().is_some_and(|it| !it.is_empty()), "session {name} has no message: {status:?}");
    assert!(status.observed_by.is_some(), "session {name} does not say who saw its end: {status:?}");
    let conditions = status.conditions.unwrap_or_default();
    let condition = conditions
        .iter()
        .find(|it| it.type_ == CONDITION_ENDED)
        .unwrap_or_else(|| panic!("session {name} has no condition Ended"));
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", reason.as_str()), "of session {name}");
}
