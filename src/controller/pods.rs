//! Watches the Pods of the gateways for containers that have ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use crate::cluster::{Guarded, watch};
use crate::lifecycle::{Container, FailureDetector};

/// The name of the gateway's container in its Pod.
const GATEWAY_CONTAINER: &str = "gateway";

/// Keeps the observer's view of Pods up to date, for as long as it is polled.
pub async fn follow(client: Client, namespace: &str, observer: &Arc<Mutex<FailureDetector>>) {
    let mut events =
        std::pin::pin!(watch(Api::<Guarded<Pod>>::namespaced(client, namespace), watcher::Config::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => drop(listed.insert(pod.uid().unwrap_or_default(), container(&pod))),
            Event::InitDone => observer.pods().list(std::mem::take(&mut listed)),
            Event::Apply(pod) => observer.pods().changed(&pod.uid().unwrap_or_default(), container(&pod)),
            Event::Delete(pod) => observer.pods().gone(&pod.uid().unwrap_or_default()),
        }
    }
}

/// How the gateway's container in a Pod is. Of a Pod that cannot be read only its existence is known.
fn container(pod: &Guarded<Pod>) -> Container {
    let Some(status) = pod.0.as_ref().ok().and_then(|pod| pod.status.as_ref()) else { return Container::Unknown };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Container::Over;
    }
    let mut containers = status.container_statuses.iter().flatten();
    let Some(gateway) = containers.find(|container| container.name == GATEWAY_CONTAINER) else {
        return Container::Unknown;
    };
    let times = [gateway.state.as_ref(), gateway.last_state.as_ref()].map(|state| state.and_then(renewal));
    times.into_iter().flatten().max().map_or(Container::Unknown, Container::NothingBefore)
}

/// When a container in this state was started, or ended.
fn renewal(state: &ContainerState) -> Option<Timestamp> {
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

    fn since(time: &str) -> Container {
        Container::NothingBefore(time.parse().unwrap())
    }

    #[rstest]
    #[case::running(&gateway(&json!({ "running": { "startedAt": THEN } }), &json!({})), since(THEN))]
    #[case::ended(&gateway(&json!({ "terminated": { "exitCode": 137, "finishedAt": LATER } }), &json!({})), since(LATER))]
    #[case::waiting_to_be_started_again(
        &gateway(&json!({ "waiting": {} }), &json!({ "terminated": { "exitCode": 1, "finishedAt": LATER } })),
        since(LATER)
    )]
    #[case::waiting_for_the_first_time(&gateway(&json!({ "waiting": {} }), &json!({})), Container::Unknown)]
    #[case::failed(&json!({ "phase": "Failed" }), Container::Over)]
    #[case::without_a_status(&json!({}), Container::Unknown)]
    #[case::that_cannot_be_read(&json!({ "phase": "Failed", "startTime": "9999-12-31T23:59:59Z" }), Container::Unknown)]
    fn a_container(#[case] status: &Value, #[case] expected: Container) {
        let pod: Guarded<Pod> =
            serde_json::from_value(json!({ "metadata": { "uid": "u" }, "status": status })).unwrap();
        assert_eq!(container(&pod), expected);
    }
}
