//! What the pages show, and how that changes: pure. What the watch says waits until the next batch, so that many changes
//! of one session within a moment are one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::console::access::Visibility;
use crate::console::view::Session;

/// The sessions that are open: as the pages show them, and what has changed since.
#[derive(Debug, Default)]
pub struct FeedState {
    shown: BTreeMap<String, Arc<Session>>,
    waiting: BTreeMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    session: Session,
    open: bool,
}

/// What becomes of a session on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It comes.
    Start,
    /// It stays, and is not as it was.
    Update,
    /// It goes.
    End,
}

/// One change of one session, which is as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    pub change: Change,
    pub session: Arc<Session>,
}

impl FeedState {
    /// Begins anew, with all sessions that there are.
    pub fn reset(&mut self, sessions: Vec<Session>) {
        self.waiting.clear();
        let open = sessions.into_iter().filter(is_open);
        self.shown = open.map(|session| (session.session_id.clone(), Arc::new(session))).collect();
    }

    /// Takes note of a session as it is now; `gone` says that its object is no more. Returns whether that may be news.
    pub fn observe(&mut self, session: Session, gone: bool) -> bool {
        let open = is_open(&session) && !gone;
        // What ended before anybody looked is no news, however often its object still changes.
        if !open && !self.shown.contains_key(&session.session_id) && !self.waiting.contains_key(&session.session_id) {
            return false;
        }
        self.waiting.insert(session.session_id.clone(), Waiting { session, open });
        true
    }

    /// Notes that the object of a session was deleted. Returns whether pages may have to be told.
    pub fn gone(&mut self, id: &str) -> bool {
        let waiting = self.waiting.get(id).map(|waiting| waiting.session.clone());
        waiting.or_else(|| self.shown(id)).is_some_and(|session| self.observe(session, true))
    }

    /// Returns a session as pages were shown it last; `None` if they do not show it.
    pub fn shown(&self, id: &str) -> Option<Session> {
        self.shown.get(id).map(|session| session.as_ref().clone())
    }

    /// Shows what has changed. A session that began and ended since the last batch is an end alone.
    pub fn flush(&mut self) -> Vec<Delta> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(id, news)| self.show(id, news)).collect()
    }

    fn show(&mut self, id: String, Waiting { session, open }: Waiting) -> Option<Delta> {
        let session = Arc::new(session);
        let before = if open { self.shown.insert(id, session.clone()) } else { self.shown.remove(&id) };
        let change = match (before, open) {
            (Some(before), true) if before == session => return None,
            (Some(_), true) => Change::Update,
            (None, true) => Change::Start,
            (_, false) => Change::End,
        };
        Some(Delta { change, session })
    }

    /// All that are shown.
    pub fn all(&self) -> impl Iterator<Item = &Session> {
        self.shown.values().map(Arc::as_ref)
    }

    /// What somebody's page shows.
    pub fn snapshot(&self, visibility: &Visibility) -> Vec<Arc<Session>> {
        self.shown.values().filter(|session| visibility.has(&session.subject)).cloned().collect()
    }
}

fn is_open(session: &Session) -> bool {
    session.status == crate::api::Phase::Active.record_name()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::audit::samples::{active, ended};

    fn open(id: &str) -> Session {
        Session::from(&active(id))
    }

    fn closed(id: &str) -> Session {
        Session::from(&ended(id))
    }

    fn changed(id: &str) -> Session {
        Session { login: "other".to_owned(), ..open(id) }
    }

    #[rstest]
    #[case::starts(&[], &[(open("a"), false)], &[(Change::Start, "active")])]
    #[case::ends(&[open("a")], &[(closed("a"), false)], &[(Change::End, "closed")])]
    #[case::changes(&[open("a")], &[(changed("a"), false)], &[(Change::Update, "active")])]
    #[case::the_same_again(&[open("a")], &[(open("a"), false)], &[])]
    #[case::there_and_back(&[open("a")], &[(changed("a"), false), (open("a"), false)], &[])]
    #[case::begins_and_changes(&[], &[(open("a"), false), (changed("a"), false)], &[(Change::Start, "active")])]
    #[case::begins_and_ends(&[], &[(open("a"), false), (closed("a"), false)], &[(Change::End, "closed")])]
    #[case::ends_and_goes(&[open("a")], &[(closed("a"), false), (closed("a"), true)], &[(Change::End, "closed")])]
    #[case::ended_before(&[closed("a")], &[(closed("a"), false), (closed("a"), true)], &[])]
    #[case::taken_away_by_force(&[open("a")], &[(open("a"), true)], &[(Change::End, "active")])]
    fn changes(#[case] before: &[Session], #[case] seen: &[(Session, bool)], #[case] expected: &[(Change, &str)]) {
        let mut state = FeedState::default();
        state.reset(before.to_vec());
        for (session, gone) in seen {
            state.observe(session.clone(), *gone);
        }
        let deltas = state.flush();
        let found: Vec<_> = deltas.iter().map(|delta| (delta.change, delta.session.status.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(state.flush(), []);
    }

    #[test]
    fn somebody_is_shown_their_own() {
        let mut state = FeedState::default();
        state.reset(vec![open("a"), Session { subject: "bob".to_owned(), ..open("b") }]);
        let ids = |visibility: Visibility| -> Vec<String> {
            state.snapshot(&visibility).iter().map(|session| session.session_id.clone()).collect()
        };
        assert_eq!(ids(Visibility::All), ["a", "b"]);
        assert_eq!(ids(Visibility::Own("bob".to_owned())), ["b"]);
        assert_eq!(ids(Visibility::Own("eve".to_owned())), Vec::<String>::new());
    }

    /// One thing that the watch may say: of which session, as which version of it, and whether a batch goes out then.
    fn news() -> impl Strategy<Value = (u8, u8, bool)> {
        (0_u8..5, 0_u8..5, any::<bool>())
    }

    proptest! {
        /// Whoever begins with any snapshot and heeds every change after it has what the cluster has.
        #[test]
        fn a_snapshot_and_its_changes_are_the_truth(said in prop::collection::vec(news(), 0..60), joins in 0_usize..60) {
            let mut state = FeedState::default();
            let (mut truth, mut page) = (BTreeMap::new(), None);
            for (number, (id, version, flush)) in said.into_iter().enumerate() {
                let id = id.to_string();
                let session = match version {
                    0 | 1 => closed(&id),
                    2 => changed(&id),
                    _ => open(&id),
                };
                match version {
                    0 | 1 => truth.remove(&id),
                    _ => truth.insert(id, session.clone()),
                };
                state.observe(session, version == 1);
                if number == joins {
                    let shown = state.snapshot(&Visibility::All).into_iter();
                    page = Some(shown.map(|session| (session.session_id.clone(), session)).collect::<BTreeMap<_, _>>());
                }
                if flush {
                    apply(page.as_mut(), state.flush());
                }
            }
            apply(page.as_mut(), state.flush());
            if let Some(page) = page {
                let page: BTreeMap<_, _> = page.into_iter().map(|(id, session)| (id, (*session).clone())).collect();
                prop_assert_eq!(page, truth);
            }
        }
    }

    /// What a page does with changes. It is never told of a start of what it has, or of a change of what it has not.
    fn apply(page: Option<&mut BTreeMap<String, Arc<Session>>>, deltas: Vec<Delta>) {
        let Some(page) = page else { return };
        for Delta { change, session } in deltas {
            let id = session.session_id.clone();
            let had = page.contains_key(&id);
            match change {
                Change::Start => assert!(page.insert(id, session).is_none()),
                Change::Update => assert!(page.insert(id, session).is_some()),
                Change::End => assert_eq!(page.remove(&id).is_some(), had),
            }
        }
    }
}
