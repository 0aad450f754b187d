//! `kubectl bastion status`: walks from a session to its recording, and says where it is stuck.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio::time::sleep;

use super::cli::Status;
use super::diagnose::{Snapshot, walk};
use super::leases::{Life, Seen};
use super::rights::{GET_LEASE, GET_POD, GET_SESSION, Right, failed};
use super::step::{Known, State};
use super::{client, leases, output, select, step};
use crate::api::{BastionSession, LEADER_LEASE};
use crate::cluster::LenientLease;

/// How long the sessions of an instance that was declared lost may take to end.
const SWEPT_WITHIN: Duration = Duration::from_secs(5);

/// Prints it; fails when it is stuck.
pub async fn run(flags: Status) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let name = flags.name.rsplit('/').next().unwrap_or_default();
    let facts = gather(&client, &flags.cluster.namespace, name).await?;
    let steps = walk(&facts);
    output::print(&step::text(&steps, flags.output)?)?;
    Ok(step::exit_code(&steps, |state| state == State::Stuck))
}

async fn gather(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Snapshot> {
    let mut session = get(client, namespace, name).await?;
    let gateway = session.spec.gateway.clone();
    let lease = seen(client, namespace, &gateway.instance).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = known(pods.get_opt(&gateway.name).await, GET_POD, namespace);
    let leader = seen(client, namespace, LEADER_LEASE).await;
    if !session.phase().is_final() && !matches!(&lease, Known::Is(Seen { life: Life::Fresh, .. })) {
        // What was on its way to its end when it was read may have arrived there.
        sleep(SWEPT_WITHIN).await;
        session = get(client, namespace, name).await?;
    }
    Ok(Snapshot { session, lease, pod, leader, now: Timestamp::now() })
}

async fn get(client: &Client, namespace: &str, name: &str) -> anyhow::Result<BastionSession> {
    let sessions = select::sessions_in(client, namespace);
    let session = sessions.get_opt(name).await.map_err(|error| failed(error, GET_SESSION, Some(namespace)))?;
    session.ok_or_else(|| {
        anyhow!(
            "there is no session {name:?} in namespace {namespace}; one that has ended goes when it has been on record for a \
             while, and kubectl bastion history has it"
        )
    })
}

/// A Lease, looked at for as long as it takes to tell whether somebody renews it.
async fn seen(client: &Client, namespace: &str, name: &str) -> Known<Seen> {
    let api: Api<LenientLease> = Api::namespaced(client.clone(), namespace);
    match known(api.get_opt(name).await, GET_LEASE, namespace) {
        Known::Is(lease) => match leases::look(&api, vec![lease.0], Timestamp::now()).await {
            Ok(mut seen) => seen.pop().map_or(Known::IsNot, Known::Is),
            Err(error) => Known::Hidden(format!("{:#}", failed(error, GET_LEASE, Some(namespace)))),
        },
        Known::IsNot => Known::IsNot,
        Known::Hidden(why) => Known::Hidden(why),
    }
}

fn known<T>(got: Result<Option<T>, kube::Error>, right: Right, namespace: &str) -> Known<T> {
    match got {
        Ok(Some(it)) => Known::Is(it),
        Ok(None) => Known::IsNot,
        Err(error) => Known::Hidden(format!("{:#}", failed(error, right, Some(namespace)))),
    }
}
