//! Objects of the bastion's API, as JSON, so that tests can also make wrong ones.

use serde_json::{Value, json};

use crate::namespace::TARGET_SECRET;

/// A BastionUser without keys.
pub fn bastion_user(name: &str) -> Value {
    json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser", "metadata": {"name": name}, "spec": {}})
}

/// A BastionTarget that is nowhere.
pub fn bastion_target(name: &str) -> Value {
    json!({
        "apiVersion": "bastion.dev/v1alpha1",
        "kind": "BastionTarget",
        "metadata": {"name": name},
        "spec": {
            "address": "127.0.0.1",
            "hostKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
            "logins": ["root"],
            "credentials": {"privateKey": {"name": TARGET_SECRET}},
        },
    })
}

/// Puts the fields of one object into another.
pub fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { panic!("two objects are needed") };
    into.extend(from);
}

/// An Active BastionSession as the gateway of this Pod makes them.
pub fn bastion_session(name: &str, pod: &str) -> Value {
    json!({
        "apiVersion": "bastion.dev/v1alpha1",
        "kind": "BastionSession",
        "metadata": {"name": name, "finalizers": ["bastion.dev/audit"]},
        "spec": {
            "user": {"name": "alice", "subject": "bastion:alice"},
            "target": "web-1",
            "login": "root",
            "protocol": "SSH",
            "client": {"address": "127.0.0.1", "port": 40000},
            "gateway": {"name": pod, "instance": format!("{pod}-abcdefghij")},
            "startTime": "2026-01-01T10:00:00.000000Z",
        },
    })
}

/// The status of a session that ended by `exit`.
pub fn ended_status() -> Value {
    json!({"phase": "Closed", "reason": "UserExit", "message": "the user left", "endTime": "2026-01-01T10:05:00.000000Z",
        "observedBy": "Gateway", "exitCode": 0})
}
