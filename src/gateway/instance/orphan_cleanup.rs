//! What an earlier process in the same Pod left behind. This one runs, so that one is dead: its sessions are ended at
//! once, before any controller can tell.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tracing::{info, warn};

use crate::api::{BastionSession, LEASE_LABEL, LEASE_OF_GATEWAY, ObservedBy};
use crate::cluster::{Guarded, LenientLease, REQUEST_TIMEOUT, SessionWriter, ask, regarding, split};
use crate::leases::{declare_lost, seen};
use crate::lifecycle::{Cause, End, Suspect};
use crate::metrics::METRICS;

/// How many ends are written at once.
const CONCURRENCY: usize = 8;

/// Ends the sessions of all earlier instances in this Pod, but for `own`. What fails here is left to the controllers,
/// who would have ended them anyway.
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
    let found = match ask(REQUEST_TIMEOUT, || leases.list(&of_gateways)).await {
        Ok(found) => found,
        Err(error) => return warn!(%error, "the Leases of earlier instances could not be listed"),
    };
    for lease in found {
        let (instance, lease) = (lease.name_any(), seen(&lease.0));
        if instance == own || lease.lost || lease.pod_uid.as_ref() != Some(pod_uid) {
            continue;
        }
        let suspect = Suspect { instance: instance.clone(), resource_version: Some(lease.resource_version.clone()) };
        // The same step by which a controller decides, so that whoever is not dead after all learns of it.
        match declare_lost(&leases, &suspect).await {
            Ok(_) => {
                METRICS.instances_declared_lost.inc();
                info!(instance, "an earlier process in this Pod has ended; its sessions end");
                sweep(&sessions, &instance, lease.renewed.map(|seen| seen.min(Timestamp::now())), writer).await;
            }
            Err(error) => warn!(instance, %error, "an earlier instance is left to the controllers"),
        }
    }
}

async fn sweep(
    sessions: &Api<Guarded<BastionSession>>,
    instance: &str,
    last_seen: Option<Timestamp>,
    writer: &SessionWriter,
) {
    let left = ListParams::default().fields(&format!("spec.gateway.instance={instance},status.phase=Active"));
    let left = match ask(REQUEST_TIMEOUT, || sessions.list(&left)).await {
        Ok(left) => left,
        Err(error) => {
            return warn!(instance, %error, "its sessions could not be listed, and are left to the controllers");
        }
    };
    // The controllers end and report those that cannot be read.
    let (left, _) = split(left);
    stream::iter(left)
        .for_each_concurrent(CONCURRENCY, async |session| {
            let end = End::unseen(Cause::GatewayLost, ObservedBy::Gateway, session.spec.start_time.0, last_seen);
            writer.end_until_final(&regarding(&session), &end).await;
        })
        .await;
}
