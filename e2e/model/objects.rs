//! The objects that the product's functions are asked about.

use std::sync::LazyLock;

use bastion_operator::api::BastionSession;
use bastion_operator::lifecycle::GatewayContainer;
use jiff::Timestamp;
use serde_json::json;

use crate::world::Pod;

const NAMES: [&str; 2] = ["gw-0", "gw-1"];

/// By gateway: the session while it is Active, and after its end.
static SESSIONS: LazyLock<Vec<[BastionSession; 2]>> = LazyLock::new(|| {
    let both = |instance| Some([build(instance, "Active")?, build(instance, "Timeout")?]);
    NAMES.iter().filter_map(|name| both(name)).collect()
});

/// The name of a gateway's instance and Lease.
pub fn name(g: usize) -> &'static str {
    NAMES[g]
}

/// The uid of its Pod.
pub fn pod(g: usize) -> &'static str {
    ["pod-0", "pod-1"][g]
}

/// When gateways make their Leases.
pub fn acquired() -> Option<Timestamp> {
    Timestamp::from_second(1).ok()
}

/// What a Pod tells of its container.
pub fn container(pod: Pod) -> GatewayContainer {
    let at =
        |second, state: fn(Timestamp) -> _| Timestamp::from_second(second).map_or(GatewayContainer::Unknown, state);
    match pod {
        Pod::Runs => at(0, GatewayContainer::Running),
        Pod::Ended => at(2, GatewayContainer::Ended),
        Pod::Gone => GatewayContainer::Terminated,
    }
}

/// The gateway with this name.
pub fn index(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// The session of gateway `g`.
pub fn session(g: usize, ended: bool) -> &'static BastionSession {
    &SESSIONS[g][usize::from(ended)]
}

fn build(instance: &str, phase: &str) -> Option<BastionSession> {
    serde_json::from_value(json!({
        "apiVersion": "bastion.dev/v1alpha1",
        "kind": "BastionSession",
        "metadata": { "name": format!("alice-web-1-{instance}") },
        "spec": {
            "user": { "name": "alice", "subject": "bastion:alice" },
            "target": "web-1",
            "login": "root",
            "protocol": "SSH",
            "client": { "address": "192.0.2.7", "port": 50022 },
            "gateway": { "name": instance, "instance": instance },
            "startTime": "2027-01-01T00:00:00.000000Z",
        },
        "status": { "phase": phase },
    }))
    .ok()
}
