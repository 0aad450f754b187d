//! Whether the cluster lets somebody: rights are RBAC's to give.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::failure::Failure;
use crate::api::GROUP;
use crate::web::{Caller, asked};

const SESSIONS: &str = "bastionsessions";

/// Asks the API server what callers may. Nothing is remembered: a right that is withdrawn is of no use with the next request.
#[derive(Clone)]
pub struct Gate {
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// What a caller must be let do: a verb on a resource of the bastion's, on all of them or on the one of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right<'a> {
    /// Such as `list`.
    pub verb: &'static str,
    /// Such as `bastionsessions`.
    pub resource: &'static str,
    /// The one of this name.
    pub name: Option<&'a str>,
}

/// Which sessions somebody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Every one.
    All,
    /// Those of the user who stands for this Kubernetes user name.
    Own(String),
}

impl Sight {
    /// Whether the sessions of the user who stands for this Kubernetes user name are among them.
    pub fn has(&self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => own == subject,
        }
    }
}

impl Gate {
    /// For the bastion in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { rights: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// Which sessions a caller sees: all, where they may list them, and else their own.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn sight(&self, caller: &Caller) -> Result<Sight, Failure> {
        let list = Right { verb: "list", resource: SESSIONS, name: None };
        Ok(if self.may(caller, list).await? { Sight::All } else { Sight::Own(caller.name.clone()) })
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
        self.require(caller, Right { verb: "get", resource: SESSIONS, name: session }).await
    }

    /// Lets a caller through who has a right.
    ///
    /// # Errors
    /// What they lack, or that the API server does not answer.
    pub async fn require(&self, caller: &Caller, right: Right<'_>) -> Result<(), Failure> {
        if self.may(caller, right).await? {
            return Ok(());
        }
        let Right { verb, resource, .. } = right;
        Err(Failure::Forbidden { who: caller.name.clone(), verb, resource, namespace: self.namespace.clone() })
    }

    async fn may(&self, caller: &Caller, Right { verb, resource, name }: Right<'_>) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            name: name.map(str::to_owned),
            namespace: Some(self.namespace.clone()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let UserInfo { username, uid, groups, extra } = caller.user();
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let metadata = ObjectMeta { namespace: Some(self.namespace.clone()), ..ObjectMeta::default() };
        let review = LocalSubjectAccessReview { metadata, spec, status: None };
        let answer = asked(self.rights.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
