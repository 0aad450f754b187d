//! Authorizes callers by the cluster's RBAC.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::Client;
use kube::api::Api;

use super::api_error::ApiError;
use crate::cluster::Right;
use crate::http::{self, Caller};

const SESSIONS: &str = "bastionsessions";

/// Checks rights at the API server. Caches nothing, so that a revoked right has no effect from the next request on.
#[derive(Clone)]
pub struct Authorizer {
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// The sessions that a caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All sessions.
    All,
    /// The sessions of this Kubernetes user.
    Own(String),
}

impl Visibility {
    /// Returns whether the caller may see the sessions of this Kubernetes user.
    pub fn includes(&self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => own == subject,
        }
    }
}

impl Authorizer {
    /// Creates an authorizer for the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { rights: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// Returns which sessions a caller may see: all with the right to list them, and their own otherwise.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn visibility(&self, caller: &Caller) -> Result<Visibility, ApiError> {
        Ok(if self.may(caller.user(), Right::to("list", SESSIONS)).await? {
            Visibility::All
        } else {
            Visibility::Own(caller.name.clone())
        })
    }

    /// Requires that a caller may see one session: their own, or any with the right to get it. `subject` is the Kubernetes
    /// user of the session, if it exists. The error does not reveal whether it does.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or when the API server does not answer.
    pub async fn require_visible(
        &self,
        caller: &Caller,
        session: Option<&str>,
        subject: Option<&str>,
    ) -> Result<(), ApiError> {
        if subject == Some(caller.name.as_str()) {
            return Ok(());
        }
        self.require(caller, Right { name: session, ..Right::to("get", SESSIONS) }).await
    }

    /// Requires that a caller has a right.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or when the API server does not answer.
    pub async fn require(&self, caller: &Caller, right: Right<'_>) -> Result<(), ApiError> {
        if self.may(caller.user(), right).await? {
            return Ok(());
        }
        let (user, namespace) = (caller.name.clone(), self.namespace.clone());
        Err(ApiError::Forbidden { user, verb: right.verb, resource: right.resource(), namespace })
    }

    /// Returns whether a user has a right.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may(&self, user: UserInfo, right: Right<'_>) -> Result<bool, ApiError> {
        Ok(http::is_allowed(&self.rights, &self.namespace, user, right).await?)
    }
}
