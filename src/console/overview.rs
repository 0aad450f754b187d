//! The state of the bastion in numbers: open sessions, recent ends, gateways, and the audit backlog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;
use utoipa::ToSchema;

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use crate::api::{LEASE_LABEL, LEASE_OF_GATEWAY};
use crate::audit::HistoryCounts;
use crate::cluster::{Guarded, LenientLease, Right};
use crate::http::{Caller, with_api_timeout};
use crate::leases::{observe_lease, pod_of};
use crate::lifecycle::ObservedLease;
use crate::metrics::{ConsoleLabels, METRICS};

/// The period of the counts of starts and ends.
const COUNT_PERIOD: SignedDuration = SignedDuration::from_hours(24);
/// How long counts are cached, so that many pages cost the database no more than one.
const COUNTS_TTL: Duration = Duration::from_secs(5);
const GATEWAY_PODS: &str = "app.kubernetes.io/component=gateway";

/// The state of the bastion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The number of open sessions.
    pub online: usize,
    /// Whether the console's watch of sessions works, so that the numbers are current.
    pub live: bool,
    /// The number of sessions that began within 24 h; null while there is no history.
    pub starts: Option<i64>,
    /// The number of sessions that ended within 24 h, by reason; null while there is no history.
    pub ends_by_reason: Option<BTreeMap<String, i64>>,
    /// The gateway instances; null if the caller may not list Leases.
    pub gateways: Option<Vec<GatewayState>>,
    /// The number of ended sessions whose end is not yet in the audit database.
    pub audit_backlog: usize,
    /// Seconds since the oldest of these ends.
    pub oldest_unwritten_end: Option<f64>,
}

/// One gateway instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayState {
    /// The name of the gateway's Pod.
    pub name: String,
    /// The instance's name. Each start of a gateway is a new instance.
    pub instance: String,
    /// Seconds since the instance renewed its Lease. The clocks of gateway and console may differ.
    pub renewed_ago: Option<f64>,
    /// Whether a controller has declared the instance lost.
    pub lost: bool,
    /// The number of open sessions on the instance.
    pub sessions: usize,
    /// Whether the instance accepts no new sessions because its Pod is being deleted.
    pub draining: bool,
}

/// The last counts, and when they were read; `None` in place of counts that could not be read.
pub type CountsCache = Arc<Mutex<Option<(Instant, Option<HistoryCounts>)>>>;

/// Returns the state of the bastion. Requires the right to list sessions.
#[utoipa::path(get, path = "/api/v1/overview", responses((status = 200, body = Overview), ErrorResponses))]
pub async fn overview(State(console): State<Console>, request: ClientRequest) -> Result<Json<Overview>, ApiError> {
    let caller = console.caller(&request).await?;
    console.auth.authorizer.require(&caller, Right::to("list", "bastionsessions")).await?;
    let now = Timestamp::now();
    let summary = console.feed.summary();
    let (counts, gateways) =
        futures::join!(console.history_counts(&caller, now), console.gateways(&caller, &summary.by_gateway, now));
    let (starts, ends_by_reason) = counts.map(|counts| (counts.starts, counts.ends)).unzip();
    Ok(Json(Overview {
        online: summary.online,
        live: summary.live,
        starts,
        ends_by_reason,
        gateways: gateways?,
        audit_backlog: summary.unrecorded,
        oldest_unwritten_end: summary.oldest_unrecorded.map(|ended| seconds_since(ended, now)),
    }))
}

impl Console {
    /// Returns the counts of the last 24 h, 5 s old at most; `None` while the history cannot be read. The caller may list
    /// sessions.
    async fn history_counts(&self, caller: &Caller, now: Timestamp) -> Option<HistoryCounts> {
        let mut cached = self.counts.lock().await;
        if let Some((at, counts)) = &*cached
            && at.elapsed() < COUNTS_TTL
        {
            return counts.clone();
        }
        let since = now.saturating_sub(COUNT_PERIOD).unwrap_or(Timestamp::MIN).as_microsecond();
        let counts = self.history.counts(&caller.user(), since).await.map_err(ApiError::from);
        if let Err(error) = &counts {
            METRICS.console_failures.get_or_create(&ConsoleLabels { reason: error.label() }).inc();
            warn!(%error, "the overview has no counts: the history cannot be read");
        }
        let counts = counts.ok();
        *cached = Some((Instant::now(), counts.clone()));
        counts
    }

    /// Returns the gateway instances; `None` if the caller may not list Leases.
    async fn gateways(
        &self,
        caller: &Caller,
        sessions: &BTreeMap<String, usize>,
        now: Timestamp,
    ) -> Result<Option<Vec<GatewayState>>, ApiError> {
        let right = Right { group: "coordination.k8s.io", ..Right::to("list", "leases") };
        if !self.auth.authorizer.may(caller.user(), right).await? {
            return Ok(None);
        }
        let leases: Api<LenientLease> = self.cluster.api();
        let pods: Api<Guarded<Pod>> = self.cluster.api();
        let gateway_leases = ListParams::default().labels(&format!("{LEASE_LABEL}={LEASE_OF_GATEWAY}"));
        let gateway_pods = ListParams::default().labels(GATEWAY_PODS);
        let (leases, pods) = futures::try_join!(
            with_api_timeout(leases.list(&gateway_leases)),
            with_api_timeout(pods.list(&gateway_pods))
        )?;
        let states = leases.items.iter().map(|lease| state(&lease.0, &pods.items, sessions, now));
        Ok(Some(states.collect()))
    }
}

fn state(lease: &Lease, pods: &[Guarded<Pod>], sessions: &BTreeMap<String, usize>, now: Timestamp) -> GatewayState {
    let instance = lease.name_any();
    let name = pod_of(&instance).to_owned();
    let ObservedLease { renewed, lost, .. } = observe_lease(lease);
    let is_deleted = |pod: &Guarded<Pod>| pod.name_any() == name && pod.meta().deletion_timestamp.is_some();
    GatewayState {
        renewed_ago: renewed.map(|renewed| seconds_since(renewed, now)),
        lost,
        sessions: sessions.get(&name).copied().unwrap_or_default(),
        draining: pods.iter().any(is_deleted),
        name,
        instance,
    }
}

/// Never negative, because clocks differ.
fn seconds_since(time: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(time).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_state_of_a_gateway_comes_from_its_lease_and_its_pod() {
        let lease: Lease = serde_json::from_value(json!({
            "metadata": {"name": "bastion-gateway-7d-x-abcdefghij"},
            "spec": {"holderIdentity": "bastion-gateway-7d-x-abcdefghij", "renewTime": "2026-01-01T00:00:00.000000Z"},
        }))
        .unwrap();
        let pod = |deleted: Option<&str>| -> Guarded<Pod> {
            let metadata = json!({"name": "bastion-gateway-7d-x", "deletionTimestamp": deleted});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let now = "2026-01-01T00:00:03Z".parse().unwrap();
        let sessions = [("bastion-gateway-7d-x".to_owned(), 7)].into();
        let seen = state(&lease, &[pod(None)], &sessions, now);
        assert_eq!((seen.name.as_str(), seen.sessions), ("bastion-gateway-7d-x", 7));
        assert!((seen.renewed_ago.unwrap() - 3.0).abs() < f64::EPSILON);
        assert!(!seen.draining && !seen.lost);
        assert!(state(&lease, &[pod(Some("2026-01-01T00:00:00Z"))], &sessions, now).draining);
        let ahead = state(&lease, &[], &sessions, "2025-12-31T00:00:00Z".parse().unwrap());
        assert!(ahead.renewed_ago.unwrap().abs() < f64::EPSILON);
    }
}
