//! Watches the gateways' Pods for containers that have ended.

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use super::shared_detector::SharedDetector;
use crate::clock;
use crate::cluster::{self, Guarded};
use crate::lifecycle::GatewayContainer;

/// The gateway's container in its Pod.
const GATEWAY_CONTAINER: &str = "gateway";

/// Feeds the watch of Pods into the failure detector. Never returns.
pub async fn watch(client: Client, namespace: &str, detector: &SharedDetector) {
    let pods = Api::<Guarded<Pod>>::namespaced(client, namespace);
    let mut events = std::pin::pin!(cluster::watch(pods, watcher::Config::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let (mut detector, now) = (detector.lock(), clock::now());
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => drop(listed.insert(pod.uid().unwrap_or_default(), container(&pod))),
            Event::InitDone => detector.pods().replace_all(std::mem::take(&mut listed), now),
            Event::Apply(pod) => detector.pods().update(&pod.uid().unwrap_or_default(), container(&pod), now),
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
    let ended = gateway.state.iter().chain(&gateway.last_state).filter_map(ended_at).max();
    match (gateway.state.as_ref().and_then(running_since), ended) {
        // A clock that was set back shows the earlier container to have ended after this one started.
        (Some(started), ended) => GatewayContainer::Running(ended.map_or(started, |ended| ended.max(started))),
        (None, Some(ended)) => GatewayContainer::Ended(ended),
        (None, None) => GatewayContainer::Unknown,
    }
}

fn running_since(state: &ContainerState) -> Option<Timestamp> {
    time(state.running.as_ref()?.started_at.as_ref())
}

fn ended_at(state: &ContainerState) -> Option<Timestamp> {
    time(state.terminated.as_ref()?.finished_at.as_ref())
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
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

    fn running(since: &str) -> GatewayContainer {
        GatewayContainer::Running(since.parse().unwrap())
    }

    fn ended(at: &str) -> GatewayContainer {
        GatewayContainer::Ended(at.parse().unwrap())
    }

    #[rstest]
    #[case::running(&gateway(&json!({ "running": { "startedAt": THEN } }), &json!({})), running(THEN))]
    #[case::ended(&gateway(&json!({ "terminated": { "exitCode": 137, "finishedAt": LATER } }), &json!({})), ended(LATER))]
    #[case::waiting_to_restart(
        &gateway(&json!({ "waiting": {} }), &json!({ "terminated": { "exitCode": 1, "finishedAt": LATER } })),
        ended(LATER)
    )]
    #[case::restarted(
        &gateway(&json!({ "running": { "startedAt": LATER } }), &json!({ "terminated": { "exitCode": 1, "finishedAt": THEN } })),
        running(LATER)
    )]
    #[case::restarted_by_a_clock_that_was_set_back(
        &gateway(&json!({ "running": { "startedAt": THEN } }), &json!({ "terminated": { "exitCode": 1, "finishedAt": LATER } })),
        running(LATER)
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
