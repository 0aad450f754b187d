//! An instance's Lease against a scripted API server: renewal, conflict, lost answer, deletion, loss.

use kube::Client;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::cluster::scripted_api::{Answer, ScriptedApi};

const INSTANCE: &str = "gateway-0-abcdefghij";

/// A Lease of this holder, in this version.
fn lease_of(holder: &str, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": INSTANCE, "namespace": "bastion", "resourceVersion": version, "labels": { "a": "b" } },
        "spec": { "holderIdentity": holder, "acquireTime": "2026-01-01T10:00:00.000000Z" },
    })
}

fn held(version: &str) -> Answer {
    Answer::Object(lease_of(INSTANCE, version))
}

fn lost() -> Answer {
    Answer::Object(lease_of(LOST_HOLDER, "9"))
}

fn api(client: Client) -> Api<LenientLease> {
    Api::namespaced(client, "bastion")
}

/// The outcome in a word, or the status code of the API server's answer.
fn outcome<T>(result: &Result<T, LeaseError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(LeaseError::Lost) => "lost".to_owned(),
        Err(LeaseError::Timeout) => "timeout".to_owned(),
        Err(LeaseError::Kube(error)) => code(error).map_or("unreachable".to_owned(), |code| code.to_string()),
    }
}

fn requests(api: &ScriptedApi) -> Vec<String> {
    api.summaries().iter().map(|it| it.replace(INSTANCE, "LEASE")).collect()
}

#[rstest]
#[case::created(&[held("1")], "ok", &["POST leases"])]
#[case::an_earlier_attempt_created_it(&[Answer::AlreadyExists, held("1")], "ok", &["POST leases", "GET LEASE"])]
#[case::lost_before_it_began(&[Answer::AlreadyExists, lost()], "lost", &["POST leases", "GET LEASE"])]
#[case::refused(&[Answer::Status(403)], "403", &["POST leases"])]
#[case::silent(&[Answer::Silence], "timeout", &["POST leases"])]
#[tokio::test(start_paused = true)]
async fn each_answer_to_the_first_write(#[case] answers: &[Answer], #[case] expected: &str, #[case] sent: &[&str]) {
    let scripted = ScriptedApi::new(answers.to_vec());
    let annotations = [("key".to_owned(), "value".to_owned())].into();
    let acquired = InstanceLease::acquire(api(scripted.client()), INSTANCE, LEASE_OF_GATEWAY, annotations).await;
    assert_eq!(
        (outcome(&acquired), requests(&scripted)),
        (expected.to_owned(), sent.iter().map(|it| (*it).to_owned()).collect())
    );
    let written = &scripted.received()[0].body;
    assert_eq!(written["spec"]["holderIdentity"], INSTANCE);
    assert_eq!(written["metadata"]["annotations"], json!({ "key": "value" }));
}

/// A Lease in version 1 that was renewed `age` ago, and the API server that gives these answers.
fn renewing(answers: &[Answer], age: std::time::Duration) -> (InstanceLease, ScriptedApi) {
    let scripted = ScriptedApi::new(answers.to_vec());
    let lease = serde_json::from_value(lease_of(INSTANCE, "1")).unwrap();
    let renewed = Instant::now().checked_sub(age).unwrap();
    (InstanceLease { api: api(scripted.client()), lease, renewed }, scripted)
}

#[rstest]
#[case::renewed(&[held("2")], "ok", &["PUT 1"])]
#[case::declared_lost(&[Answer::Status(409), lost()], "lost", &["PUT 1", "GET"])]
#[case::the_answer_to_the_last_renewal_was_lost(
    &[Answer::Status(409), held("2"), held("3")], "ok", &["PUT 1", "GET", "PUT 2"]
)]
#[case::deleted(&[Answer::Status(404), held("5")], "ok", &["PUT 1", "POST null"])]
#[case::deleted_which_is_a_conflict_too(
    &[Answer::Status(409), Answer::Status(404), held("5")], "ok", &["PUT 1", "GET", "POST null"]
)]
#[case::deleted_and_declared_lost(
    &[Answer::Status(404), Answer::AlreadyExists, lost()], "lost", &["PUT 1", "POST null", "GET"]
)]
#[case::deleted_and_recreated_without_an_answer(
    &[Answer::Status(404), Answer::AlreadyExists, held("5"), held("6")], "ok", &["PUT 1", "POST null", "GET", "PUT 5"]
)]
#[case::overloaded(&[Answer::Status(503)], "503", &["PUT 1"])]
#[case::silent(&[Answer::Silence], "timeout", &["PUT 1"])]
#[case::silent_after_a_conflict(&[Answer::Status(409), Answer::Silence], "timeout", &["PUT 1", "GET"])]
#[tokio::test(start_paused = true)]
async fn each_answer_to_a_renewal(#[case] answers: &[Answer], #[case] expected: &str, #[case] sent: &[&str]) {
    let (mut lease, scripted) = renewing(answers, std::time::Duration::ZERO);
    let renewed = lease.renew().await;
    let summary = |it: &crate::cluster::scripted_api::Received| match it.method.as_str() {
        "GET" => "GET".to_owned(),
        method => format!("{method} {}", it.body["metadata"]["resourceVersion"].as_str().unwrap_or("null")),
    };
    let received: Vec<_> = scripted.received().iter().map(summary).collect();
    assert_eq!(
        (outcome(&renewed).as_str(), received.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
        (expected, sent)
    );
    let fresh = lease.renewed.elapsed() < std::time::Duration::from_secs(60);
    assert!(fresh, "a renewal counts from its own beginning");
}

#[rstest]
#[case::deleted(&[Answer::Status(404)], 1)]
#[case::deleted_which_is_a_conflict_too(&[Answer::Status(409), Answer::Status(404)], 2)]
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_after_a_silence_is_lost(#[case] answers: &[Answer], #[case] sent: usize) {
    let (mut lease, scripted) = renewing(answers, MAYBE_LOST_AFTER);
    assert_eq!(outcome(&lease.renew().await), "lost");
    assert_eq!(scripted.received().len(), sent, "it is not created again");
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_leaves_the_time_of_the_last_one() {
    let age = std::time::Duration::from_secs(7);
    for answer in [Answer::Status(503), Answer::Silence] {
        let (mut lease, _) = renewing(&[answer], age);
        lease.renew().await.unwrap_err();
        assert!(lease.renewed.elapsed() >= age);
    }
}

fn suspect(version: Option<&str>) -> Suspect {
    Suspect { instance: INSTANCE.to_owned(), resource_version: version.map(str::to_owned) }
}

#[rstest]
#[case::it_has_no_lease(None, &[lost()], "ok true", &["POST leases"])]
#[case::it_has_a_lease_after_all(None, &[Answer::AlreadyExists], "409", &["POST leases"])]
#[case::unchanged(Some("4"), &[held("4"), lost()], "ok true", &["GET LEASE", "PUT LEASE"])]
#[case::it_was_renewed(Some("4"), &[held("5"), Answer::Status(409)], "409", &["GET LEASE", "PUT LEASE"])]
#[case::another_controller_was_first(Some("4"), &[lost()], "ok false", &["GET LEASE"])]
#[case::silent(Some("4"), &[Answer::Silence], "timeout", &["GET LEASE"])]
#[tokio::test(start_paused = true)]
async fn each_answer_to_a_declaration_of_loss(
    #[case] version: Option<&str>,
    #[case] answers: &[Answer],
    #[case] expected: &str,
    #[case] sent: &[&str],
) {
    let scripted = ScriptedApi::new(answers.to_vec());
    let declared = declare_lost(&api(scripted.client()), &suspect(version)).await;
    let told = declared.as_ref().map_or_else(|_| outcome(&declared), |own| format!("ok {own}"));
    assert_eq!(
        (told.as_str(), requests(&scripted).iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
        (expected, sent)
    );
    if let Some(write) = scripted.received().iter().find(|it| it.method != "GET") {
        assert_eq!(write.body["spec"]["holderIdentity"], LOST_HOLDER);
        assert_eq!(write.body["metadata"]["resourceVersion"].as_str(), version, "it is a compare-and-swap");
    }
}

#[rstest]
#[case::unchanged(&[held("4"), held("5")], "ok", &["GET LEASE", "PUT LEASE"])]
#[case::lost(&[lost()], "lost", &["GET LEASE"])]
#[case::changed(&[held("5"), Answer::Status(409)], "409", &["GET LEASE", "PUT LEASE"])]
#[tokio::test(start_paused = true)]
async fn each_answer_to_a_vouching(#[case] answers: &[Answer], #[case] expected: &str, #[case] sent: &[&str]) {
    let scripted = ScriptedApi::new(answers.to_vec());
    let vouched = vouch(&api(scripted.client()), &suspect(Some("4"))).await;
    assert_eq!(
        (outcome(&vouched).as_str(), requests(&scripted).iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
        (expected, sent)
    );
    if let Some(write) = scripted.received().iter().find(|it| it.method == "PUT") {
        assert_eq!(write.body["metadata"]["resourceVersion"], "4");
        assert!(write.body["metadata"]["annotations"][VOUCHED_ANNOTATION].is_string());
        assert_eq!(write.body["spec"]["holderIdentity"], INSTANCE, "the holder stays");
    }
}
