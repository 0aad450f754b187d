//! Watches the gateways' Pods for containers that have ended.

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use super::shared_detector::SharedDetector;
use crate::cluster::{self, Guarded};
use crate::lifecycle::GatewayContainer;

/// The gateway's container in its Pod.
const GATEWAY_CONTAINER: &str = "gateway";

/// Feeds the watch of Pods into the failure detector, without end.
pub async fn watch(client: Client, namespace: &str, detector: &SharedDetector) {
    let pods = Api::<Guarded<Pod>>::namespaced(client, namespace);
    let mut events = std::pin::pin!(cluster::watch(pods, watcher::Config::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let mut detector = detector.lock();
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => drop(listed.insert(pod.uid().unwrap_or_default(), container(&pod))),
            Event::InitDone => detector.pods().replace_all(std::mem::take(&mut listed)),
            Event::Apply(pod) => detector.pods().update(&pod.uid().unwrap_or_default(), container(&pod)),
            Event::Delete(pod) => detector.pods().remove(&pod.uid().unwrap_or_default()),
        }
    }
}

/// Returns the state of the gateway's container in a Pod; `Unknown` for an unreadable Pod.
fn container(pod: &Guarded<Pod>) -> GatewayContainer {
    let Some(status) = pod.0.as_ref().ok().and_then(|pod| pod.status.as_ref()) else {
        return GatewayContainer::Unknown;
    };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return GatewayContainer::Terminated;
    }
    let mut containers = status.container_statuses.iter().flatten();
    let Some(gateway) = containers.find(|container| container.name == GATEWAY_CONTAINER) else {
        return GatewayContainer::Unknown;
    };
    let times = [gateway.state.as_ref(), gateway.last_state.as_ref()].map(|state| state.and_then(last_transition));
    times.into_iter().flatten().max().map_or(GatewayContainer::Unknown, GatewayContainer::DeadBefore)
}

/// Returns when a container in this state started, or ended.
fn last_transition(state: &ContainerState) -> Option<Timestamp> {
    let started = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ended = state.terminated.as_ref().and_then(|terminated| terminated.finished_at.as_ref());
    started.or(ended).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const THEN: &str = "2026-01-02T03:04:05Z";
    const LATER: &str = "2026-01-02T03:05:00Z";

    fn gateway(state: &Value, last: &Value) -> Value {
        let status = |name: &str, state: &Value, last: &Value| json!({ "name": name, "state": state, "lastState": last, "image": "", "imageID": "", "ready": true, "restartCount": 0 });
        let sidecar = status("sidecar", &json!({ "terminated": { "exitCode": 0, "finishedAt": LATER } }), &json!({}));
        json!({ "phase": "Running", "containerStatuses": [sidecar, status("gateway", state, last)] })
    }

    fn since(time: &str) -> GatewayContainer {
        GatewayContainer::DeadBefore(time.parse().unwrap())
    }

    #[rstest]
    #[case::running(&gateway(&json!({ "running": { "startedAt": THEN } }), &json!({})), since(THEN))]
    #[case::ended(&gateway(&json!({ "terminated": { "exitCode": 137, "finishedAt": LATER } }), &json!({})), since(LATER))]
    #[case::waiting_to_restart(
        &gateway(&json!({ "waiting": {} }), &json!({ "terminated": { "exitCode": 1, "finishedAt": LATER } })),
        since(LATER)
    )]
    #[case::waiting_for_first_start(&gateway(&json!({ "waiting": {} }), &json!({})), GatewayContainer::Unknown)]
    #[case::failed(&json!({ "phase": "Failed" }), GatewayContainer::Terminated)]
    #[case::without_a_status(&json!({}), GatewayContainer::Unknown)]
    #[case::unreadable(&json!({ "phase": "Failed", "startTime": "9999-12-31T23:59:59Z" }), GatewayContainer::Unknown)]
    fn the_pod_status_gives_the_container_state(#[case] status: &Value, #[case] expected: GatewayContainer) {
        let pod: Guarded<Pod> =
            serde_json::from_value(json!({ "metadata": { "uid": "u" }, "status": status })).unwrap();
        assert_eq!(container(&pod), expected);
    }
}
