//! The Lease of an instance against a scripted API server: renewal, conflict, lost answer, deletion, loss.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::api::LEASE_OF_GATEWAY;
use crate::cluster::scripted_api::{Answer, Received, ScriptedApi};
use crate::leases::samples::{INSTANCE, api, held, lease_of, lost, outcome, requests};

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
fn renewing(answers: &[Answer], age: Duration) -> (InstanceLease, ScriptedApi) {
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
    let (mut lease, scripted) = renewing(answers, Duration::ZERO);
    let renewed = lease.renew().await;
    let summary = |it: &Received| match it.method.as_str() {
        "GET" => "GET".to_owned(),
        method => format!("{method} {}", it.body["metadata"]["resourceVersion"].as_str().unwrap_or("null")),
    };
    let received: Vec<_> = scripted.received().iter().map(summary).collect();
    assert_eq!(
        (outcome(&renewed).as_str(), received.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
        (expected, sent)
    );
    let fresh = lease.renewed.elapsed() < Duration::from_mins(1);
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
    let age = Duration::from_secs(7);
    for answer in [Answer::Status(503), Answer::Silence] {
        let (mut lease, _) = renewing(&[answer], age);
        lease.renew().await.unwrap_err();
        assert!(lease.renewed.elapsed() >= age);
    }
}
