//! Sample objects for the plugin's tests.

use jiff::Timestamp;
use serde_json::json;

use crate::api::BastionSession;

/// Returns the time this many seconds after the start of every sample session.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Returns an open session of alice on web-1.
pub fn active(name: &str) -> BastionSession {
    serde_json::from_value(json!({
        "apiVersion": "bastion.dev/v1alpha1", "kind": "BastionSession",
        "metadata": {"name": name, "namespace": "bastion-system", "uid": format!("uid-of-{name}"),
            "finalizers": ["bastion.dev/audit"]},
        "spec": {"user": {"name": "alice", "subject": "bastion:alice"}, "target": "web-1", "login": "root",
            "protocol": "SSH", "client": {"address": "192.0.2.7", "port": 40000},
            "gateway": {"name": "gateway-0", "instance": "gateway-0-abcdefghij"}, "startTime": at(0).to_string()},
        "status": {"phase": "Active"},
    }))
    .unwrap()
}

/// Returns the session of [`active`], ended by `exit` after 90 seconds, with its audit finalizer.
pub fn ended(name: &str) -> BastionSession {
    let mut session = active(name);
    session.status = serde_json::from_value(json!({"phase": "Closed", "reason": "UserExit",
        "message": "the command ended with exit status 0", "endTime": at(90).to_string(), "observedBy": "Gateway",
        "exitCode": 0, "bytesIn": 120, "bytesOut": 34_567}))
    .unwrap();
    session
}
