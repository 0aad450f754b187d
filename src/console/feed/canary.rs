//! Checks by the controllers' heartbeats that watches deliver events.
//!
//! A watch may be dead although its connection is open: the API server behind it is cut off from etcd, or the network drops its
//! packets. That looks like a time in which no session changes. Each controller renews its own Lease every 2 s, so a working
//! watch of these Leases is never silent for long.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::api::{LEASE_LABEL, LEASE_OF_CONTROLLER};
use crate::cluster::{self, LenientLease, code};

/// How long the watch may be silent before the API server is asked for the Leases: three heartbeats of a controller.
const MAX_SILENCE: Duration = Duration::from_secs(6);
/// How long the answer may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an event may take after an answer has shown that it is due. The three add up to 9 s.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// The resource versions of the controllers' Leases, by name.
type Versions = BTreeMap<String, String>;

/// What a watch of the heartbeats shows about all watches of this program.
#[derive(Debug)]
struct Canary {
    /// The Leases as the watch has shown them.
    watched: Versions,
    state: State,
    /// The last event, list or check.
    quiet_since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The watch works, or no controller runs.
    Alive,
    /// The API server has other Leases than the watch has shown, so that an event is due.
    Overdue,
    /// The watch is dead.
    Dead,
}

/// The answer to a list of the Leases.
#[derive(Clone, Debug)]
enum Answer {
    Leases(Versions),
    /// An HTTP error, which says nothing about watches.
    Error,
    /// No answer in time, or no connection.
    Silence,
}

impl Canary {
    const fn new(now: Instant) -> Self {
        Self { watched: Versions::new(), state: State::Alive, quiet_since: now }
    }

    /// Records an event of the watch. Only a change proves that the watch works: an API server that delivers no events can answer
    /// a list all the same.
    fn observe(&mut self, event: Event<LenientLease>, now: Instant) {
        self.quiet_since = now;
        match event {
            Event::Init => self.watched.clear(),
            Event::InitApply(lease) => self.record(&lease),
            Event::InitDone if self.watched.is_empty() => self.state = State::Alive,
            Event::InitDone => {}
            Event::Apply(lease) => {
                self.record(&lease);
                self.state = State::Alive;
            }
            Event::Delete(lease) => {
                self.watched.remove(&lease.name_any());
                self.state = State::Alive;
            }
        }
    }

    fn record(&mut self, lease: &LenientLease) {
        self.watched.insert(lease.name_any(), lease.resource_version().unwrap_or_default());
    }

    /// Returns when a check is due if no event comes before.
    fn next_check(&self) -> Instant {
        let pause = if self.state == State::Overdue { MAX_DELAY } else { MAX_SILENCE };
        self.quiet_since + pause
    }

    /// Evaluates a check. `answer` is `None` if the state is overdue, in which the API server need not be asked again.
    fn check(&mut self, answer: Option<&Answer>, now: Instant) {
        self.quiet_since = now;
        self.state = match answer {
            None | Some(Answer::Silence) => State::Dead,
            Some(Answer::Error) => self.state,
            // No heartbeat was written while the watch was silent.
            Some(Answer::Leases(leases)) if *leases == self.watched => State::Alive,
            Some(Answer::Leases(_)) if self.state == State::Dead => State::Dead,
            Some(Answer::Leases(_)) => State::Overdue,
        };
    }
}

/// Watches the controllers' heartbeats without end. Sends `alive` whether watches of this program deliver events.
pub async fn watch_heartbeats(leases: Api<LenientLease>, alive: watch::Sender<bool>) -> Infallible {
    let selector = format!("{LEASE_LABEL}={LEASE_OF_CONTROLLER}");
    let mut canary = Canary::new(Instant::now());
    loop {
        watch_until_dead(&mut canary, &leases, &selector, &alive).await;
    }
}

/// Watches until a check finds the watch dead. A new watch begins with a list.
async fn watch_until_dead(
    canary: &mut Canary,
    leases: &Api<LenientLease>,
    selector: &str,
    alive: &watch::Sender<bool>,
) {
    let mut events = pin!(cluster::watch(leases.clone(), watcher::Config::default().labels(selector)));
    loop {
        let checked = tokio::select! {
            Some(event) = events.next() => {
                canary.observe(event, Instant::now());
                false
            }
            () = sleep_until(canary.next_check()) => true,
        };
        if checked {
            let answer = if canary.state == State::Overdue { None } else { Some(ask(leases, selector).await) };
            canary.check(answer.as_ref(), Instant::now());
        }
        announce(alive, canary.state);
        if checked && canary.state == State::Dead {
            return;
        }
    }
}

/// Lists the Leases, consistently.
async fn ask(leases: &Api<LenientLease>, selector: &str) -> Answer {
    match timeout(LIST_TIMEOUT, leases.list(&ListParams::default().labels(selector))).await {
        Ok(Ok(list)) => {
            let version = |lease: LenientLease| (lease.name_any(), lease.resource_version().unwrap_or_default());
            Answer::Leases(list.into_iter().map(version).collect())
        }
        Ok(Err(error)) if code(&error).is_some() => Answer::Error,
        Ok(Err(_)) | Err(_) => Answer::Silence,
    }
}

fn announce(alive: &watch::Sender<bool>, state: State) {
    let now = state != State::Dead;
    let changed = alive.send_if_modified(|before| std::mem::replace(before, now) != now);
    if changed && now {
        info!("watches deliver events again");
    } else if changed {
        warn!("watches deliver no events, or the API server does not answer; pages are stale until they do");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use rstest::rstest;

    use super::*;

    fn lease(version: &str) -> LenientLease {
        let metadata = ObjectMeta {
            name: Some("controller-0".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        LenientLease(Lease { metadata, spec: None })
    }

    fn leases(version: &str) -> Answer {
        Answer::Leases([("controller-0".to_owned(), version.to_owned())].into())
    }

    fn listed(canary: &mut Canary, version: &str) {
        for event in [Event::Init, Event::InitApply(lease(version)), Event::InitDone] {
            canary.observe(event, Instant::now());
        }
    }

    #[rstest]
    #[case::no_heartbeat_was_written(&[Some(leases("1"))], State::Alive)]
    #[case::a_deletion_is_due(&[Some(Answer::Leases(Versions::new()))], State::Overdue)]
    #[case::an_event_is_due(&[Some(leases("2"))], State::Overdue)]
    #[case::an_event_does_not_come(&[Some(leases("2")), None], State::Dead)]
    #[case::dead_while_heartbeats_are_written(&[Some(leases("2")), None, Some(leases("3"))], State::Dead)]
    #[case::the_last_controller_ended_meanwhile(&[Some(Answer::Silence), Some(leases("1"))], State::Alive)]
    #[case::no_answer(&[Some(Answer::Silence)], State::Dead)]
    #[case::an_error_proves_nothing(&[Some(Answer::Error)], State::Alive)]
    #[case::an_error_revives_nothing(&[Some(Answer::Silence), Some(Answer::Error)], State::Dead)]
    #[tokio::test(start_paused = true)]
    async fn checks_after_a_list_decide(#[case] checks: &[Option<Answer>], #[case] expected: State) {
        let mut canary = Canary::new(Instant::now());
        listed(&mut canary, "1");
        for answer in checks {
            canary.check(answer.as_ref(), Instant::now());
        }
        assert_eq!(canary.state, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_change_revives_a_dead_watch() {
        let mut canary = Canary::new(Instant::now());
        canary.check(Some(&Answer::Silence), Instant::now());
        listed(&mut canary, "7");
        assert_eq!(canary.state, State::Dead, "a list proves no watch");
        canary.observe(Event::Apply(lease("8")), Instant::now());
        assert_eq!(canary.state, State::Alive);
        canary.check(Some(&Answer::Silence), Instant::now());
        for event in [Event::Init, Event::InitDone] {
            canary.observe(event, Instant::now());
        }
        assert_eq!(canary.state, State::Alive, "without controllers no event can come");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_watch_is_found_within_nine_seconds() {
        let start = Instant::now();
        let mut canary = Canary::new(start);
        canary.observe(Event::Apply(lease("1")), start);
        let answered = canary.next_check() + LIST_TIMEOUT;
        canary.check(Some(&leases("2")), answered);
        assert_eq!((canary.state, canary.next_check() - start), (State::Overdue, Duration::from_secs(9)));
    }
}
