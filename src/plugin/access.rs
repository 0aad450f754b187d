//! Whether the target is there and may be used, so that whoever may know is told before `ssh` runs. The gateway has the
//! last word.

use anyhow::{Context, bail};
use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use super::person::Person;
use crate::api::{BastionTarget, CONNECT_VERB, GROUP};
use crate::cluster::code;

/// Looks whether the person may reach the target.
///
/// # Errors
/// Why not.
pub async fn check(
    client: &Client,
    namespace: &str,
    person: &Person,
    name: &str,
    login: Option<&str>,
) -> anyhow::Result<()> {
    let targets: Api<BastionTarget> = Api::namespaced(client.clone(), namespace);
    let target = match targets.get(name).await {
        Ok(target) => target,
        // To see targets is another right than to connect to them.
        Err(error) if code(&error) == Some(403) => return Ok(()),
        Err(error) if code(&error) == Some(404) => {
            bail!(
                "there is no target {name:?} in namespace {namespace}; kubectl -n {namespace} get bastiontargets shows \
                 what there is"
            )
        }
        Err(error) => return Err(error).context(format!("the target {name:?} cannot be read")),
    };
    let logins: Vec<&str> = target.spec.logins.iter().map(crate::api::Login::as_str).collect();
    let login = login.or_else(|| logins.first().copied()).unwrap_or_default();
    if !logins.contains(&login) {
        bail!("login {login:?} is not among the logins of target {name:?}: {}", logins.join(", "));
    }
    if person.speaks_for && !may_connect(client, namespace, &target, name, login).await? {
        bail!(
            "you may not connect to target {name:?} as {login:?}; ask whoever runs the bastion for the verb \
             {CONNECT_VERB} on bastiontargets, bastiontargets/{login}, or a group of targets that it is in"
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
