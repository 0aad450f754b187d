//! Watches the sessions and broadcasts their changes to all pages.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use backon::BackoffBuilder;
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::backlog::Backlog;
use super::message::{self, EncodedDelta};
use super::state::FeedState;
use crate::api::BastionSession;
use crate::cluster::{Guarded, UnreadableReports, WATCH_SECONDS, retry_pace};
use crate::console::access::Visibility;
use crate::console::view::Session;
use crate::metrics::METRICS;

/// The minimum interval between batches of changes. The first change after a pause is sent at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How many batches a page may fall behind before it gets a new snapshot.
const MAX_LAG: usize = 64;

/// The feed of all pages of this console. Clones share one state.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<Inner>>);

struct Inner {
    state: FeedState,
    backlog: Backlog,
    /// Whether the watch works, so that the state is current.
    live: bool,
    /// The cached snapshot of all sessions.
    snapshot: Option<Arc<[Utf8Bytes]>>,
    events: broadcast::Sender<FeedEvent>,
}

/// The feed in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of open sessions.
    pub online: usize,
    /// The number of open sessions of each gateway, by the name of its Pod.
    pub by_gateway: BTreeMap<String, usize>,
    /// Whether the watch works, so that the numbers are current.
    pub live: bool,
    /// The number of ended sessions that are not yet on record.
    pub unrecorded: usize,
    /// The earliest end time of the sessions counted in `unrecorded`; `None` if there are none.
    pub oldest_unrecorded: Option<Timestamp>,
}

/// An event for all pages.
#[derive(Clone, Debug)]
pub(super) enum FeedEvent {
    /// A batch of changes.
    Changes(Arc<[EncodedDelta]>),
    /// All sessions were listed again, and any may have changed.
    Reset,
    /// The watch was interrupted; pages may be outdated.
    Stale,
}

impl Feed {
    /// Creates a feed without sessions, which is not live yet.
    pub fn new() -> Self {
        let (events, _) = broadcast::channel(MAX_LAG);
        Self(Arc::new(Mutex::new(Inner {
            state: FeedState::default(),
            backlog: Backlog::default(),
            live: false,
            snapshot: None,
            events,
        })))
    }

    /// Watches the sessions without end. After an interruption, the watch and all pages start again. While `watches_work` is
    /// false, no list would stay current, and the state is not live.
    pub async fn run(
        self,
        api: Api<Guarded<BastionSession>>,
        reports: UnreadableReports,
        mut watches_work: watch::Receiver<bool>,
    ) -> Infallible {
        let mut pace = retry_pace().build();
        loop {
            // An error means that the program ends.
            let _ = watches_work.wait_for(|works| *works).await;
            tokio::select! {
                () = self.watch(&api, &reports) => {}
                Ok(_) = watches_work.wait_for(|works| !works) => {}
            }
            METRICS.watch_interruptions.inc();
            if self.mark_stale() {
                pace = retry_pace().build();
            }
            sleep(pace.next().unwrap_or(BATCH_INTERVAL)).await;
        }
    }

    /// Handles the events of one watch until it is interrupted.
    async fn watch(&self, api: &Api<Guarded<BastionSession>>, reports: &UnreadableReports) {
        let mut events = pin!(watcher(api.clone(), watcher::Config::default().timeout(WATCH_SECONDS)));
        let mut list = Vec::new();
        let (mut flushed, mut due) = (Instant::now(), None);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        reports.observe(&event);
                        let is_change = self.handle(event, &mut list);
                        due = due.or(is_change.then(|| flushed + BATCH_INTERVAL));
                    }
                    Some(Err(error)) => {
                        warn!(%error, "the watch of sessions was interrupted; pages are stale until it is re-established");
                        return;
                    }
                    None => return,
                },
                () = sleep_until(due.unwrap_or(flushed)), if due.is_some() => {
                    self.flush();
                    (flushed, due) = (Instant::now(), None);
                }
            }
        }
    }

    /// Handles an event of the watch; `list` collects the sessions of a list. Returns whether a change may be pending. A
    /// session that has become unreadable stays as pages show it until its phase is final.
    fn handle(&self, event: Event<Guarded<BastionSession>>, list: &mut Vec<Session>) -> bool {
        match event {
            Event::Init => {
                list.clear();
                self.0.lock().backlog.clear();
            }
            Event::InitApply(Guarded(Ok(session))) => {
                self.0.lock().backlog.observe(&session, false);
                list.push(Session::from(&*session));
            }
            Event::InitApply(Guarded(Err(unreadable))) if unreadable.has_ended() => {}
            Event::InitApply(Guarded(Err(unreadable))) => list.extend(self.0.lock().state.shown(unreadable.uid())),
            Event::InitDone => self.reset(std::mem::take(list)),
            Event::Apply(Guarded(Ok(session))) => return self.0.lock().observe(&session, false),
            Event::Apply(Guarded(Err(unreadable))) if unreadable.has_ended() => {
                return self.0.lock().state.delete(unreadable.uid());
            }
            Event::Apply(Guarded(Err(_))) => {}
            Event::Delete(Guarded(Ok(session))) => return self.0.lock().observe(&session, true),
            Event::Delete(Guarded(Err(unreadable))) => return self.0.lock().delete(unreadable.uid()),
        }
        false
    }

    /// Marks the state as possibly outdated. Returns whether it was live before.
    fn mark_stale(&self) -> bool {
        let mut inner = self.0.lock();
        inner.snapshot = None;
        inner.broadcast(FeedEvent::Stale);
        std::mem::replace(&mut inner.live, false)
    }

    fn reset(&self, sessions: Vec<Session>) {
        let mut inner = self.0.lock();
        inner.state.reset(sessions);
        inner.live = true;
        inner.snapshot = None;
        inner.broadcast(FeedEvent::Reset);
    }

    fn flush(&self) {
        let mut inner = self.0.lock();
        let deltas = inner.state.flush();
        if deltas.is_empty() {
            return;
        }
        let now = Timestamp::now();
        inner.snapshot = None;
        inner.broadcast(FeedEvent::Changes(deltas.iter().map(|delta| EncodedDelta::new(delta, now)).collect()));
    }

    /// Returns the feed in numbers.
    pub fn summary(&self) -> Summary {
        let inner = self.0.lock();
        let mut by_gateway = BTreeMap::new();
        for session in inner.state.all() {
            *by_gateway.entry(session.gateway.clone()).or_default() += 1;
        }
        let (unrecorded, oldest_unrecorded) = (inner.backlog.len(), inner.backlog.oldest());
        Summary { online: inner.state.all().count(), by_gateway, live: inner.live, unrecorded, oldest_unrecorded }
    }

    /// Returns a snapshot, and the receiver of all events after it.
    pub(super) fn subscribe(&self, visibility: &Visibility) -> (Arc<[Utf8Bytes]>, broadcast::Receiver<FeedEvent>) {
        let mut inner = self.0.lock();
        let events = inner.events.subscribe();
        (inner.snapshot(visibility), events)
    }

    /// Returns the names and uids of the sessions in `names` that are open and visible.
    pub(super) fn visible(&self, names: &HashSet<String>, visibility: &Visibility) -> Vec<(String, String)> {
        let inner = self.0.lock();
        let visible = inner.state.all().filter(|it| names.contains(&it.name) && visibility.includes(&it.subject));
        visible.map(|it| (it.name.clone(), it.session_id.clone())).collect()
    }
}

impl Inner {
    /// Records the current state of a session; `deleted` means that its object was deleted. Returns whether a change may
    /// be pending.
    fn observe(&mut self, session: &BastionSession, deleted: bool) -> bool {
        self.backlog.observe(session, deleted);
        self.state.observe(Session::from(session), deleted)
    }

    /// Records that the object of a session was deleted. Returns whether a change may be pending.
    fn delete(&mut self, uid: &str) -> bool {
        self.backlog.remove(uid);
        self.state.delete(uid)
    }

    fn broadcast(&self, event: FeedEvent) {
        // It fails only if no page is open.
        let _ = self.events.send(event);
    }

    fn snapshot(&mut self, visibility: &Visibility) -> Arc<[Utf8Bytes]> {
        if let (Visibility::All, Some(snapshot)) = (visibility, &self.snapshot) {
            return snapshot.clone();
        }
        let snapshot = message::snapshot(&self.state.snapshot(visibility), self.live, visibility, Timestamp::now());
        if *visibility == Visibility::All {
            self.snapshot = Some(snapshot.clone());
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples::{active, ended};
    use crate::cluster::samples::{readable, unreadable};

    #[test]
    fn a_session_that_becomes_unreadable_is_shown_until_it_is_deleted() {
        let feed = Feed::new();
        let online = || feed.summary().online;
        let mut list = vec![];
        let relist = |list: &mut Vec<Session>, sessions: [Guarded<BastionSession>; 2]| {
            feed.handle(Event::Init, list);
            for session in sessions {
                feed.handle(Event::InitApply(session), list);
            }
            feed.handle(Event::InitDone, list);
        };
        relist(&mut list, [readable(active("a")), unreadable(&active("b"))]);
        assert_eq!(online(), 1, "a session that was never readable is not shown, and hides no other");
        assert!(!feed.handle(Event::Apply(unreadable(&active("a"))), &mut list));
        feed.flush();
        assert_eq!(online(), 1);
        relist(&mut list, [unreadable(&active("a")), unreadable(&active("b"))]);
        assert_eq!(online(), 1, "after an interruption");
        assert!(feed.handle(Event::Delete(unreadable(&active("a"))), &mut list));
        assert!(!feed.handle(Event::Delete(unreadable(&active("b"))), &mut list));
        feed.flush();
        assert_eq!(online(), 0);
    }

    #[test]
    fn an_unreadable_session_disappears_when_it_ends() {
        let feed = Feed::new();
        let list = |sessions: Vec<Guarded<BastionSession>>| {
            let mut list = vec![];
            feed.handle(Event::Init, &mut list);
            for session in sessions {
                feed.handle(Event::InitApply(session), &mut list);
            }
            feed.handle(Event::InitDone, &mut list);
        };
        list(vec![readable(active("a")), readable(active("b"))]);
        assert!(feed.handle(Event::Apply(unreadable(&ended("a"))), &mut vec![]));
        feed.flush();
        assert_eq!(feed.summary().online, 1);
        list(vec![unreadable(&ended("a")), unreadable(&ended("b"))]);
        assert_eq!(feed.summary().online, 0, "after an interruption");
    }

    #[test]
    fn a_page_that_lags_gets_a_new_snapshot() {
        let feed = Feed::new();
        feed.reset(vec![]);
        let (snapshot, mut late) = feed.subscribe(&Visibility::All);
        assert!(snapshot[0].contains(r#""sessions":[]"#), "{snapshot:?}");
        for number in 0..=MAX_LAG {
            assert!(feed.handle(Event::Apply(readable(active(&number.to_string()))), &mut vec![]));
            feed.flush();
        }
        assert!(matches!(late.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
        let (snapshot, mut events) = feed.subscribe(&Visibility::All);
        assert_eq!(snapshot[0].matches("session_id").count(), MAX_LAG + 1);
        assert!(events.try_recv().is_err(), "the snapshot already has all changes");
        assert!(feed.handle(Event::Apply(readable(ended("0"))), &mut vec![]));
        assert_eq!(feed.subscribe(&Visibility::All).0[0].matches("session_id").count(), MAX_LAG + 1, "not flushed yet");
        feed.flush();
        assert!(matches!(events.try_recv(), Ok(FeedEvent::Changes(changes)) if changes.len() == 1));
        assert_eq!(feed.subscribe(&Visibility::All).0[0].matches("session_id").count(), MAX_LAG);
    }

    #[test]
    fn an_interrupted_feed_is_not_live() {
        let feed = Feed::new();
        let live = || feed.subscribe(&Visibility::All).0[0].contains(r#""live":true"#);
        assert!(!live(), "nothing is listed yet");
        let mut list = vec![];
        for event in [Event::Init, Event::InitApply(readable(active("a")))] {
            feed.handle(event, &mut list);
            assert!(!live());
        }
        feed.handle(Event::InitDone, &mut list);
        assert!(live());
        let (_, mut events) = feed.subscribe(&Visibility::All);
        assert!(feed.mark_stale() && !live() && !feed.mark_stale());
        assert!(matches!(events.try_recv(), Ok(FeedEvent::Stale)));
    }
}
