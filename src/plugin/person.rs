//! Finds the BastionUser to sign in as: the one that a flag names, or the one whose subject is the caller's Kubernetes user
//! name.

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::select;
use crate::api::BastionUser;
use crate::cluster::{Guarded, code};

/// The BastionUser to sign in as.
#[derive(Debug)]
pub struct SignInUser {
    /// The BastionUser's name.
    pub name: String,
    /// Whether the caller has all RBAC rights of the BastionUser, so that the caller's rights can be checked instead.
    pub has_same_rights: bool,
}

/// Finds the BastionUser to sign in as.
///
/// # Errors
/// When no BastionUser or more than one matches. The error says which flag names the right one.
pub async fn find(client: &Client, namespace: &str, named: Option<&str>) -> anyhow::Result<SignInUser> {
    let me = caller(client).await?;
    let users: Api<Guarded<BastionUser>> = Api::namespaced(client.clone(), namespace);
    if let Some(name) = named {
        // Without the right to read the BastionUser, the check is left to the gateway.
        let user = users.get_opt(name).await.ok().flatten().and_then(|user| user.0.ok());
        return Ok(SignInUser {
            name: name.to_owned(),
            has_same_rights: user.is_some_and(|user| has_same_rights(&me, &user)),
        });
    }
    let listed = match users.list(&ListParams::default()).await {
        Ok(listed) => Some(select::readable(listed)),
        Err(error) if code(&error) == Some(403) => None,
        Err(error) => return Err(error).context("the BastionUsers cannot be listed"),
    };
    choose(&me, listed, namespace)
}

/// Returns the caller's Kubernetes user, by a SelfSubjectReview.
///
/// # Errors
/// When the API server does not answer or refuses the credentials.
pub async fn caller(client: &Client) -> anyhow::Result<UserInfo> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.context("your Kubernetes user is unknown; sign in to the cluster")?;
    Ok(review.status.and_then(|status| status.user_info).unwrap_or_default())
}

/// Returns the BastionUser whose subject is the caller's user name. `listed` is `None` if the caller may not list BastionUsers;
/// then only a BastionUser with the default subject `bastion:<name>` can be found.
fn choose(me: &UserInfo, listed: Option<Vec<BastionUser>>, namespace: &str) -> anyhow::Result<SignInUser> {
    let own_name = me.username.as_deref().unwrap_or_default();
    let Some(users) = listed else {
        let name = own_name.strip_prefix("bastion:").map(str::to_owned);
        let name = name.ok_or_else(|| {
            anyhow!(
                "you may not list the bastionusers of namespace {namespace} to find the one that stands for your \
                 Kubernetes user {own_name:?}; name it with --user or BASTION_USER"
            )
        })?;
        return Ok(SignInUser { name, has_same_rights: false });
    };
    let mine: Vec<&BastionUser> = users.iter().filter(|user| user.subject() == own_name).collect();
    match mine.as_slice() {
        [user] => Ok(SignInUser { name: user.name_any(), has_same_rights: has_same_rights(me, user) }),
        [] => bail!(
            "no BastionUser in namespace {namespace} stands for your Kubernetes user {own_name:?} (spec.subject); name \
             one with --user or BASTION_USER"
        ),
        several => bail!(
            "several BastionUsers stand for your Kubernetes user {own_name:?}; name one of them with --user or \
             BASTION_USER: {}",
            several.iter().map(|user| user.name_any()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Returns whether the caller has all rights of the BastionUser: the same user name, and all of its groups.
fn has_same_rights(me: &UserInfo, user: &BastionUser) -> bool {
    let own_groups = me.groups.as_deref().unwrap_or_default();
    me.username.as_deref() == Some(&user.subject()) && user.spec.groups.iter().all(|it| own_groups.contains(&it.0))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn user(name: &str, subject: Option<&str>, groups: &[&str]) -> BastionUser {
        serde_json::from_value(json!({
            "apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser", "metadata": {"name": name},
            "spec": {"subject": subject, "groups": groups},
        }))
        .unwrap()
    }

    fn me(name: &str) -> UserInfo {
        let groups = Some(vec!["web-team".to_owned()]);
        UserInfo { username: Some(name.to_owned()), groups, ..UserInfo::default() }
    }

    #[rstest]
    #[case("alice@example.com", Ok(("alice", true)))]
    #[case("bastion:bob", Ok(("bob", false)))]
    #[case("carol", Err("name one with --user or BASTION_USER"))]
    #[case("shared", Err("name one of them with --user or BASTION_USER: one, two"))]
    fn the_user_with_the_callers_subject_is_found(
        #[case] own_name: &str,
        #[case] expected: Result<(&str, bool), &str>,
    ) {
        let users = vec![
            user("alice", Some("alice@example.com"), &["web-team"]),
            user("bob", None, &["other-team"]),
            user("one", Some("shared"), &[]),
            user("two", Some("shared"), &[]),
        ];
        match (choose(&me(own_name), Some(users), "bastion-system"), expected) {
            (Ok(person), Ok(expected)) => assert_eq!((person.name.as_str(), person.has_same_rights), expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn without_the_right_to_list_users_the_default_subject_is_found() {
        assert_eq!(choose(&me("bastion:bob"), None, "bastion-system").unwrap().name, "bob");
        let error = choose(&me("alice@example.com"), None, "bastion-system").unwrap_err();
        assert!(error.to_string().contains("name it with --user"), "{error}");
    }
}
