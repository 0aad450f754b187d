//! The access check before `ssh` starts: the target exists, and the user may connect to it. The gateway checks again.

use anyhow::{Context, bail};
use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use super::person::SignInUser;
use crate::api::{BastionTarget, CONNECT_VERB, GROUP};
use crate::cluster::code;

/// Checks that the user may connect to the target. If the user may not see the target, only the gateway checks.
///
/// # Errors
/// When there is no such target or login, or the user lacks the right.
pub async fn check(
    client: &Client,
    namespace: &str,
    person: &SignInUser,
    name: &str,
    login: Option<&str>,
) -> anyhow::Result<()> {
    let targets: Api<BastionTarget> = Api::namespaced(client.clone(), namespace);
    let target = match targets.get(name).await {
        Ok(target) => target,
        // A user may connect to a target without the right to see it.
        Err(error) if code(&error) == Some(403) => return Ok(()),
        Err(error) if code(&error) == Some(404) => {
            bail!(
                "there is no target {name:?} in namespace {namespace}; kubectl -n {namespace} get bastiontargets lists \
                 the targets"
            )
        }
        Err(error) => return Err(error).context(format!("the target {name:?} cannot be read")),
    };
    let logins: Vec<&str> = target.spec.logins.iter().map(crate::api::Login::as_str).collect();
    let login = login.or_else(|| logins.first().copied()).unwrap_or_default();
    if !logins.contains(&login) {
        bail!("login {login:?} is not among the logins of target {name:?}: {}", logins.join(", "));
    }
    if person.has_same_rights && !may_connect(client, namespace, &target, name, login).await? {
        bail!(
            "you may not connect to target {name:?} as {login:?}; ask an administrator of the bastion for the verb \
             {CONNECT_VERB} on bastiontargets, bastiontargets/{login}, or one of the target's groups"
        );
    }
    Ok(())
}

async fn may_connect(
    client: &Client,
    namespace: &str,
    target: &BastionTarget,
    name: &str,
    login: &str,
) -> anyhow::Result<bool> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let groups = target.spec.groups.iter().map(|group| ("bastiontargetgroups", None, group.as_str()));
    let forms = [("bastiontargets", None, name), ("bastiontargets", Some(login), name)].into_iter().chain(groups);
    let answers = forms.map(|(resource, subresource, name)| {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            verb: Some(CONNECT_VERB.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews = &reviews;
        async move { reviews.create(&PostParams::default(), &review).await }
    });
    let answers = try_join_all(answers).await.context("your rights cannot be checked")?;
    Ok(answers.iter().any(|answer| answer.status.as_ref().is_some_and(|status| status.allowed)))
}
