//! `bastion drain`: prepares an uninstall. Stops the gateways, ends the sessions, and waits for the audit database.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::api::{AUDIT_FINALIZER, BastionSession, Phase, Termination};
use crate::cluster::{Guarded, START_TIMEOUT, Unreadable, code, split, with_retries};

/// The name of the gateways' Deployment in the chart.
const GATEWAY_DEPLOYMENT: &str = "bastion-gateway";

/// The label selector of the gateways' Pods in the chart.
const GATEWAY_POD_SELECTOR: &str = "app.kubernetes.io/name=bastion,app.kubernetes.io/component=gateway";

/// The delay between two checks of the progress.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of `bastion drain`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The reason that users of ended sessions see.
    pub reason: String,
}

/// The numbers of objects that the drain waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Remaining {
    gateways: usize,
    open: usize,
    unrecorded: usize,
    unreadable: usize,
}

/// Drains until no gateway runs and the audit database has every session. There is no timeout; the caller may stop the future.
///
/// # Errors
/// When a right is missing, or the API server is not available at the start.
pub async fn run(client: Client, settings: Settings) -> anyhow::Result<()> {
    let user = own_user_name(&client).await?;
    stop_gateways(&client, &settings.namespace).await?;
    let (mut logged, mut warned) = (None, HashSet::new());
    loop {
        match drain_once(&client, &settings, &user, &mut warned).await {
            Ok(remaining) if remaining == Remaining::default() => break,
            Ok(remaining) => {
                if logged.replace(remaining) != Some(remaining) {
                    let Remaining { gateways, open, unrecorded, unreadable } = remaining;
                    info!(gateways, open, unrecorded, unreadable, "draining");
                }
            }
            Err(error) if matches!(code(&error), Some(401 | 403)) => return Err(error).context("a right is missing"),
            Err(error) => warn!(%error, "API server unavailable; retrying"),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    info!("drained: no gateway runs, and the audit database has every session");
    Ok(())
}

async fn own_user_name(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, review) = (PostParams::default(), SelfSubjectReview::default());
    let review = with_retries(START_TIMEOUT, || reviews.create(&params, &review)).await;
    let status = review.context("own user name unknown: SelfSubjectReview failed")?.status;
    status.and_then(|it| it.user_info).and_then(|it| it.username).context("SelfSubjectReview has no user name")
}

async fn stop_gateways(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let params = PatchParams::default();
    match with_retries(START_TIMEOUT, || deployments.patch_scale(GATEWAY_DEPLOYMENT, &params, &none)).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(404) => Ok(()),
        Err(error) => Err(error).context("the gateways' Deployment cannot be scaled to zero"),
    }
}

/// Terminates open sessions, and counts the remaining objects. `warned` has the uids of the unreadable sessions that were
/// logged.
async fn drain_once(
    client: &Client,
    settings: &Settings,
    user: &str,
    warned: &mut HashSet<String>,
) -> Result<Remaining, kube::Error> {
    let sessions: Api<Guarded<BastionSession>> = Api::namespaced(client.clone(), &settings.namespace);
    let pods: Api<Guarded<Pod>> = Api::namespaced(client.clone(), &settings.namespace);
    let gateways = pods.list(&ListParams::default().labels(GATEWAY_POD_SELECTOR)).await?.items.len();
    let (readable, unreadable) = split(sessions.list(&ListParams::default()).await?);
    let mut remaining = Remaining { gateways, ..Remaining::default() };
    for session in unreadable.iter().filter(|session| needs_administrator(session)) {
        remaining.unreadable += 1;
        if warned.insert(session.uid().to_owned()) {
            let (name, error) = (session.name(), &session.error);
            warn!(session = name, error, "unreadable session cannot be recorded; delete it and remove its finalizer");
        }
        if session.is_active() && session.requested_end().is_none() {
            terminate(&sessions, session.name(), user, &settings.reason).await?;
        }
    }
    for session in readable {
        remaining.unrecorded += usize::from(session.finalizers().iter().any(|it| it == AUDIT_FINALIZER));
        if session.phase() == Phase::Active {
            remaining.open += 1;
            if session.spec.termination.is_none() {
                terminate(&sessions, &session.name_any(), user, &settings.reason).await?;
            }
        }
    }
    Ok(remaining)
}

/// Returns whether an unreadable session has not ended, or has the audit finalizer, which only an administrator can remove.
fn needs_administrator(session: &Unreadable) -> bool {
    !session.has_ended() || session.metadata.finalizers.iter().flatten().any(|it| it == AUDIT_FINALIZER)
}

async fn terminate(
    sessions: &Api<Guarded<BastionSession>>,
    name: &str,
    user: &str,
    reason: &str,
) -> Result<(), kube::Error> {
    let termination = json!({"spec": {"termination": {"requestedBy": user, "reason": Termination::reason_of(reason)}}});
    match sessions.patch(name, &PatchParams::default(), &Patch::Merge(termination)).await {
        Ok(_) => {
            info!(session = name, "requested the session's end");
            Ok(())
        }
        // The session has ended or is gone, or another user has terminated it.
        Err(error) if matches!(code(&error), Some(404 | 409 | 422)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::samples::active;

    #[rstest]
    #[case::runs(json!({"phase": "Active"}), json!(null), true)]
    #[case::ended_with_the_audit_finalizer(json!({"phase": "Closed"}), json!([AUDIT_FINALIZER]), true)]
    #[case::ended(json!({"phase": "Closed"}), json!([]), false)]
    #[case::ended_with_a_foreign_finalizer(json!({"phase": "Closed"}), json!(["example.com/x"]), false)]
    fn an_unreadable_session_needs_an_administrator(
        #[case] status: Value,
        #[case] finalizers: Value,
        #[case] expected: bool,
    ) {
        let mut object = serde_json::to_value(active("a")).unwrap();
        object["spec"]["protocol"] = json!("Telepathy");
        object["status"] = status;
        object["metadata"]["finalizers"] = finalizers;
        let session = serde_json::from_value::<Guarded<BastionSession>>(object).unwrap().0.unwrap_err();
        assert_eq!(needs_administrator(&session), expected);
    }
}
