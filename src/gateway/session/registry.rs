//! The sessions that this gateway instance carries, by name, and the orders to end them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::activity::{Activity, Snapshot};
use crate::gateway::access::Grant;
use crate::gateway::observe::{AuditLog, Broadcast};
use crate::lifecycle::Cause;

/// An order to end a session. The first one counts.
pub type EndSignal = watch::Receiver<Option<Cause>>;

/// The sessions of one instance. A session is in it from before its object is created until its end is written.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<String, Entry>,
    /// Why every session must end, also one that is entered later.
    all: Option<Cause>,
}

/// What a session is.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    /// What it rests on.
    pub grant: Grant,
    /// What its user does.
    pub activity: Arc<Activity>,
    /// Where it is said what happens in it.
    pub audit: Arc<AuditLog>,
    /// What its terminals show.
    pub stage: Arc<Broadcast>,
}

#[derive(Debug)]
struct Entry {
    order: watch::Sender<Option<Cause>>,
    carried: SessionHandle,
    /// Its uid and start, once its object exists.
    record: Option<(String, Timestamp)>,
}

impl Registry {
    /// Enters a session. What comes back tells it when it must end.
    pub fn enter(&self, name: &str, carried: SessionHandle) -> EndSignal {
        let mut inner = self.lock();
        let (order, ordered) = watch::channel(inner.all.clone());
        inner.sessions.insert(name.to_owned(), Entry { order, carried, record: None });
        ordered
    }

    /// The session's object exists.
    pub fn recorded(&self, name: &str, uid: String, start: Timestamp) {
        if let Some(entry) = self.lock().sessions.get_mut(name) {
            entry.record = Some((uid, start));
        }
    }

    /// The session and its uid, if its object exists.
    pub fn find(&self, name: &str) -> Option<(SessionHandle, String)> {
        let inner = self.lock();
        let entry = inner.sessions.get(name)?;
        Some((entry.carried.clone(), entry.record.as_ref()?.0.clone()))
    }

    /// What there is to tell of each session whose object exists, by uid.
    pub fn snapshots(&self) -> HashMap<String, Snapshot> {
        let inner = self.lock();
        let recorded =
            inner.sessions.values().filter_map(|entry| Some((entry.record.as_ref()?, &entry.carried.activity)));
        recorded.map(|((uid, start), activity)| (uid.clone(), activity.snapshot(*start))).collect()
    }

    /// Takes a session out whose end is written.
    pub fn leave(&self, name: &str) {
        self.lock().sessions.remove(name);
    }

    /// Orders the end of one session. Returns whether there is such a session.
    pub fn end(&self, name: &str, cause: &Cause) -> bool {
        self.lock().sessions.get(name).map(|entry| send_end(&entry.order, cause)).is_some()
    }

    /// Whether the session is in the books.
    pub fn contains(&self, name: &str) -> bool {
        self.lock().sessions.contains_key(name)
    }

    /// What each session rests on.
    pub fn grants(&self) -> Vec<(String, Grant)> {
        self.lock().sessions.iter().map(|(name, entry)| (name.clone(), entry.carried.grant.clone())).collect()
    }

    /// Orders the end of every session, and of whichever is entered from now on.
    pub fn end_all(&self, cause: &Cause) {
        let mut inner = self.lock();
        for entry in inner.sessions.values() {
            send_end(&entry.order, cause);
        }
        inner.all.get_or_insert_with(|| cause.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_end(order: &watch::Sender<Option<Cause>>, cause: &Cause) {
    order.send_if_modified(|first| {
        let send_end = first.is_none();
        if send_end {
            *first = Some(cause.clone());
        }
        send_end
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use russh::keys::ssh_key::{Algorithm, PrivateKey};
    use serde_json::json;

    use super::*;
    use crate::gateway::bridge::Announcement;
    use crate::gateway::sign_in::{KeyRestrictions, Proof};

    fn carried() -> SessionHandle {
        let grant = grant();
        let audit = Arc::new(AuditLog::new("a".into(), &grant));
        let stage = Arc::new(Broadcast::new(watch::channel(Announcement::None).0));
        SessionHandle { grant, activity: Arc::new(Activity::new(Instant::now())), audit, stage }
    }

    fn grant() -> Grant {
        let user = json!({ "metadata": { "name": "alice" }, "spec": {} });
        let target = json!({ "metadata": { "name": "web-1" }, "spec": {
            "address": "192.0.2.1", "hostKeys": [], "logins": ["root"],
            "credentials": { "privateKey": { "name": "web-1" } },
        }});
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        Grant {
            user: Arc::new(object("BastionUser", user)),
            proof: Proof::Key(key.public_key().clone()),
            restrictions: KeyRestrictions::ALL,
            target: Arc::new(object("BastionTarget", target)),
            login: "root".into(),
        }
    }

    fn object<K: serde::de::DeserializeOwned>(kind: &str, mut object: serde_json::Value) -> K {
        object["apiVersion"] = json!("bastion.dev/v1alpha1");
        object["kind"] = json!(kind);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_first_order_counts() {
        let registry = Registry::default();
        let order = registry.enter("a", carried());
        assert!(registry.end("a", &Cause::Deleted));
        registry.end_all(&Cause::GatewayShutdown);
        assert_eq!(*order.borrow(), Some(Cause::Deleted));
        assert!(!registry.end("b", &Cause::Deleted));
        registry.leave("a");
        assert!(!registry.end("a", &Cause::Deleted));
        assert_eq!(*registry.enter("late", carried()).borrow(), Some(Cause::GatewayShutdown));
    }
}
