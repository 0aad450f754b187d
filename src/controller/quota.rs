//! Writes the first count of sessions into their ResourceQuota.
//!
//! The API server refuses new sessions until the quota's status has a count. kube-controller-manager would write the first
//! count late: it discovers new CRDs after about 30 s, and resyncs quotas only every 5 min. After the first count, the API
//! server and kube-controller-manager keep the count up to date.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::BastionSession;
use crate::cluster::{Guarded, retry_pace};
use crate::metrics::METRICS;

/// The quota's name in deploy/quota.yaml and in the chart.
const NAME: &str = "bastion-sessions";
/// The resource that the quota limits.
const COUNT: &str = "count/bastionsessions.bastion.dev";
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Counts the sessions whenever the quota has no count, until `stop` is cancelled. Does nothing without a quota.
pub async fn run(client: Client, namespace: String, stop: CancellationToken) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &namespace);
    let sessions: Api<Guarded<BastionSession>> = Api::namespaced(client, &namespace);
    let counting = async {
        let watched = watcher::watch_object(quotas.clone(), NAME);
        let mut watched = pin!(watched.backoff(watcher::ExponentialBackoff::from(retry_pace())));
        while let Some(quota) = watched.next().await {
            match quota {
                Ok(Some(quota)) if lacks_count(&quota) => count(&quotas, &sessions, &quota).await,
                Ok(_) => {}
                Err(error) => {
                    METRICS.watch_interruptions.inc();
                    warn!(%error, quota = NAME, "could not watch the quota; retrying");
                }
            }
        }
    };
    stop.run_until_cancelled(counting).await;
}

async fn count(quotas: &Api<ResourceQuota>, sessions: &Api<Guarded<BastionSession>>, quota: &ResourceQuota) {
    loop {
        match try_count(quotas, sessions, quota).await {
            Ok(number) => return info!(quota = NAME, number, "wrote the count of sessions into the quota"),
            // The quota was changed or deleted; the watch delivers that.
            Err(Error::Api(status)) if [404, 409].contains(&status.code) => return,
            Err(error) => {
                METRICS.quota_count_failures.inc();
                warn!(%error, quota = NAME, "could not write the count of sessions into the quota; retrying");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn try_count(
    quotas: &Api<ResourceQuota>,
    sessions: &Api<Guarded<BastionSession>>,
    quota: &ResourceQuota,
) -> Result<i64, Error> {
    // No session is created meanwhile, because the quota refuses it.
    let first = sessions.list(&ListParams::default().limit(1)).await?;
    let more = first.metadata.remaining_item_count.unwrap_or_default();
    let number = if first.items.is_empty() { 0 } else { 1 + more };
    let patch = Patch::Merge(count_patch(quota, number));
    quotas.patch_status(NAME, &PatchParams::default(), &patch).await?;
    Ok(number)
}

/// Returns whether the quota limits sessions and has no count of them.
fn lacks_count(quota: &ResourceQuota) -> bool {
    let Some(status) = &quota.status else { return false };
    let has = |counts: &Option<BTreeMap<String, Quantity>>| counts.as_ref().is_some_and(|it| it.contains_key(COUNT));
    has(&status.hard) && !has(&status.used)
}

/// Returns the merge patch that writes a count. The API server refuses it with 409 if the quota has changed.
fn count_patch(quota: &ResourceQuota, number: i64) -> Value {
    json!({
        "metadata": {"resourceVersion": quota.metadata.resource_version},
        "status": {"used": {COUNT: number.to_string()}},
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::not_in_force(json!({}), false)]
    #[case::without_count(json!({"hard": {COUNT: "9"}}), true)]
    #[case::other_resource_counted(json!({"hard": {COUNT: "9", "pods": "9"}, "used": {"pods": "1"}}), true)]
    #[case::counted(json!({"hard": {COUNT: "9"}, "used": {COUNT: "0"}}), false)]
    #[case::other_resource_limited(json!({"hard": {"pods": "9"}}), false)]
    fn a_quota_in_force_without_a_count_lacks_one(#[case] status: Value, #[case] lacks: bool) {
        let metadata = json!({"name": NAME, "resourceVersion": "7"});
        let quota: ResourceQuota = serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap();
        assert_eq!(lacks_count(&quota), lacks);
        let expected = json!({"metadata": {"resourceVersion": "7"}, "status": {"used": {COUNT: "3"}}});
        assert_eq!(count_patch(&quota, 3), expected);
    }
}
