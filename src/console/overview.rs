//! How the bastion is: who is online, what ended and why, its gateways, and what is not on record yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Console;
use super::failure::{Failure, Refusals};
use crate::api::{LEASE_LABEL, LEASE_OF_GATEWAY, LOST_HOLDER};
use crate::audit::HistoryCounts;
use crate::cluster::{Guarded, LenientLease, Right};
use crate::http::{Caller, asked};

/// Of which time starts and ends are counted.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a count stays good enough, so that many pages cost the database no more than one.
const COUNTED_EVERY: Duration = Duration::from_secs(5);
const SELECT_PODS: &str = "app.kubernetes.io/component=gateway";

/// How the bastion is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// How many sessions are open.
    pub online: usize,
    /// Whether the console hears the API server, so that this is so now.
    pub live: bool,
    /// How many sessions began within 24 h; nothing without a history.
    pub starts: Option<i64>,
    /// How many ended within 24 h, by their reasons; nothing without a history.
    pub ends_by_reason: Option<BTreeMap<String, i64>>,
    /// Each instance of a gateway; nothing for those who may not list Leases.
    pub gateways: Option<Vec<GatewayState>>,
    /// How many sessions have ended and are not yet in the audit database as ended.
    pub audit_backlog: usize,
    /// How many seconds ago the first of them ended.
    pub oldest_unwritten_end: Option<f64>,
}

/// One instance of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayState {
    /// Its Pod.
    pub name: String,
    /// This start of it.
    pub instance: String,
    /// How many seconds ago it gave its last sign of life, by the gateway's clock and the console's.
    pub renewed_ago: Option<f64>,
    /// Whether a controller has declared it lost.
    pub lost: bool,
    /// How many sessions it carries.
    pub sessions: usize,
    /// Whether it takes no new sessions, because its Pod is going.
    pub draining: bool,
}

/// What was counted last, and when.
pub type Counted = Arc<Mutex<Option<(Instant, HistoryCounts)>>>;

/// How the bastion is, for those who may list its sessions.
#[utoipa::path(get, path = "/api/v1/overview", responses((status = 200, body = Overview), Refusals))]
pub async fn overview(State(console): State<Console>, headers: HeaderMap) -> Result<Json<Overview>, Failure> {
    let caller = console.caller(&headers).await?;
    console.authorizer.require(&caller, Right::to("list", "bastionsessions")).await?;
    let now = Timestamp::now();
    let sum = console.feed.sum();
    let (counts, gateways) = futures::try_join!(console.counts(now), console.gateways(&caller, &sum.by_gateway, now))?;
    let (starts, ends_by_reason) = counts.map(|counts| (counts.starts, counts.ends)).unzip();
    Ok(Json(Overview {
        online: sum.online,
        live: sum.live,
        starts,
        ends_by_reason,
        gateways,
        audit_backlog: sum.unrecorded,
        oldest_unwritten_end: sum.oldest_unrecorded.map(|ended| seconds_since(ended, now)),
    }))
}

impl Console {
    /// What began and ended within a day, where there is a history.
    async fn counts(&self, now: Timestamp) -> Result<Option<HistoryCounts>, Failure> {
        let Some(store) = &self.store else { return Ok(None) };
        let mut counted = self.counted.lock().await;
        if let Some((at, counts)) = &*counted
            && at.elapsed() < COUNTED_EVERY
        {
            return Ok(Some(counts.clone()));
        }
        let since = now.saturating_sub(DAY).unwrap_or(Timestamp::MIN).as_microsecond();
        let counts = store.counts(&self.namespace, since).await?;
        *counted = Some((Instant::now(), counts.clone()));
        Ok(Some(counts))
    }

    async fn gateways(
        &self,
        caller: &Caller,
        sessions: &BTreeMap<String, usize>,
        now: Timestamp,
    ) -> Result<Option<Vec<GatewayState>>, Failure> {
        let right = Right { group: "coordination.k8s.io", ..Right::to("list", "leases") };
        if !self.authorizer.may(caller.user(), right).await? {
            return Ok(None);
        }
        let leases: Api<LenientLease> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods: Api<Guarded<Pod>> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_gateways = ListParams::default().labels(&format!("{LEASE_LABEL}={LEASE_OF_GATEWAY}"));
        let of_pods = ListParams::default().labels(SELECT_PODS);
        let (leases, pods) = futures::try_join!(asked(leases.list(&of_gateways)), asked(pods.list(&of_pods)))?;
        let states = leases.items.iter().map(|lease| state(&lease.0, &pods.items, sessions, now));
        Ok(Some(states.collect()))
    }
}

/// An instance is named after its Pod, with ten random characters behind it.
fn pod_of(instance: &str) -> &str {
    instance.rsplit_once('-').map_or(instance, |(pod, _)| pod)
}

fn state(lease: &Lease, pods: &[Guarded<Pod>], sessions: &BTreeMap<String, usize>, now: Timestamp) -> GatewayState {
    let instance = lease.name_any();
    let name = pod_of(&instance).to_owned();
    let spec = lease.spec.clone().unwrap_or_default();
    let going = |pod: &Guarded<Pod>| pod.name_any() == name && pod.meta().deletion_timestamp.is_some();
    GatewayState {
        renewed_ago: spec.renew_time.map(|renewed| seconds_since(renewed.0, now)),
        lost: spec.holder_identity.as_deref() == Some(LOST_HOLDER),
        sessions: sessions.get(&name).copied().unwrap_or_default(),
        draining: pods.iter().any(going),
        name,
        instance,
    }
}

/// Clocks differ: nothing was in the future.
fn seconds_since(moment: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(moment).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_is_what_its_lease_and_its_pod_say() {
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
