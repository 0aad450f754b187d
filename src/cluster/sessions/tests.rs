//! Tests how sessions are created, and the table "How an end is written" of docs/architecture.md, against a scripted API
//! server.

use jiff::Timestamp;
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::ObservedBy;
use crate::cluster::scripted_api::{Answer, ScriptedApi};
use crate::lifecycle::Cause;

const NAME: &str = "alice-web-1-abcdefgh";

fn session_of(instance: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "bastion.dev/v1alpha1", "kind": "BastionSession",
        "metadata": { "name": NAME, "namespace": "bastion", "uid": "1", "resourceVersion": "7" },
        "spec": {
            "user": { "name": "alice", "subject": "bastion:alice" }, "target": "web-1", "login": "root", "protocol": "SSH",
            "client": { "address": "192.0.2.7", "port": 40000 },
            "gateway": { "name": "gateway-0", "instance": instance },
            "startTime": "2026-01-01T10:00:00.000000Z",
        },
        "status": { "phase": phase },
    })
}

fn session(phase: &str) -> Answer {
    Answer::Object(session_of("gateway-0-abcdefghij", phase))
}

/// A session whose start this program cannot read.
fn unreadable(phase: &str) -> Answer {
    let mut session = session_of("gateway-0-abcdefghij", phase);
    session["spec"]["startTime"] = json!("2026-01-01T10:00:00+99:00");
    Answer::Object(session)
}

fn end() -> End {
    let start: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
    let seen = "2026-01-01T10:05:00Z".parse().unwrap();
    End::inferred(Cause::GatewayLost, ObservedBy::Controller, start, Some(seen))
}

/// A writer, the API server that it writes to, and the API server that takes its Events.
struct Scripted {
    api: ScriptedApi,
    events: ScriptedApi,
    writer: SessionWriter,
}

impl Scripted {
    fn new(answers: &[Answer]) -> Self {
        let (api, events) = (ScriptedApi::new(answers.to_vec()), ScriptedApi::new([Answer::Status(500)]));
        let (sink, publishing) = EventSink::new(events.client(), "test", "pod-0", CancellationToken::new());
        tokio::spawn(publishing);
        Self { writer: SessionWriter::new(api.client(), "bastion", "test", sink), api, events }
    }

    /// Returns the reason of the Event that was raised within a second, if one was.
    async fn event_reason(&self) -> Option<String> {
        sleep(Duration::from_secs(1)).await;
        self.events.received().first().and_then(|it| it.body["reason"].as_str().map(str::to_owned))
    }
}

#[rstest]
#[case::accepted(&[session("Timeout")], Some(EndOutcome::Written), &["PATCH status"])]
#[case::another_writer_was_first(
    &[Answer::Status(422), session("Closed")], Some(EndOutcome::AlreadyFinal), &["PATCH status", "GET NAME"]
)]
#[case::another_writer_ended_a_session_that_cannot_be_read(
    &[Answer::Status(422), unreadable("Closed")], Some(EndOutcome::AlreadyFinal), &["PATCH status", "GET NAME"]
)]
#[case::a_detail_is_at_fault(
    &[Answer::Status(422), session("Active"), session("Timeout")],
    Some(EndOutcome::Written), &["PATCH status", "GET NAME", "PATCH status"]
)]
#[case::deleted_after_the_refusal(
    &[Answer::Status(422), Answer::Status(404)], Some(EndOutcome::Gone), &["PATCH status", "GET NAME"]
)]
#[case::gone(&[Answer::Status(404)], Some(EndOutcome::Gone), &["PATCH status"])]
#[case::changed(&[Answer::Status(409)], None, &["PATCH status"])]
#[case::forbidden(&[Answer::Status(403)], None, &["PATCH status"])]
#[case::overloaded(&[Answer::Status(503)], None, &["PATCH status"])]
#[case::silent(&[Answer::Silence], None, &["PATCH status"])]
#[tokio::test(start_paused = true)]
async fn each_answer_to_an_end(
    #[case] answers: &[Answer],
    #[case] ended: Option<EndOutcome>,
    #[case] requests: &[&str],
) {
    let scripted = Scripted::new(answers);
    let outcome = scripted.writer.end(&scripted.writer.reference(NAME), &end()).await;
    assert_eq!(outcome.ok(), ended);
    let requests: Vec<_> = requests.iter().map(|it| it.replace("NAME", NAME)).collect();
    assert_eq!(scripted.api.summaries(), requests);
    let raised = (ended == Some(EndOutcome::Written)).then(|| "GatewayLost".to_owned());
    assert_eq!(
        scripted.event_reason().await,
        raised,
        "the writer of an end raises its Event, and no other writer does"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_without_details_has_phase_reason_and_time() {
    let scripted = Scripted::new(&[Answer::Status(422), session("Active"), session("Timeout")]);
    scripted.writer.end(&scripted.writer.reference(NAME), &end()).await.unwrap();
    let requests = scripted.api.received();
    assert_eq!(requests[0].body["status"]["message"], json!(end().cause.message()));
    let status = json!({ "phase": "Timeout", "reason": "GatewayLost", "endTime": "2026-01-01T10:05:00.000000Z" });
    assert_eq!(requests[2].body, json!({ "status": status }));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_controller_names_the_version_that_it_saw() {
    let scripted = Scripted::new(&[Answer::Status(409)]);
    let outcome = scripted.writer.end_if_unchanged(&scripted.writer.reference(NAME), "7", &end()).await;
    assert_eq!(outcome.map_err(|error| error.label()), Err("conflict"));
    assert_eq!(scripted.api.received()[0].body["metadata"], json!({ "resourceVersion": "7" }));
}

#[rstest]
#[case::forbidden(Answer::Status(403))]
#[case::overloaded(Answer::Status(503))]
#[case::throttled(Answer::Status(429))]
#[case::changed(Answer::Status(409))]
#[case::silent(Answer::Silence)]
#[tokio::test(start_paused = true)]
async fn an_end_is_written_again_until_the_session_has_ended(#[case] failure: Answer) {
    let scripted = Scripted::new(&[failure.clone(), failure.clone(), failure, session("Timeout")]);
    let ended = scripted.writer.end_until_final(&scripted.writer.reference(NAME), &end()).await;
    assert_eq!((ended, scripted.api.received().len()), (EndOutcome::Written, 4));
}

/// Returns what became of a create, in a word.
fn outcome(created: &CreateOutcome) -> &'static str {
    match created {
        CreateOutcome::Session(_) => "session",
        CreateOutcome::Refused(_) => "refused",
        CreateOutcome::Unknown(_) => "unknown",
    }
}

#[rstest]
#[case::created(&[session("Active")], "session", 1)]
#[case::refused(&[Answer::Status(403)], "refused", 1)]
#[case::created_after_overload(&[Answer::Status(503), Answer::Status(429), session("Active")], "session", 3)]
#[case::refused_after_an_error(&[Answer::Status(503), Answer::Status(403)], "unknown", 2)]
#[case::created_by_an_earlier_attempt(&[Answer::Status(500), Answer::AlreadyExists, session("Active")], "session", 3)]
#[case::the_earlier_attempt_has_ended(&[Answer::AlreadyExists, session("Closed")], "refused", 2)]
#[case::the_name_belongs_to_another_instance(
    &[Answer::AlreadyExists, Answer::Object(session_of("gateway-1-klmnopqrst", "Active"))], "refused", 2
)]
#[case::the_existing_session_cannot_be_read(&[Answer::AlreadyExists, Answer::Status(503)], "unknown", 2)]
#[case::a_conflict_on_the_quota(&[Answer::Status(409), session("Active")], "session", 2)]
#[case::silent(&[Answer::Silence], "unknown", 2)]
#[tokio::test(start_paused = true)]
async fn each_answer_to_a_create(#[case] answers: &[Answer], #[case] expected: &str, #[case] requests: usize) {
    let scripted = Scripted::new(answers);
    let object = serde_json::from_value(session_of("gateway-0-abcdefghij", "Active")).unwrap();
    let created = scripted.writer.create(&object, || true).await;
    assert_eq!((outcome(&created), scripted.api.received().len()), (expected, requests));
    assert_eq!(scripted.event_reason().await, (expected == "session").then(|| "Started".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn thousands_of_ends_send_a_bounded_number_of_requests_and_leave_room_to_create_sessions() {
    let scripted = Scripted::new(&[Answer::Silence]);
    for _ in 0..2000 {
        let writer = scripted.writer.clone();
        tokio::spawn(async move { writer.end_until_final(&writer.reference(NAME), &end()).await });
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scripted.api.received().len(), MAX_CONCURRENT_ENDS);
    for _ in 0..2000 {
        let writer = scripted.writer.clone();
        let object = serde_json::from_value(session_of("gateway-0-abcdefghij", "Active")).unwrap();
        tokio::spawn(async move { writer.create(&object, || true).await });
    }
    sleep(Duration::from_secs(1)).await;
    let creates = scripted.api.received().iter().filter(|it| it.method == "POST").count();
    assert_eq!(creates, MAX_CONCURRENT_CREATES);
    assert_eq!(MAX_CONCURRENT_ENDS + MAX_CONCURRENT_CREATES, 64);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_no_longer_wanted_is_not_created_a_second_time() {
    let scripted = Scripted::new(&[Answer::Status(503), session("Active")]);
    let object = serde_json::from_value(session_of("gateway-0-abcdefghij", "Active")).unwrap();
    let created = scripted.writer.create(&object, || false).await;
    assert_eq!((outcome(&created), scripted.api.received().len()), ("unknown", 1));
}
