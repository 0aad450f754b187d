//! Tests the writes of controllers to Leases against a scripted API server.

use rstest::rstest;

use super::*;
use crate::cluster::scripted_api::{Answer, ScriptedApi};
use crate::leases::samples::{INSTANCE, api, held, lost, outcome, requests};

fn suspect(version: Option<&str>) -> LeaseVersion {
    LeaseVersion { instance: INSTANCE.to_owned(), resource_version: version.map(str::to_owned) }
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
async fn each_answer_to_a_confirmation(#[case] answers: &[Answer], #[case] expected: &str, #[case] sent: &[&str]) {
    let scripted = ScriptedApi::new(answers.to_vec());
    let confirmed = confirm_alive(&api(scripted.client()), &suspect(Some("4"))).await;
    assert_eq!(
        (outcome(&confirmed).as_str(), requests(&scripted).iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
        (expected, sent)
    );
    if let Some(write) = scripted.received().iter().find(|it| it.method == "PUT") {
        assert_eq!(write.body["metadata"]["resourceVersion"], "4");
        assert!(write.body["metadata"]["annotations"][VOUCHED_ANNOTATION].is_string());
        assert_eq!(write.body["spec"]["holderIdentity"], INSTANCE, "the holder stays");
    }
}
