//! `kubectl bastion check`: whether the bastion is well.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};

use super::cli::{Check, Filter};
use super::health::{Snapshot, examine, is_well};
use super::rights::{GET_LEASE, GET_QUOTA, LIST_LEASES, failed};
use super::step::{Known, State, Step};
use super::{client, leases, output, select, step};
use crate::api::{LEADER_LEASE, LEASE_LABEL};
use crate::cluster::{LenientLease, code};

/// The ResourceQuota of deploy/ and the chart.
const QUOTA: &str = "bastion-sessions";
/// How long after a look that found something the next one is: what was on its way has then arrived.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Prints it; fails unless all is well.
pub async fn run(flags: Check) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.as_str();
    let patience = if flags.wait { Duration::from_secs(flags.timeout) } else { Duration::ZERO };
    let until = Instant::now() + patience;
    let mut steps = look(&client, namespace).await;
    // Not all is read at one moment, so what one look finds may be no more than that.
    let mut again = true;
    while !is_well(&steps) && (again || Instant::now() < until) {
        again = false;
        if flags.wait {
            eprintln!("bastion: waiting: {}", first(&steps));
        }
        sleep(LOOK_AGAIN).await;
        steps = look(&client, namespace).await;
    }
    output::print(&step::text(&steps, flags.output)?)?;
    Ok(step::exit_code(&steps, |state| state != State::Ok))
}

/// The first thing that is not well.
fn first(steps: &[Step]) -> String {
    let bad = steps.iter().find(|step| step.state != State::Ok);
    bad.map(|step| format!("{}: {}", step.part, step.says)).unwrap_or_default()
}

/// Looks at everything once.
pub async fn look(client: &Client, namespace: &str) -> Vec<Step> {
    let served = match client.list_api_group_resources("bastion.dev/v1alpha1").await {
        Ok(list) => Known::Is(list.resources.into_iter().map(|resource| resource.name).collect()),
        Err(error) if code(&error) == Some(404) => Known::IsNot,
        Err(error) => Known::Hidden(format!("the API server does not say what it serves: {error}")),
    };
    // The sessions before the Leases: a gateway has its Lease before it has a session.
    let sessions = match select::find(client, Some(namespace), &Filter::default(), None).await {
        Ok(sessions) => Known::Is(sessions),
        Err(error) => Known::Hidden(format!("{error:#}")),
    };
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let quota = match quotas.get_opt(QUOTA).await {
        Ok(quota) => quota.map_or(Known::IsNot, Known::Is),
        Err(error) => Known::Hidden(format!("{:#}", failed(error, GET_QUOTA, Some(namespace)))),
    };
    let api: Api<LenientLease> = Api::namespaced(client.clone(), namespace);
    let leases = match api.list(&ListParams::default()).await {
        Ok(listed) => {
            let ours = listed
                .items
                .into_iter()
                .map(|it| it.0)
                .filter(|it| it.labels().contains_key(LEASE_LABEL) || it.name_any() == LEADER_LEASE);
            leases::look(&api, ours.collect(), Timestamp::now()).await.map_err(|error| (error, GET_LEASE))
        }
        Err(error) => Err((error, LIST_LEASES)),
    };
    let leases = match leases {
        Ok(leases) => Known::Is(leases),
        Err((error, right)) => Known::Hidden(format!("{:#}", failed(error, right, Some(namespace)))),
    };
    examine(&Snapshot { served, sessions, leases, quota, now: Timestamp::now() })
}
