//! `kubectl bastion status`: shows where a session is stuck, from its object to its recording.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio::time::sleep;

use super::cli::Status;
use super::diagnose::{Snapshot, diagnose};
use super::leases::{LeaseState, ObservedLease};
use super::rights::{GET_LEASE, GET_POD, GET_SESSION, Right, explain};
use super::step::{Lookup, State};
use super::{client, leases, output, select, step};
use crate::api::{BastionSession, LEADER_LEASE};
use crate::cluster::LenientLease;

/// How long the sessions of a lost instance may take to end.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the session and prints the steps. The exit code is 1 if a step is stuck.
pub async fn run(flags: Status) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let name = flags.name.rsplit('/').next().unwrap_or_default();
    let snapshot = gather(&client, &flags.cluster.namespace, name).await?;
    let steps = diagnose(&snapshot);
    output::print(&step::text(&steps, flags.output)?)?;
    Ok(step::exit_code(&steps, |state| state == State::Stuck))
}

async fn gather(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Snapshot> {
    let mut session = get(client, namespace, name).await?;
    let gateway = session.spec.gateway.clone();
    let lease = observe_lease(client, namespace, &gateway.instance).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = lookup(pods.get_opt(&gateway.name).await, GET_POD, namespace);
    let leader = observe_lease(client, namespace, LEADER_LEASE).await;
    if !session.phase().is_final() && !matches!(&lease, Lookup::Found(ObservedLease { state: LeaseState::Fresh, .. })) {
        // A controller may be ending the session now, so it is read again.
        sleep(SWEEP_TIMEOUT).await;
        session = get(client, namespace, name).await?;
    }
    Ok(Snapshot { session, lease, pod, leader, now: Timestamp::now() })
}

async fn get(client: &Client, namespace: &str, name: &str) -> anyhow::Result<BastionSession> {
    let sessions = select::sessions_in(client, namespace);
    let session = sessions.get_opt(name).await.map_err(|error| explain(error, GET_SESSION, Some(namespace)))?;
    session.ok_or_else(|| {
        anyhow!(
            "there is no session {name:?} in namespace {namespace}; ended sessions are deleted after a while, and kubectl \
             bastion history still shows them"
        )
    })
}

/// Observes a Lease until it is clear whether its holder renews it.
async fn observe_lease(client: &Client, namespace: &str, name: &str) -> Lookup<ObservedLease> {
    let api: Api<LenientLease> = Api::namespaced(client.clone(), namespace);
    match lookup(api.get_opt(name).await, GET_LEASE, namespace) {
        Lookup::Found(lease) => match leases::observe(&api, vec![lease.0], Timestamp::now()).await {
            Ok(mut seen) => seen.pop().map_or(Lookup::Absent, Lookup::Found),
            Err(error) => Lookup::Unknown(format!("{:#}", explain(error, GET_LEASE, Some(namespace)))),
        },
        Lookup::Absent => Lookup::Absent,
        Lookup::Unknown(why) => Lookup::Unknown(why),
    }
}

fn lookup<T>(got: Result<Option<T>, kube::Error>, right: Right, namespace: &str) -> Lookup<T> {
    match got {
        Ok(Some(it)) => Lookup::Found(it),
        Ok(None) => Lookup::Absent,
        Err(error) => Lookup::Unknown(format!("{:#}", explain(error, right, Some(namespace)))),
    }
}
