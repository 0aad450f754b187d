//! Leases and outcomes for unit tests.

use kube::{Api, Client};
use serde_json::{Value, json};

use super::LeaseError;
use crate::api::LOST_HOLDER;
use crate::cluster::scripted_api::{Answer, ScriptedApi};
use crate::cluster::{LenientLease, code};

pub const INSTANCE: &str = "gateway-0-abcdefghij";

/// A Lease of this holder, in this version.
pub fn lease_of(holder: &str, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": INSTANCE, "namespace": "bastion", "resourceVersion": version, "labels": { "a": "b" } },
        "spec": { "holderIdentity": holder, "acquireTime": "2026-01-01T10:00:00.000000Z" },
    })
}

pub fn held(version: &str) -> Answer {
    Answer::Object(lease_of(INSTANCE, version))
}

pub fn lost() -> Answer {
    Answer::Object(lease_of(LOST_HOLDER, "9"))
}

pub fn api(client: Client) -> Api<LenientLease> {
    Api::namespaced(client, "bastion")
}

/// The outcome in a word, or the status code of the API server's answer.
pub fn outcome<T>(result: &Result<T, LeaseError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(LeaseError::Lost) => "lost".to_owned(),
        Err(LeaseError::Timeout) => "timeout".to_owned(),
        Err(LeaseError::Kube(error)) => code(error).map_or("unreachable".to_owned(), |code| code.to_string()),
    }
}

pub fn requests(api: &ScriptedApi) -> Vec<String> {
    api.summaries().iter().map(|it| it.replace(INSTANCE, "LEASE")).collect()
}
