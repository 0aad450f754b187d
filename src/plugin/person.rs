//! Who signs in: the BastionUser that is named, or the one that stands for the caller's Kubernetes user.

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::select;
use crate::api::BastionUser;
use crate::cluster::{Guarded, code};

/// Who signs in.
#[derive(Debug)]
pub struct Person {
    /// The BastionUser's name.
    pub name: String,
    /// Whether what RBAC lets the caller do is all that it lets the BastionUser do.
    pub speaks_for: bool,
}

/// Finds who signs in.
///
/// # Errors
/// What to name, where nobody can be found.
pub async fn find(client: &Client, namespace: &str, named: Option<&str>) -> anyhow::Result<Person> {
    let me = caller(client).await?;
    let users: Api<Guarded<BastionUser>> = Api::namespaced(client.clone(), namespace);
    if let Some(name) = named {
        // Whoever may not read it is told by the gateway.
        let user = users.get_opt(name).await.ok().flatten().and_then(|user| user.0.ok());
        return Ok(Person { name: name.to_owned(), speaks_for: user.is_some_and(|user| speaks_for(&me, &user)) });
    }
    let listed = match users.list(&ListParams::default()).await {
        Ok(listed) => Some(select::readable(listed)),
        Err(error) if code(&error) == Some(403) => None,
        Err(error) => return Err(error).context("the BastionUsers cannot be listed"),
    };
    choose(&me, listed, namespace)
}

/// Who the cluster takes the caller for.
///
/// # Errors
/// When it does not say.
pub async fn caller(client: &Client) -> anyhow::Result<UserInfo> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.context("the API server does not say who you are; are you signed in to the cluster?")?;
    Ok(review.status.and_then(|status| status.user_info).unwrap_or_default())
}

/// The one of the users who stands for me. Without the right to list them, one is known by the subject that users have
/// who name none.
fn choose(me: &UserInfo, listed: Option<Vec<BastionUser>>, namespace: &str) -> anyhow::Result<Person> {
    let own_name = me.username.as_deref().unwrap_or_default();
    let Some(users) = listed else {
        let name = own_name.strip_prefix("bastion:").map(str::to_owned);
        let name = name.ok_or_else(|| {
            anyhow!(
                "you may not list the bastionusers of namespace {namespace} to find the one that stands for your \
                 Kubernetes user {own_name:?}; name it with --user or BASTION_USER"
            )
        })?;
        return Ok(Person { name, speaks_for: false });
    };
    let mine: Vec<&BastionUser> = users.iter().filter(|user| user.subject() == own_name).collect();
    match mine.as_slice() {
        [user] => Ok(Person { name: user.name_any(), speaks_for: speaks_for(me, user) }),
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

/// The gateway asks in the name of the user's subject and groups: the answer to the caller is the same or more, when
/// the caller is that subject and in all those groups.
fn speaks_for(me: &UserInfo, user: &BastionUser) -> bool {
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
    fn the_user_who_stands_for_me_is_found(#[case] own_name: &str, #[case] expected: Result<(&str, bool), &str>) {
        let users = vec![
            user("alice", Some("alice@example.com"), &["web-team"]),
            user("bob", None, &["other-team"]),
            user("one", Some("shared"), &[]),
            user("two", Some("shared"), &[]),
        ];
        match (choose(&me(own_name), Some(users), "bastion-system"), expected) {
            (Ok(person), Ok(expected)) => assert_eq!((person.name.as_str(), person.speaks_for), expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn without_the_right_to_list_users_the_usual_subject_is_known() {
        assert_eq!(choose(&me("bastion:bob"), None, "bastion-system").unwrap().name, "bob");
        let error = choose(&me("alice@example.com"), None, "bastion-system").unwrap_err();
        assert!(error.to_string().contains("name it with --user"), "{error}");
    }
}
