//! The live feed: one watch of the sessions for all pages, and what each page is told of it.

mod backlog;
mod connection_quota;
mod message;
pub mod page;
mod state;

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use backon::BackoffBuilder;
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::access::Visibility;
use super::view::Session;
use crate::api::BastionSession;
use crate::cluster::{Guarded, UnreadableReports, WATCH_SECONDS, retry_pace};
use crate::metrics::METRICS;
use backlog::Backlog;
pub use connection_quota::ConnectionQuota;
use message::EncodedDelta;
use state::FeedState;

/// From one batch of changes to the next. The first change after a quiet time does not wait.
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);
/// How many batches a page may be late. One that is later gets a snapshot.
const LATE_BATCHES: usize = 64;

/// What all pages of this console are told. Clones are the same.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<Inner>>);

struct Inner {
    state: FeedState,
    backlog: Backlog,
    /// Whether the watch runs, so that what is shown is so.
    live: bool,
    /// What those who see all are shown, until it changes.
    snapshot: Option<Arc<[Utf8Bytes]>>,
    news: broadcast::Sender<FeedEvent>,
}

/// What there is, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many sessions are open.
    pub online: usize,
    /// How many of them each gateway has, by its Pod.
    pub by_gateway: BTreeMap<String, usize>,
    /// Whether the watch runs, so that this is so.
    pub live: bool,
    /// How many have ended and are not yet on record.
    pub unrecorded: usize,
    /// When the first of them ended.
    pub oldest_unrecorded: Option<Timestamp>,
}

/// What pages are told.
#[derive(Clone, Debug)]
enum FeedEvent {
    /// What has changed.
    Changes(Arc<[EncodedDelta]>),
    /// Everything may have changed.
    Reset,
    /// The API server says nothing any more.
    Stale,
}

impl Feed {
    /// One that shows nothing yet, and does not say that there is nothing.
    pub fn new() -> Self {
        let (news, _) = broadcast::channel(LATE_BATCHES);
        Self(Arc::new(Mutex::new(Inner {
            state: FeedState::default(),
            backlog: Backlog::default(),
            live: false,
            snapshot: None,
            news,
        })))
    }

    /// Watches without end. After an interruption it begins anew, and so do the pages.
    pub async fn run(self, api: Api<Guarded<BastionSession>>, reports: UnreadableReports) -> Infallible {
        let mut pace = retry_pace().build();
        loop {
            self.follow(&api, &reports).await;
            METRICS.watch_interruptions.inc();
            if self.stale() {
                pace = retry_pace().build();
            }
            sleep(pace.next().unwrap_or(BETWEEN_BATCHES)).await;
        }
    }

    /// Follows one watch to its interruption.
    async fn follow(&self, api: &Api<Guarded<BastionSession>>, reports: &UnreadableReports) {
        let mut events = pin!(watcher(api.clone(), watcher::Config::default().timeout(WATCH_SECONDS)));
        let mut list = Vec::new();
        let (mut flushed, mut due) = (Instant::now(), None);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        reports.observe(&event);
                        let news = self.handle(event, &mut list);
                        due = due.or(news.then(|| flushed + BETWEEN_BATCHES));
                    }
                    Some(Err(error)) => {
                        warn!(%error, "the watch of the sessions was interrupted; pages are told, and it begins anew");
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

    /// Takes note of what the watch says; `list` is what it has listed so far. Returns whether there may be news. A session
    /// that has become unreadable stays as it was shown last, until its phase says that it has ended.
    fn handle(&self, event: Event<Guarded<BastionSession>>, list: &mut Vec<Session>) -> bool {
        match event {
            Event::Init => {
                list.clear();
                self.lock().backlog.clear();
            }
            Event::InitApply(Guarded(Ok(session))) => {
                self.lock().backlog.observe(&session, false);
                list.push(Session::from(&*session));
            }
            Event::InitApply(Guarded(Err(unreadable))) if unreadable.has_ended() => {}
            Event::InitApply(Guarded(Err(unreadable))) => list.extend(self.lock().state.shown(unreadable.uid())),
            Event::InitDone => self.reset(std::mem::take(list)),
            Event::Apply(Guarded(Ok(session))) => return self.lock().observe(&session, false),
            Event::Apply(Guarded(Err(unreadable))) if unreadable.has_ended() => {
                return self.lock().state.gone(unreadable.uid());
            }
            Event::Apply(Guarded(Err(_))) => {}
            Event::Delete(Guarded(Ok(session))) => return self.lock().observe(&session, true),
            Event::Delete(Guarded(Err(unreadable))) => return self.lock().gone(unreadable.uid()),
        }
        false
    }

    /// Says that what is shown may be old. Returns whether it was not.
    fn stale(&self) -> bool {
        let mut board = self.lock();
        board.snapshot = None;
        board.tell(FeedEvent::Stale);
        std::mem::replace(&mut board.live, false)
    }

    fn reset(&self, sessions: Vec<Session>) {
        let mut board = self.lock();
        board.state.reset(sessions);
        board.live = true;
        board.snapshot = None;
        board.tell(FeedEvent::Reset);
    }

    fn flush(&self) {
        let mut board = self.lock();
        let deltas = board.state.flush();
        if deltas.is_empty() {
            return;
        }
        let now = Timestamp::now();
        board.snapshot = None;
        board.tell(FeedEvent::Changes(deltas.iter().map(|delta| EncodedDelta::new(delta, now)).collect()));
    }

    /// What there is, in numbers.
    pub fn sum(&self) -> Sum {
        let board = self.lock();
        let mut by_gateway = BTreeMap::new();
        for session in board.state.all() {
            *by_gateway.entry(session.gateway.clone()).or_default() += 1;
        }
        let (unrecorded, oldest_unrecorded) = (board.backlog.len(), board.backlog.oldest());
        Sum { online: board.state.all().count(), by_gateway, live: board.live, unrecorded, oldest_unrecorded }
    }

    /// What somebody is shown, and all that comes after it.
    fn open(&self, visibility: &Visibility) -> (Arc<[Utf8Bytes]>, broadcast::Receiver<FeedEvent>) {
        let mut board = self.lock();
        let news = board.news.subscribe();
        (board.snapshot(visibility), news)
    }

    /// Those of these sessions that are open and that somebody sees: their names and uids.
    fn known(&self, names: &HashSet<String>, visibility: &Visibility) -> Vec<(String, String)> {
        let board = self.lock();
        let seen = board.state.all().filter(|it| names.contains(&it.name) && visibility.has(&it.subject));
        seen.map(|it| (it.name.clone(), it.session_id.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes note of a session; `gone` says that its object is no more. Returns whether that may be news.
    fn observe(&mut self, session: &BastionSession, gone: bool) -> bool {
        self.backlog.observe(session, gone);
        self.state.observe(Session::from(session), gone)
    }

    /// Notes that the object of a session was deleted. Returns whether pages may have to be told.
    fn gone(&mut self, uid: &str) -> bool {
        self.backlog.gone(uid);
        self.state.gone(uid)
    }

    /// Nobody may be listening.
    fn tell(&self, news: FeedEvent) {
        let _ = self.news.send(news);
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

    fn readable(session: BastionSession) -> Guarded<BastionSession> {
        Guarded(Ok(Arc::new(session)))
    }

    /// The same session as a newer version may write it.
    fn unreadable(session: &BastionSession) -> Guarded<BastionSession> {
        let mut object = serde_json::to_value(session).unwrap();
        object["spec"]["protocol"] = "Telepathy".into();
        let guarded: Guarded<BastionSession> = serde_json::from_value(object).unwrap();
        assert!(guarded.0.is_err());
        guarded
    }

    #[test]
    fn a_session_that_becomes_unreadable_is_shown_until_it_is_deleted() {
        let feed = Feed::new();
        let online = || feed.sum().online;
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
    fn a_session_that_ends_unreadable_is_shown_no_longer() {
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
        assert_eq!(feed.sum().online, 1);
        list(vec![unreadable(&ended("a")), unreadable(&ended("b"))]);
        assert_eq!(feed.sum().online, 0, "after an interruption");
    }

    #[test]
    fn who_is_late_learns_so_and_begins_again_where_all_are() {
        let feed = Feed::new();
        feed.reset(vec![]);
        let (snapshot, mut late) = feed.open(&Visibility::All);
        assert!(snapshot[0].contains(r#""sessions":[]"#), "{snapshot:?}");
        for number in 0..=LATE_BATCHES {
            assert!(feed.handle(Event::Apply(readable(active(&number.to_string()))), &mut vec![]));
            feed.flush();
        }
        assert!(matches!(late.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
        let (snapshot, mut news) = feed.open(&Visibility::All);
        assert_eq!(snapshot[0].matches("session_id").count(), LATE_BATCHES + 1);
        assert!(news.try_recv().is_err(), "nothing that the snapshot has comes again");
        assert!(feed.handle(Event::Apply(readable(ended("0"))), &mut vec![]));
        assert_eq!(feed.open(&Visibility::All).0[0].matches("session_id").count(), LATE_BATCHES + 1, "not told yet");
        feed.flush();
        assert!(matches!(news.try_recv(), Ok(FeedEvent::Changes(changes)) if changes.len() == 1));
        assert_eq!(feed.open(&Visibility::All).0[0].matches("session_id").count(), LATE_BATCHES);
    }

    #[test]
    fn what_may_be_old_is_never_shown_as_live() {
        let feed = Feed::new();
        let live = || feed.open(&Visibility::All).0[0].contains(r#""live":true"#);
        assert!(!live(), "nothing is known yet");
        let mut list = vec![];
        for event in [Event::Init, Event::InitApply(readable(active("a")))] {
            feed.handle(event, &mut list);
            assert!(!live());
        }
        feed.handle(Event::InitDone, &mut list);
        assert!(live());
        let (_, mut news) = feed.open(&Visibility::All);
        assert!(feed.stale() && !live() && !feed.stale());
        assert!(matches!(news.try_recv(), Ok(FeedEvent::Stale)));
    }
}
