//! Refused sign-ins of known users, as Events on their BastionUser: one a minute for each at most. Strangers are counted
//! and logged, and never written to the cluster.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;

use crate::cluster::EventSink;

/// How long a user's next Event waits.
const QUIET: Duration = Duration::from_mins(1);
/// Of how many users is known when they had their last one.
const MAX_USERS: usize = 4096;

/// Says that sign-ins were refused.
pub struct RefusalEvents {
    events: EventSink,
    last: Mutex<Last>,
}

impl RefusalEvents {
    /// In Events that go here.
    pub fn new(events: EventSink) -> Self {
        Self { events, last: Mutex::default() }
    }

    /// A connection has ended on which a known user's sign-in was refused.
    pub fn tell(&self, user: ObjectReference, client: SocketAddr, why: &str) {
        let name = user.name.clone().unwrap_or_default();
        if self.last.lock().unwrap_or_else(PoisonError::into_inner).is_due(&name, Instant::now()) {
            self.events.sign_in_refused(user, &client.ip().to_canonical().to_string(), why);
        }
    }
}

#[derive(Debug, Default)]
struct Last(HashMap<String, Instant>);

impl Last {
    fn is_due(&mut self, user: &str, now: Instant) -> bool {
        let quiet = |last: &Instant| now.duration_since(*last) < QUIET;
        if self.0.get(user).is_some_and(quiet) {
            return false;
        }
        if self.0.len() >= MAX_USERS {
            self.0.retain(|_, last| quiet(last));
        }
        let room = self.0.len() < MAX_USERS;
        if room {
            self.0.insert(user.to_owned(), now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_event_a_minute() {
        let (mut last, now) = (Last::default(), Instant::now());
        assert!(last.is_due("alice", now));
        assert!(!last.is_due("alice", now + QUIET / 2));
        assert!(last.is_due("bob", now));
        assert!(last.is_due("alice", now + QUIET));
        for number in 0..2 * MAX_USERS {
            last.is_due(&number.to_string(), now + QUIET);
        }
        assert!(last.0.len() <= MAX_USERS);
    }
}
