//! Sample data of unit tests.

use std::sync::Arc;

use russh::keys::ssh_key::{Algorithm, PrivateKey};
use serde_json::json;

use crate::gateway::access::Grant;
use crate::gateway::sign_in::{KeyRestrictions, Proof};

/// Returns a grant of `alice` for `root` on `web-1`.
pub fn grant() -> Grant {
    let user = json!({ "metadata": { "name": "alice" }, "spec": {} });
    let target = json!({ "metadata": { "name": "web-1" }, "spec": {
        "address": "192.0.2.1", "hostKeys": [], "logins": ["root"],
        "credentials": { "privateKey": { "name": "web-1" } },
    }});
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    Grant {
        user: Arc::new(object("BastionUser", user)),
        proof: Proof::Key(key.public_key().clone()),
        restrictions: KeyRestrictions::UNRESTRICTED,
        target: Arc::new(object("BastionTarget", target)),
        login: "root".into(),
    }
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, mut object: serde_json::Value) -> K {
    object["apiVersion"] = json!("bastion.dev/v1alpha1");
    object["kind"] = json!(kind);
    serde_json::from_value(object).unwrap()
}
