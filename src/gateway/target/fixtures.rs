//! Keys, targets and requests for tests.

use std::sync::Arc;

use kube::api::ObjectMeta;
use russh::keys::ssh_key::{Algorithm, PrivateKey};
use serde_json::json;

use super::request::DialRequest;
use crate::api::{BastionTarget, BastionTargetSpec, BastionUser, BastionUserSpec};
use crate::memory_budget::MEMORY_BUDGET;

/// Returns a new Ed25519 key.
pub fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

/// Returns a target named `sample` with this address and these host keys.
pub fn target(address: &str, host_keys: &[String]) -> BastionTarget {
    let spec = json!({"address": address, "hostKeys": host_keys, "logins": ["root"],
        "credentials": {"privateKey": {"name": "key"}}});
    let spec: BastionTargetSpec = serde_json::from_value(spec).unwrap();
    BastionTarget {
        metadata: ObjectMeta { name: Some("sample".to_owned()), ..ObjectMeta::default() },
        spec,
        status: None,
    }
}

/// Returns a request for a session of the user `alice` with such a target.
pub fn request() -> DialRequest {
    let spec: BastionUserSpec = serde_json::from_value(json!({})).unwrap();
    DialRequest {
        session: "alice-sample-abcdefgh".into(),
        user: Arc::new(BastionUser::new("alice", spec)),
        target: Arc::new(target("web-1.example.com", &[])),
        login: "root".to_owned(),
        incoming: tokio::sync::mpsc::channel(1).0,
        memory: MEMORY_BUDGET.of_user("alice"),
    }
}
