//! Sessions for tests.

use serde_json::{Value, json};

use crate::api::{AUDIT_FINALIZER, BastionSession};

/// Returns an active session.
pub fn active(uid: &str) -> BastionSession {
    session(uid, json!({ "phase": "Active" }))
}

/// Returns a session that its user closed.
pub fn ended(uid: &str) -> BastionSession {
    let end = "2026-01-02T04:04:05.250000Z";
    session(
        uid,
        json!({ "phase": "Closed", "reason": "UserExit", "message": "the user left", "endTime": end,
        "observedBy": "Gateway", "exitCode": 3, "bytesIn": 10, "bytesOut": 20 }),
    )
}

/// Returns a session with a status.
pub fn session(uid: &str, status: Value) -> BastionSession {
    let mut object = json!({
        "apiVersion": "bastion.dev/v1alpha1",
        "kind": "BastionSession",
        "metadata": {
            "name": format!("alice-web-1-{uid}"), "namespace": "bastion-system", "uid": uid, "resourceVersion": "7",
            "finalizers": [AUDIT_FINALIZER],
            "managedFields": [
                { "manager": "gateway", "operation": "Update", "time": "2026-01-02T03:04:06Z" },
                { "manager": "gateway", "operation": "Update", "subresource": "status", "time": "2026-01-02T04:04:06Z" },
                { "manager": "kubectl", "operation": "Update" },
            ],
        },
        "spec": {
            "user": { "name": "alice", "subject": "bastion:alice", "groups": ["ops", "a \"b\""] },
            "target": "web-1",
            "login": "root",
            "protocol": "SSH",
            "client": { "address": "192.0.2.7", "port": 50022, "software": "SSH-2.0-OpenSSH_9.2" },
            "gateway": { "name": "bastion-gateway-0", "instance": "bastion-gateway-0-abcdefghij" },
            "startTime": "2026-01-02T03:04:05.000000Z",
        },
    });
    object["status"] = status;
    serde_json::from_value(object).unwrap()
}
