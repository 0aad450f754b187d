//! The first count of sessions for their ResourceQuota. kube-controller-manager counts what it knows when a quota comes; of
//! the CRDs of an installation it hears half a minute later, and then it comes back to the quota only after five. Until there
//! is a count, the API server lets nobody create a session; from then on both of those keep it.

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

/// The quota of deploy/quota.yaml and of the chart.
const NAME: &str = "bastion-sessions";
/// What it limits.
const COUNT: &str = "count/bastionsessions.bastion.dev";
/// Between two attempts to write the count.
const PAUSE: Duration = Duration::from_secs(5);

/// Counts, whenever the quota comes without a count, until `stop` is cancelled. Where there is no quota it does nothing.
pub async fn run(client: Client, namespace: &str, stop: CancellationToken) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let sessions: Api<Guarded<BastionSession>> = Api::namespaced(client, namespace);
    let counting = async {
        let watched = watcher::watch_object(quotas.clone(), NAME);
        let mut seen = pin!(watched.backoff(watcher::ExponentialBackoff::from(retry_pace())));
        while let Some(quota) = seen.next().await {
            match quota {
                Ok(Some(quota)) if lacks_count(&quota) => count(&quotas, &sessions, &quota).await,
                Ok(_) => {}
                Err(error) => {
                    METRICS.watch_interruptions.inc();
                    warn!(%error, quota = NAME, "the quota cannot be watched");
                }
            }
        }
    };
    stop.run_until_cancelled(counting).await;
}

async fn count(quotas: &Api<ResourceQuota>, sessions: &Api<Guarded<BastionSession>>, quota: &ResourceQuota) {
    loop {
        match try_count(quotas, sessions, quota).await {
            Ok(number) => return info!(quota = NAME, number, "counted the sessions for their quota"),
            // Somebody has changed it, or deleted it, and it will be seen.
            Err(Error::Api(status)) if [404, 409].contains(&status.code) => return,
            Err(error) => {
                METRICS.quota_count_failures.inc();
                warn!(%error, quota = NAME, "the sessions cannot be counted for their quota");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn try_count(
    quotas: &Api<ResourceQuota>,
    sessions: &Api<Guarded<BastionSession>>,
    quota: &ResourceQuota,
) -> Result<i64, Error> {
    // None is created meanwhile: the quota does not let it.
    let first = sessions.list(&ListParams::default().limit(1)).await?;
    let more = first.metadata.remaining_item_count.unwrap_or_default();
    let number = if first.items.is_empty() { 0 } else { 1 + more };
    let patch = Patch::Merge(counted(quota, number));
    quotas.patch_status(NAME, &PatchParams::default(), &patch).await?;
    Ok(number)
}

/// Whether the quota is in force for sessions, and nobody has counted them.
fn lacks_count(quota: &ResourceQuota) -> bool {
    let Some(status) = &quota.status else { return false };
    let has = |counts: &Option<BTreeMap<String, Quantity>>| counts.as_ref().is_some_and(|it| it.contains_key(COUNT));
    has(&status.hard) && !has(&status.used)
}

/// The change by which the quota has this count, if it is still the same.
fn counted(quota: &ResourceQuota, number: i64) -> Value {
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
    #[case::in_force_and_not_counted(json!({"hard": {COUNT: "9"}}), true)]
    #[case::something_else_is_counted(json!({"hard": {COUNT: "9", "pods": "9"}, "used": {"pods": "1"}}), true)]
    #[case::counted(json!({"hard": {COUNT: "9"}, "used": {COUNT: "0"}}), false)]
    #[case::it_limits_something_else(json!({"hard": {"pods": "9"}}), false)]
    fn only_what_is_in_force_and_not_counted_is(#[case] status: Value, #[case] lacks: bool) {
        let metadata = json!({"name": NAME, "resourceVersion": "7"});
        let quota: ResourceQuota = serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap();
        assert_eq!(lacks_count(&quota), lacks);
        let expected = json!({"metadata": {"resourceVersion": "7"}, "status": {"used": {COUNT: "3"}}});
        assert_eq!(counted(&quota, 3), expected);
    }
}
