//! Publishes Events about sessions and users, through a bounded queue and at a bounded rate.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{REQUEST_TIMEOUT, with_retries};
use crate::api::{BastionSession, Phase};
use crate::lifecycle::End;
use crate::metrics::METRICS;
use crate::tasks::ticks;
use crate::text::printable;

/// The most Events that wait to be published. Further Events are dropped, so that they never delay the end of a session.
const QUEUE_LENGTH: usize = 4096;
/// The shortest time between two Events of one program: at most 50 a second.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// The longest note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// Sender to the queue of Events. Cloning it is cheap.
#[derive(Clone)]
pub struct EventSink {
    queue: Sender<(Event, ObjectReference)>,
}

/// Returns the reference to `session` for an Event's `regarding` field.
pub fn regarding(session: &BastionSession) -> ObjectReference {
    session.object_ref(&())
}

impl EventSink {
    /// Creates a sink, and the task that publishes its Events until `stop` is cancelled and the queue is empty.
    pub fn new(
        client: Client,
        program: &str,
        pod: &str,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, events) = channel(QUEUE_LENGTH);
        let reporter = Reporter { controller: program.to_owned(), instance: Some(pod.to_owned()) };
        (Self { queue }, publish(Recorder::new(client, reporter), events, stop))
    }

    /// Publishes that a session has started.
    pub fn started(&self, session: &BastionSession) {
        let spec = &session.spec;
        let note = format!(
            "{} signed in to {} as {} from {} port {}",
            spec.user.name, spec.target, spec.login, spec.client.address, spec.client.port
        );
        self.send(event(EventType::Normal, "Started", "Start", &note), regarding(session));
    }

    /// Publishes that a session has ended, with the reason and message of the end.
    pub fn ended(&self, session: ObjectReference, end: &End) {
        let kind = if end.phase() == Phase::Closed { EventType::Normal } else { EventType::Warning };
        self.send(event(kind, end.cause.reason().as_str(), "End", &end.cause.message()), session);
    }

    /// Publishes that `user` has opened the recordings of a session.
    pub fn recordings_opened(&self, session: ObjectReference, user: &str) {
        let note = format!("{user} has opened its recordings");
        self.send(event(EventType::Normal, "RecordingsOpened", "Play", &note), session);
    }

    /// Publishes that `observer` watches a live session.
    pub fn followed(&self, session: ObjectReference, observer: &str) {
        self.send(event(EventType::Normal, "Followed", "Follow", &format!("{observer} is watching it")), session);
    }

    /// Publishes that a sign-in or session of `user` from the address `client` was refused.
    pub fn sign_in_refused(&self, user: ObjectReference, client: &str, why: &str) {
        self.send(event(EventType::Warning, "SignInRefused", "SignIn", &format!("from {client}: {why}")), user);
    }

    /// Publishes that this program cannot read an object, with the error.
    pub fn unreadable(&self, object: ObjectReference, error: &str) {
        let note = format!("this program cannot read the object and ignores it until it changes: {error}");
        self.send(event(EventType::Warning, "Unreadable", "Read", &note), object);
    }

    fn send(&self, event: Event, regarding: ObjectReference) {
        let session = session_name(&regarding).map(str::to_owned);
        if let Err(error) = self.queue.try_send((event, regarding)) {
            METRICS.events_dropped.inc();
            warn!(session, %error, "Event dropped");
        }
    }
}

/// Returns the name of the object that an Event is about, if it is a session.
fn session_name(regarding: &ObjectReference) -> Option<&str> {
    let of_session = regarding.kind.as_deref() == Some(BastionSession::kind(&()).as_ref());
    regarding.name.as_deref().filter(|_| of_session)
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let mut note = printable(note);
    note.truncate(note.floor_char_boundary(MAX_NOTE));
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

async fn publish(recorder: Recorder, mut events: Receiver<(Event, ObjectReference)>, stop: CancellationToken) {
    let mut pace = ticks(PUBLISH_INTERVAL);
    loop {
        let next = tokio::select! {
            biased;
            next = events.recv() => next,
            () = stop.cancelled() => None,
        };
        let Some((event, regarding)) = next else { return };
        let published = with_retries(REQUEST_TIMEOUT, || recorder.publish(&event, &regarding)).await;
        if let Err(error) = published {
            METRICS.events_dropped.inc();
            let (session, kind) = (session_name(&regarding), regarding.kind.as_deref());
            warn!(session, kind, %error, reason = event.reason, "Event not published; dropping it");
        }
        pace.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::cluster::scripted_api::{Answer, ScriptedApi};

    #[tokio::test(start_paused = true)]
    async fn thousands_of_events_are_one_request_at_a_time() {
        let api = ScriptedApi::new([Answer::Silence]);
        let (events, publishing) = EventSink::new(api.client(), "test", "pod-0", CancellationToken::new());
        tokio::spawn(publishing);
        for _ in 0..2 * QUEUE_LENGTH {
            events.sign_in_refused(ObjectReference::default(), "192.0.2.7", "wrong key");
        }
        sleep(REQUEST_TIMEOUT / 2).await;
        assert_eq!(api.received().len(), 1);
        sleep(REQUEST_TIMEOUT).await;
        assert_eq!(api.received().len(), 2);
    }

    #[test]
    fn a_note_is_one_printable_line_that_the_api_server_accepts() {
        let note = event(EventType::Normal, "Ended", "End", &format!("\u{1b}[2J{}", "因".repeat(1024))).note.unwrap();
        assert!(note.starts_with("[2J因") && note.len() <= MAX_NOTE, "{} bytes: {note}", note.len());
    }
}
