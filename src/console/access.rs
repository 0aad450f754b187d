//! Who asks, and whether the cluster lets them: the token is the API server's to review, the right RBAC's to give.

use std::future::Future;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::timeout;

use super::failure::Failure;
use crate::api::GROUP;

/// How long the API server may take for one review.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the API server about callers. Nothing is remembered: a token that is revoked, or a right that is withdrawn, is
/// of no use with the next request.
#[derive(Clone)]
pub struct Gate {
    tokens: Api<TokenReview>,
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// What a caller must be let do: a verb on a resource of the bastion's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right(pub &'static str, pub &'static str);

impl Gate {
    /// For the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        let rights = Api::namespaced(client.clone(), namespace);
        Self { tokens: Api::all(client), rights, namespace: namespace.to_owned() }
    }

    /// Lets a request through whose sender has the right.
    ///
    /// # Errors
    /// Who they are not, what they lack, or that the API server does not answer.
    pub async fn check(&self, headers: &HeaderMap, right: Right) -> Result<(), Failure> {
        let token = bearer(headers).ok_or(Failure::Unknown("who are you?"))?;
        let caller = self.review(token).await?.ok_or(Failure::Unknown("the cluster does not know this token"))?;
        let who = caller.username.clone().unwrap_or_default();
        if self.may(caller, right).await? {
            return Ok(());
        }
        let Right(verb, resource) = right;
        Err(Failure::Forbidden { who, verb, resource, namespace: self.namespace.clone() })
    }

    async fn review(&self, token: &str) -> Result<Option<UserInfo>, Failure> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = asked(self.tokens.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may(&self, caller: UserInfo, Right(verb, resource): Right) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some(self.namespace.clone()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: caller.username,
            uid: caller.uid,
            groups: caller.groups,
            extra: caller.extra,
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let metadata = ObjectMeta { namespace: Some(self.namespace.clone()), ..ObjectMeta::default() };
        let review = LocalSubjectAccessReview { metadata, spec, status: None };
        let answer = asked(self.rights.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// An answer of the API server, in time.
///
/// # Errors
/// When there is none.
pub async fn asked<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| Failure::Cluster(error.to_string())),
        Err(_) => Err(Failure::Cluster(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some("Bearer abc"), Some("abc"))]
    #[case(Some("bearer  abc "), Some("abc"))]
    #[case(Some("Basic abc"), None)]
    #[case(Some("Bearer "), None)]
    #[case(Some("Bearer"), None)]
    #[case(None, None)]
    fn a_token_is_read(#[case] header: Option<&str>, #[case] token: Option<&str>) {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(header::AUTHORIZATION, header.parse().unwrap());
        }
        assert_eq!(bearer(&headers), token);
    }
}
