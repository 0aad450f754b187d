//! The sessions of one gateway instance, by name, and the signals that end them.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::activity::{Activity, ActivitySnapshot};
use crate::gateway::access::Grant;
use crate::gateway::observe::{AuditLog, Broadcast};
use crate::lifecycle::Cause;

/// Receives the cause that ends a session. The first cause counts.
pub type EndSignal = watch::Receiver<Option<Cause>>;

/// The sessions of one instance. A session is registered before its object is created, and removed after its end is written.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<String, Entry>,
    /// The cause for which every session must end, including sessions that are registered later; `None` if they may run.
    end_all: Option<Cause>,
}

/// The parts of a session that other tasks use.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    /// The user, target and login.
    pub grant: Grant,
    /// The activity counters.
    pub activity: Arc<Activity>,
    /// The audit log.
    pub audit: Arc<AuditLog>,
    /// The output of the terminals, for observers.
    pub broadcast: Arc<Broadcast>,
}

#[derive(Debug)]
struct Entry {
    end_signal: watch::Sender<Option<Cause>>,
    handle: SessionHandle,
    /// The uid and start time, once the object exists.
    created: Option<(String, Timestamp)>,
}

impl Registry {
    /// Registers a session. Returns the signal that ends it.
    pub fn register(&self, name: &str, handle: SessionHandle) -> EndSignal {
        let mut inner = self.inner.lock();
        let (end_signal, receiver) = watch::channel(inner.end_all.clone());
        inner.sessions.insert(name.to_owned(), Entry { end_signal, handle, created: None });
        receiver
    }

    /// Records that the session's object exists.
    pub fn set_created(&self, name: &str, uid: String, start: Timestamp) {
        if let Some(entry) = self.inner.lock().sessions.get_mut(name) {
            entry.created = Some((uid, start));
        }
    }

    /// Returns the session and its uid if its object exists.
    pub fn find(&self, name: &str) -> Option<(SessionHandle, String)> {
        let inner = self.inner.lock();
        let entry = inner.sessions.get(name)?;
        Some((entry.handle.clone(), entry.created.as_ref()?.0.clone()))
    }

    /// Returns the uid of each session whose object exists, by name.
    pub fn uids(&self) -> HashMap<String, String> {
        let inner = self.inner.lock();
        let created =
            inner.sessions.iter().filter_map(|(name, entry)| Some((name.clone(), entry.created.as_ref()?.0.clone())));
        created.collect()
    }

    /// Returns the activity of each session whose object exists, by uid.
    pub fn snapshots(&self) -> HashMap<String, ActivitySnapshot> {
        let inner = self.inner.lock();
        let created =
            inner.sessions.values().filter_map(|entry| Some((entry.created.as_ref()?, &entry.handle.activity)));
        created.map(|((uid, start), activity)| (uid.clone(), activity.snapshot(*start))).collect()
    }

    /// Removes a session whose end is written.
    pub fn remove(&self, name: &str) {
        self.inner.lock().sessions.remove(name);
    }

    /// Signals one session to end. Returns whether the session is registered.
    pub fn end(&self, name: &str, cause: &Cause) -> bool {
        self.inner.lock().sessions.get(name).map(|entry| send_end(&entry.end_signal, cause)).is_some()
    }

    /// Returns whether the session is registered.
    pub fn contains(&self, name: &str) -> bool {
        self.inner.lock().sessions.contains_key(name)
    }

    /// Returns the grants that `is_wanted` selects, with the names of their sessions.
    pub fn grants(&self, is_wanted: impl Fn(&Grant) -> bool) -> Vec<(String, Grant)> {
        let inner = self.inner.lock();
        let wanted = inner.sessions.iter().filter(|(_, entry)| is_wanted(&entry.handle.grant));
        wanted.map(|(name, entry)| (name.clone(), entry.handle.grant.clone())).collect()
    }

    /// Signals every session to end, including sessions that are registered later.
    pub fn end_all(&self, cause: &Cause) {
        let mut inner = self.inner.lock();
        for entry in inner.sessions.values() {
            send_end(&entry.end_signal, cause);
        }
        inner.end_all.get_or_insert_with(|| cause.clone());
    }
}

/// Waits for the cause that ends the session.
pub async fn end_requested(end_signal: &mut EndSignal) -> Cause {
    match end_signal.wait_for(Option::is_some).await.map(|cause| cause.clone()) {
        Ok(Some(cause)) => cause,
        // The registry keeps the sender until the session is removed from it.
        _ => std::future::pending().await,
    }
}

/// Sends `cause`, unless a cause was already sent.
fn send_end(end_signal: &watch::Sender<Option<Cause>>, cause: &Cause) {
    end_signal.send_if_modified(|current| {
        let is_first = current.is_none();
        if is_first {
            *current = Some(cause.clone());
        }
        is_first
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt;
    use rstest::rstest;

    use super::super::samples::grant;
    use super::*;
    use crate::gateway::bridge::SessionNotice;

    fn handle() -> SessionHandle {
        let grant = grant();
        let audit = Arc::new(AuditLog::new("a".into(), &grant));
        let broadcast = Arc::new(Broadcast::new(watch::channel(SessionNotice::None).0));
        SessionHandle { grant, activity: Arc::new(Activity::new(Instant::now())), audit, broadcast }
    }

    #[test]
    fn the_first_cause_counts() {
        let registry = Registry::default();
        let end_signal = registry.register("a", handle());
        assert!(registry.end("a", &Cause::Deleted));
        registry.end_all(&Cause::GatewayShutdown);
        assert_eq!(*end_signal.borrow(), Some(Cause::Deleted));
        assert!(!registry.end("b", &Cause::Deleted));
        registry.remove("a");
        assert!(!registry.end("a", &Cause::Deleted));
        assert_eq!(*registry.register("late", handle()).borrow(), Some(Cause::GatewayShutdown));
    }

    #[rstest]
    #[case::closed_by_its_own_user(Cause::ApiClosed { reason: None })]
    #[case::terminated(Cause::Terminated { by: "bob".into(), reason: None })]
    #[case::deleted(Cause::Deleted)]
    #[case::access_revoked(Cause::AccessRevoked("the user is disabled".into()))]
    #[case::gateway_shutdown(Cause::GatewayShutdown)]
    #[case::gateway_lost(Cause::GatewayLost)]
    #[case::cut_off(Cause::CutOff)]
    #[tokio::test]
    async fn a_session_receives_the_cause(#[case] cause: Cause) {
        let registry = Registry::default();
        let mut end_signal = registry.register("a", handle());
        assert_eq!(end_requested(&mut end_signal).now_or_never(), None);
        registry.end("a", &cause);
        assert_eq!(end_requested(&mut end_signal).await, cause);
    }
}
