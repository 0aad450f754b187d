//! `kubectl bastion check`: checks that the bastion works.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};

use super::cli::{Check, Filter};
use super::health::{Snapshot, examine, is_well};
use super::rights::{GET_LEASE, GET_QUOTA, LIST_LEASES, explain};
use super::step::{Lookup, State, Step};
use super::{client, leases, output, select, step};
use crate::api::{LEADER_LEASE, LEASE_LABEL};
use crate::cluster::{LenientLease, code};

/// The name of the ResourceQuota in deploy/ and the chart.
const QUOTA: &str = "bastion-sessions";
/// The delay between a check that found a problem and the next check. During the delay, a change that was in progress
/// completes.
const RETRY_DELAY: Duration = Duration::from_secs(3);

/// Checks the bastion and prints the steps. The exit code is 1 unless all steps are ok.
pub async fn run(flags: Check) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.as_str();
    let timeout = if flags.wait { Duration::from_secs(flags.timeout) } else { Duration::ZERO };
    let until = Instant::now() + timeout;
    let mut steps = observe(&client, namespace).await;
    // The objects are not read at the same time, so a single check may find a problem that does not exist.
    let mut again = true;
    while !is_well(&steps) && (again || Instant::now() < until) {
        again = false;
        if flags.wait {
            output::warn(&format!("waiting: {}", first_problem(&steps)));
        }
        sleep(RETRY_DELAY).await;
        steps = observe(&client, namespace).await;
    }
    output::print(&step::text(&steps, flags.output)?)?;
    Ok(step::exit_code(&steps, |state| state != State::Ok))
}

/// Describes the first step that is not ok.
fn first_problem(steps: &[Step]) -> String {
    let bad = steps.iter().find(|step| step.state != State::Ok);
    bad.map(|step| format!("{}: {}", step.part, step.says)).unwrap_or_default()
}

/// Reads all objects once and checks them.
pub async fn observe(client: &Client, namespace: &str) -> Vec<Step> {
    let served = match client.list_api_group_resources("bastion.dev/v1alpha1").await {
        Ok(list) => Lookup::Found(list.resources.into_iter().map(|resource| resource.name).collect()),
        Err(error) if code(&error) == Some(404) => Lookup::Absent,
        Err(error) => Lookup::Unknown(format!("the API server does not list its resources: {error}")),
    };
    // Sessions are read before Leases: a gateway has its Lease before it has a session.
    let sessions = match select::find(client, Some(namespace), &Filter::default(), None).await {
        Ok(sessions) => Lookup::Found(sessions),
        Err(error) => Lookup::Unknown(format!("{error:#}")),
    };
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let quota = match quotas.get_opt(QUOTA).await {
        Ok(quota) => quota.map_or(Lookup::Absent, Lookup::Found),
        Err(error) => Lookup::Unknown(format!("{:#}", explain(error, GET_QUOTA, Some(namespace)))),
    };
    let api: Api<LenientLease> = Api::namespaced(client.clone(), namespace);
    let leases = match api.list(&ListParams::default()).await {
        Ok(listed) => {
            let ours = listed
                .items
                .into_iter()
                .map(|it| it.0)
                .filter(|it| it.labels().contains_key(LEASE_LABEL) || it.name_any() == LEADER_LEASE);
            leases::observe(&api, ours.collect(), Timestamp::now()).await.map_err(|error| (error, GET_LEASE))
        }
        Err(error) => Err((error, LIST_LEASES)),
    };
    let leases = match leases {
        Ok(leases) => Lookup::Found(leases),
        Err((error, right)) => Lookup::Unknown(format!("{:#}", explain(error, right, Some(namespace)))),
    };
    examine(&Snapshot { served, sessions, leases, quota, now: Timestamp::now() })
}
