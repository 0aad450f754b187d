//! The changes of users and targets, for tasks that check the sessions which rest on them.

use std::collections::HashSet;

use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::api::{BastionTarget, BastionUser};

/// The number of changes that are kept for a slow receiver. A receiver that misses changes checks all sessions.
const CAPACITY: usize = 1024;

/// A change of an object that grants rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user of this name was added, changed or deleted.
    User(String),
    /// The target of this name was added, changed or deleted.
    Target(String),
    /// All users or all targets were listed again.
    List,
}

impl Change {
    /// Returns what a watch event changes. `named` is the variant of the event's kind.
    pub fn of<K: Resource<DynamicType = ()>>(event: &Event<K>, named: fn(String) -> Self) -> Option<Self> {
        match event {
            Event::Apply(object) | Event::Delete(object) => Some(named(object.name_any())),
            // A list is kept aside until it is complete.
            Event::Init | Event::InitApply(_) => None,
            Event::InitDone => Some(Self::List),
        }
    }
}

/// Sends changes to all receivers.
#[derive(Clone, Debug)]
pub struct ChangeSender(Sender<Change>);

impl Default for ChangeSender {
    fn default() -> Self {
        Self(channel(CAPACITY).0)
    }
}

impl ChangeSender {
    /// Sends a change that the store already has.
    pub fn send(&self, change: Change) {
        // An error means that there is no receiver.
        let _ = self.0.send(change);
    }

    /// Returns a receiver of later changes.
    pub fn subscribe(&self) -> ChangeReceiver {
        ChangeReceiver(self.0.subscribe())
    }
}

/// Receives changes.
#[derive(Debug)]
pub struct ChangeReceiver(Receiver<Change>);

impl ChangeReceiver {
    /// Waits for a change, and returns what all changes since the last call touch. Cancel-safe.
    pub async fn next(&mut self) -> Touched {
        let mut touched = Touched::default();
        match self.0.recv().await {
            Ok(change) => touched.add(change),
            Err(RecvError::Lagged(_)) => touched.add(Change::List),
            // The directory keeps a sender, so it is gone, and the program exits.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
        loop {
            match self.0.try_recv() {
                Ok(change) => touched.add(change),
                Err(TryRecvError::Lagged(_)) => touched.add(Change::List),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return touched,
            }
        }
    }
}

/// The grants that changes touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    all: bool,
    users: HashSet<String>,
    targets: HashSet<String>,
}

impl Touched {
    /// Returns what touches all grants.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Adds the grants of these users.
    pub fn add_users(&mut self, names: impl IntoIterator<Item = String>) {
        self.users.extend(names);
    }

    /// Returns whether a grant of this user on this target rests on a changed object.
    pub fn includes(&self, user: &BastionUser, target: &BastionTarget) -> bool {
        let is_in = |names: &HashSet<String>, metadata: &ObjectMeta| {
            metadata.name.as_ref().is_some_and(|name| names.contains(name))
        };
        self.all || is_in(&self.users, &user.metadata) || is_in(&self.targets, &target.metadata)
    }

    fn add(&mut self, change: Change) {
        match change {
            Change::User(name) => drop(self.users.insert(name)),
            Change::Target(name) => drop(self.targets.insert(name)),
            Change::List => self.all = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gateway::access::Grant;
    use crate::gateway::session::samples::grant;

    fn user(name: &str) -> Change {
        Change::User(name.to_owned())
    }

    fn target(name: &str) -> Change {
        Change::Target(name.to_owned())
    }

    #[rstest]
    #[case::the_user(&[user("bob"), user("alice")], true)]
    #[case::the_target(&[target("web-1")], true)]
    #[case::a_list(&[Change::List], true)]
    #[case::others(&[user("bob"), target("web-2")], false)]
    #[case::others_of_these_names(&[user("web-1"), target("alice")], false)]
    #[tokio::test]
    async fn changes_touch_the_grants_that_rest_on_the_object(#[case] changes: &[Change], #[case] expected: bool) {
        let sender = ChangeSender::default();
        let mut receiver = sender.subscribe();
        for change in changes {
            sender.send(change.clone());
        }
        let Grant { user: of_user, target: of_target, .. } = grant();
        assert_eq!(receiver.next().await.includes(&of_user, &of_target), expected);
        sender.send(user("carol"));
        assert!(!receiver.next().await.includes(&of_user, &of_target), "earlier changes are returned once");
    }

    #[tokio::test]
    async fn a_receiver_that_missed_changes_checks_all() {
        let sender = ChangeSender::default();
        let mut receiver = sender.subscribe();
        for number in 0..2 * CAPACITY {
            sender.send(user(&format!("user-{number}")));
        }
        let Grant { user, target, .. } = grant();
        assert!(receiver.next().await.includes(&user, &target));
    }
}
