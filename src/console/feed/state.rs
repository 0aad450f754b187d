//! The sessions that pages show, and their changes. Changes wait for the next batch, which merges those of one session.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::console::access::Visibility;
use crate::console::view::Session;

/// The open sessions as pages show them, by uid, and the changes since.
#[derive(Debug, Default)]
pub struct FeedState {
    shown: BTreeMap<String, Arc<Session>>,
    pending: BTreeMap<String, Pending>,
}

#[derive(Debug)]
struct Pending {
    session: Session,
    open: bool,
}

/// How a session changes on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session appears.
    Start,
    /// The session stays, with other fields.
    Update,
    /// The session disappears.
    End,
}

/// One change of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    pub change: Change,
    /// The session after the change.
    pub session: Arc<Session>,
}

impl FeedState {
    /// Replaces all sessions.
    pub fn reset(&mut self, sessions: Vec<Session>) {
        self.pending.clear();
        let open = sessions.into_iter().filter(is_open);
        self.shown = open.map(|session| (session.session_id.clone(), Arc::new(session))).collect();
    }

    /// Records the current state of a session; `deleted` means that its object was deleted. Returns whether a change may
    /// be pending.
    pub fn observe(&mut self, session: Session, deleted: bool) -> bool {
        let open = is_open(&session) && !deleted;
        // The objects of sessions that ended earlier may still change; pages do not show them.
        if !open && !self.shown.contains_key(&session.session_id) && !self.pending.contains_key(&session.session_id) {
            return false;
        }
        self.pending.insert(session.session_id.clone(), Pending { session, open });
        true
    }

    /// Records that the object of a session was deleted. Returns whether a change may be pending.
    pub fn delete(&mut self, id: &str) -> bool {
        let pending = self.pending.get(id).map(|pending| pending.session.clone());
        pending.or_else(|| self.shown(id)).is_some_and(|session| self.observe(session, true))
    }

    /// Returns a session as pages show it; `None` if they do not show it.
    pub fn shown(&self, id: &str) -> Option<Session> {
        self.shown.get(id).map(|session| session.as_ref().clone())
    }

    /// Applies the pending changes and returns them. A session that began and ended since the last batch yields only an end.
    pub fn flush(&mut self) -> Vec<Delta> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().filter_map(|(id, pending)| self.apply(id, pending)).collect()
    }

    fn apply(&mut self, id: String, Pending { session, open }: Pending) -> Option<Delta> {
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

    /// Returns all shown sessions.
    pub fn all(&self) -> impl Iterator<Item = &Session> {
        self.shown.values().map(Arc::as_ref)
    }

    /// Returns the sessions that a user with this visibility is shown.
    pub fn snapshot(&self, visibility: &Visibility) -> Vec<Arc<Session>> {
        self.shown.values().filter(|session| visibility.includes(&session.subject)).cloned().collect()
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
    #[case::deleted_while_open(&[open("a")], &[(open("a"), true)], &[(Change::End, "active")])]
    fn changes_become_deltas(
        #[case] before: &[Session],
        #[case] observed: &[(Session, bool)],
        #[case] expected: &[(Change, &str)],
    ) {
        let mut state = FeedState::default();
        state.reset(before.to_vec());
        for (session, deleted) in observed {
            state.observe(session.clone(), *deleted);
        }
        let deltas = state.flush();
        let found: Vec<_> = deltas.iter().map(|delta| (delta.change, delta.session.status.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(state.flush(), []);
    }

    #[test]
    fn own_visibility_shows_own_sessions() {
        let mut state = FeedState::default();
        state.reset(vec![open("a"), Session { subject: "bob".to_owned(), ..open("b") }]);
        let ids = |visibility: Visibility| -> Vec<String> {
            state.snapshot(&visibility).iter().map(|session| session.session_id.clone()).collect()
        };
        assert_eq!(ids(Visibility::All), ["a", "b"]);
        assert_eq!(ids(Visibility::Own("bob".to_owned())), ["b"]);
        assert_eq!(ids(Visibility::Own("eve".to_owned())), Vec::<String>::new());
    }

    /// One event of the watch: the session, its version, and whether a batch is flushed afterwards.
    fn event() -> impl Strategy<Value = (u8, u8, bool)> {
        (0_u8..5, 0_u8..5, any::<bool>())
    }

    proptest! {
        /// A page that starts with any snapshot and applies every change after it shows what the cluster has.
        #[test]
        fn a_snapshot_and_its_changes_match_the_cluster(events in prop::collection::vec(event(), 0..60), joins in 0_usize..60) {
            let mut state = FeedState::default();
            let (mut cluster, mut page) = (BTreeMap::new(), None);
            for (number, (id, version, flush)) in events.into_iter().enumerate() {
                let id = id.to_string();
                let session = match version {
                    0 | 1 => closed(&id),
                    2 => changed(&id),
                    _ => open(&id),
                };
                match version {
                    0 | 1 => cluster.remove(&id),
                    _ => cluster.insert(id, session.clone()),
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
                prop_assert_eq!(page, cluster);
            }
        }
    }

    /// Applies changes as a page does. No session starts twice, and none is updated before its start.
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
