//! Kubernetes Events of refused sign-ins: at most one per BastionUser and minute. Unknown users get none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;

use crate::cluster::EventSink;

/// The shortest time between two Events of one user.
const MIN_INTERVAL: Duration = Duration::from_mins(1);
/// The number of users whose last Event is remembered. Further users get no Event until one expires.
const MAX_USERS: usize = 4096;

/// Publishes Events of refused sign-ins, at a limited rate.
pub struct RefusalEvents {
    events: EventSink,
    last_events: Mutex<LastEvents>,
}

impl RefusalEvents {
    /// Creates a publisher to `events`.
    pub fn new(events: EventSink) -> Self {
        Self { events, last_events: Mutex::default() }
    }

    /// Publishes that a sign-in of `user` was refused, unless the user had an Event within the last minute.
    pub fn publish(&self, user: ObjectReference, client: SocketAddr, why: &str) {
        let name = user.name.clone().unwrap_or_default();
        if self.last_events.lock().is_due(&name, Instant::now()) {
            self.events.sign_in_refused(user, &client.ip().to_canonical().to_string(), why);
        }
    }
}

#[derive(Debug, Default)]
struct LastEvents(HashMap<String, Instant>);

impl LastEvents {
    fn is_due(&mut self, user: &str, now: Instant) -> bool {
        let is_recent = |last: &Instant| now.duration_since(*last) < MIN_INTERVAL;
        if self.0.get(user).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= MAX_USERS {
            self.0.retain(|_, last| is_recent(last));
        }
        let has_room = self.0.len() < MAX_USERS;
        if has_room {
            self.0.insert(user.to_owned(), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_one_event_a_minute() {
        let (mut last, now) = (LastEvents::default(), Instant::now());
        assert!(last.is_due("alice", now));
        assert!(!last.is_due("alice", now + MIN_INTERVAL / 2));
        assert!(last.is_due("bob", now));
        assert!(last.is_due("alice", now + MIN_INTERVAL));
        for number in 0..2 * MAX_USERS {
            last.is_due(&number.to_string(), now + MIN_INTERVAL);
        }
        assert!(last.0.len() <= MAX_USERS);
    }
}
