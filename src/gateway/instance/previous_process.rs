//! Ends the sessions of earlier processes in the same Pod at once. Earlier processes are dead, because this process runs.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tracing::{info, warn};

use crate::api::{BastionSession, LEASE_LABEL, LEASE_OF_GATEWAY, ObservedBy};
use crate::cluster::{Guarded, LenientLease, REQUEST_TIMEOUT, SessionWriter, regarding, split, with_retries};
use crate::leases::{declare_lost, observe_lease};
use crate::lifecycle::{Cause, End, LeaseVersion};
use crate::metrics::METRICS;

/// How many ends are written at once.
const MAX_CONCURRENT_WRITES: usize = 8;

/// Ends the sessions of all instances in this Pod except `own`. After a failure, the controllers end the remaining sessions.
pub async fn end_sessions(
    client: Client,
    namespace: &str,
    pod_uid: Option<&String>,
    own: &str,
    writer: &SessionWriter,
) {
    let Some(pod_uid) = pod_uid else { return };
    let leases: Api<LenientLease> = Api::namespaced(client.clone(), namespace);
    let sessions = Api::namespaced(client, namespace);
    let of_gateways = ListParams::default().labels(&format!("{LEASE_LABEL}={LEASE_OF_GATEWAY}"));
    let found = match with_retries(REQUEST_TIMEOUT, || leases.list(&of_gateways)).await {
        Ok(found) => found,
        Err(error) => {
            return warn!(%error, "the Leases of earlier instances could not be listed; the controllers end their sessions");
        }
    };
    for lease in found {
        let (instance, lease) = (lease.name_any(), observe_lease(&lease.0));
        if instance == own || lease.lost || lease.pod_uid.as_ref() != Some(pod_uid) {
            continue;
        }
        let suspect =
            LeaseVersion { instance: instance.clone(), resource_version: Some(lease.resource_version.clone()) };
        // Controllers declare a loss by the same step. An instance that is alive after all notices it.
        match declare_lost(&leases, &suspect).await {
            Ok(_) => {
                METRICS.instances_declared_lost.inc();
                info!(instance, "an earlier process in this Pod has ended; its sessions end");
                end_sessions_of(&sessions, &instance, lease.renewed.map(|seen| seen.min(Timestamp::now())), writer)
                    .await;
            }
            Err(error) => {
                warn!(instance, %error, "an earlier instance could not be declared lost; it is left to the controllers");
            }
        }
    }
}

async fn end_sessions_of(
    sessions: &Api<Guarded<BastionSession>>,
    instance: &str,
    last_seen: Option<Timestamp>,
    writer: &SessionWriter,
) {
    let active = ListParams::default().fields(&format!("spec.gateway.instance={instance},status.phase=Active"));
    let sessions = match with_retries(REQUEST_TIMEOUT, || sessions.list(&active)).await {
        Ok(sessions) => sessions,
        Err(error) => {
            return warn!(instance, %error, "the sessions of an earlier instance could not be listed; they are left to the controllers");
        }
    };
    // Controllers end and report sessions that do not decode.
    let (sessions, _) = split(sessions);
    stream::iter(sessions)
        .for_each_concurrent(MAX_CONCURRENT_WRITES, async |session| {
            let end = End::inferred(Cause::GatewayLost, ObservedBy::Gateway, session.spec.start_time.0, last_seen);
            writer.end_until_final(&regarding(&session), &end).await;
        })
        .await;
}
