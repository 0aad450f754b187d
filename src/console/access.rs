//! Whether the cluster lets somebody: rights are RBAC's to give.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::Client;
use kube::api::Api;

use super::failure::Failure;
use crate::cluster::Right;
use crate::http;
use crate::http::Caller;

const SESSIONS: &str = "bastionsessions";

/// Asks the API server what callers may. Nothing is remembered: a right that is withdrawn is of no use with the next request.
#[derive(Clone)]
pub struct Authorizer {
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// Which sessions somebody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every one.
    All,
    /// Those of the user who stands for this Kubernetes user name.
    Own(String),
}

impl Visibility {
    /// Whether the sessions of the user who stands for this Kubernetes user name are among them.
    pub fn has(&self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => own == subject,
        }
    }
}

impl Authorizer {
    /// For the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { rights: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// Which sessions a caller sees: all, where they may list them, and else their own.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn visibility(&self, caller: &Caller) -> Result<Visibility, Failure> {
        Ok(if self.may(caller.user(), Right::to("list", SESSIONS)).await? {
            Visibility::All
        } else {
            Visibility::Own(caller.name.clone())
        })
    }

    /// Lets a caller see one session, whose user stands for `subject`, if there is one: their own, or any that they may get.
    /// To others it does not tell whether there is one.
    ///
    /// # Errors
    /// What they lack, or that the API server does not answer.
    pub async fn let_see(&self, caller: &Caller, session: Option<&str>, subject: Option<&str>) -> Result<(), Failure> {
        if subject == Some(caller.name.as_str()) {
            return Ok(());
        }
        self.require(caller, Right { name: session, ..Right::to("get", SESSIONS) }).await
    }

    /// Lets a caller through who has a right.
    ///
    /// # Errors
    /// What they lack, or that the API server does not answer.
    pub async fn require(&self, caller: &Caller, right: Right<'_>) -> Result<(), Failure> {
        if self.may(caller.user(), right).await? {
            return Ok(());
        }
        let (who, namespace) = (caller.name.clone(), self.namespace.clone());
        Err(Failure::Forbidden { who, verb: right.verb, resource: right.resource(), namespace })
    }

    /// Whether a user has a right.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may(&self, user: UserInfo, right: Right<'_>) -> Result<bool, Failure> {
        Ok(http::may(&self.rights, &self.namespace, user, right).await?)
    }
}
