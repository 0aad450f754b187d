//! `bastion drain`: what comes before an uninstall. It stops the gateways, ends the open sessions, and waits until every
//! session is on record, so that none is left with a finalizer that nobody takes off.

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
use crate::cluster::{Guarded, START_TIMEOUT, Unreadable, ask, code, split};

/// The Deployment of the gateways, as the chart calls it.
const GATEWAYS: &str = "bastion-gateway";

/// The gateways' Pods, as the chart labels them.
const GATEWAY_PODS: &str = "app.kubernetes.io/name=bastion,app.kubernetes.io/component=gateway";

/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_secs(1);

/// What is drained, and what is said about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// What the sessions' users read.
    pub reason: String,
}

/// What is left to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    gateways: usize,
    open: usize,
    unrecorded: usize,
    unreadable: usize,
}

/// Runs until nothing is left. Where something lasts for ever, the caller's patience has to end it.
///
/// # Errors
/// When it may not do what it has to.
pub async fn run(client: Client, settings: Settings) -> anyhow::Result<()> {
    let me = own_name(&client).await?;
    stop_gateways(&client, &settings.namespace).await?;
    let (mut told, mut warned) = (None, HashSet::new());
    loop {
        match look(&client, &settings, &me, &mut warned).await {
            Ok(left) if left == Left::default() => break,
            Ok(left) => {
                if told.replace(left) != Some(left) {
                    let Left { gateways, open, unrecorded, unreadable } = left;
                    info!(gateways, open, unrecorded, unreadable, "draining");
                }
            }
            Err(error) if matches!(code(&error), Some(401 | 403)) => return Err(error).context("a right is missing"),
            Err(error) => warn!(%error, "the API server does not answer; trying again"),
        }
        tokio::time::sleep(LOOK).await;
    }
    info!("no gateway runs, and every session is on record");
    Ok(())
}

async fn own_name(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, review) = (PostParams::default(), SelfSubjectReview::default());
    let review = ask(START_TIMEOUT, || reviews.create(&params, &review)).await;
    let status = review.context("the API server does not say who this is")?.status;
    status.and_then(|it| it.user_info).and_then(|it| it.username).context("the API server gives no user name")
}

async fn stop_gateways(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let params = PatchParams::default();
    match ask(START_TIMEOUT, || deployments.patch_scale(GATEWAYS, &params, &none)).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(404) => Ok(()),
        Err(error) => Err(error).context("the gateways cannot be stopped"),
    }
}

/// Asks for the end of what is open, and counts what is left; `warned` has the uids of the unreadable sessions that the log
/// names already.
async fn look(
    client: &Client,
    settings: &Settings,
    me: &str,
    warned: &mut HashSet<String>,
) -> Result<Left, kube::Error> {
    let sessions: Api<Guarded<BastionSession>> = Api::namespaced(client.clone(), &settings.namespace);
    let pods: Api<Guarded<Pod>> = Api::namespaced(client.clone(), &settings.namespace);
    let gateways = pods.list(&ListParams::default().labels(GATEWAY_PODS)).await?.items.len();
    let (readable, unreadable) = split(sessions.list(&ListParams::default()).await?);
    let mut left = Left { gateways, ..Left::default() };
    for session in unreadable.iter().filter(|session| needs_hand(session)) {
        left.unreadable += 1;
        if warned.insert(session.uid().to_owned()) {
            let (name, error) = (session.name(), &session.error);
            warn!(
                session = name,
                error, "a session cannot be read, so it is not recorded; delete it and remove its finalizer"
            );
        }
        if session.is_active() && session.asked_to_end().is_none() {
            terminate(&sessions, session.name(), me, &settings.reason).await?;
        }
    }
    for session in readable {
        left.unrecorded += usize::from(session.finalizers().iter().any(|it| it == AUDIT_FINALIZER));
        if session.phase() == Phase::Active {
            left.open += 1;
            if session.spec.termination.is_none() {
                terminate(&sessions, &session.name_any(), me, &settings.reason).await?;
            }
        }
    }
    Ok(left)
}

/// Whether an unreadable session runs, or has a finalizer that only an administrator can remove.
fn needs_hand(session: &Unreadable) -> bool {
    !session.has_ended() || session.metadata.finalizers.iter().flatten().any(|it| it == AUDIT_FINALIZER)
}

async fn terminate(
    sessions: &Api<Guarded<BastionSession>>,
    name: &str,
    me: &str,
    reason: &str,
) -> Result<(), kube::Error> {
    let termination = json!({"spec": {"termination": {"requestedBy": me, "reason": Termination::reason_of(reason)}}});
    match sessions.patch(name, &PatchParams::default(), &Patch::Merge(termination)).await {
        Ok(_) => {
            info!(session = name, "asked for its end");
            Ok(())
        }
        // It has ended, or somebody else was first.
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
    #[case::it_runs(json!({"phase": "Active"}), json!(null), true)]
    #[case::it_is_held(json!({"phase": "Closed"}), json!([AUDIT_FINALIZER]), true)]
    #[case::it_has_ended(json!({"phase": "Closed"}), json!([]), false)]
    #[case::it_is_held_by_others(json!({"phase": "Closed"}), json!(["example.com/x"]), false)]
    fn an_unreadable_session(#[case] status: Value, #[case] finalizers: Value, #[case] expected: bool) {
        let mut object = serde_json::to_value(active("a")).unwrap();
        object["spec"]["protocol"] = json!("Telepathy");
        object["status"] = status;
        object["metadata"]["finalizers"] = finalizers;
        let session = serde_json::from_value::<Guarded<BastionSession>>(object).unwrap().0.unwrap_err();
        assert_eq!(needs_hand(&session), expected);
    }
}
