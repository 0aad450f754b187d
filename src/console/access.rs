//! Who asks, and whether the cluster lets them: the token is the API server's to review, the right RBAC's to give.

use std::future::Future;
use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::timeout;

use super::credentials::Credentials;
use super::failure::Failure;
use super::seal::{Seal, SignedIn};
use crate::api::GROUP;

/// How long the API server may take for one review.
const PATIENCE: Duration = Duration::from_secs(5);

const SESSIONS: &str = "bastionsessions";

/// Asks the API server about callers. Nothing is remembered: a token that is revoked, or a right that is withdrawn, is
/// of no use with the next request. Who signed in with a browser is who they are until that is over; their rights are asked
/// each time all the same.
#[derive(Clone)]
pub struct Gate {
    tokens: Api<TokenReview>,
    seal: Option<Seal>,
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The Kubernetes user name, never empty.
    pub name: String,
    /// Until when they are signed in; a token says that for itself.
    pub signed_in_until: Option<Timestamp>,
    user: UserInfo,
}

impl Caller {
    /// The Kubernetes groups.
    pub fn groups(&self) -> &[String] {
        self.user.groups.as_deref().unwrap_or_default()
    }

    /// The same person, as one who signs in until then.
    pub fn signed_in(self, until: Timestamp) -> SignedIn {
        SignedIn::new(self.name, self.user, until)
    }
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
    pub fn new(client: Client, namespace: &str, seal: Option<Seal>) -> Self {
        let rights = Api::namespaced(client.clone(), namespace);
        Self { tokens: Api::all(client), rights, seal, namespace: namespace.to_owned() }
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When that is nobody whom the cluster knows, or the API server does not answer.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        self.known(&Credentials::of(headers)?).await
    }

    /// Whose credentials they are.
    ///
    /// # Errors
    /// When they are nobody's whom the cluster knows, or who is signed in still, or the API server does not answer.
    pub async fn known(&self, credentials: &Credentials) -> Result<Caller, Failure> {
        match credentials {
            Credentials::Token(token) => self.reviewed(token).await,
            Credentials::Cookie(sealed) => self.opened(sealed),
        }
    }

    fn opened(&self, sealed: &str) -> Result<Caller, Failure> {
        let seal = self.seal.as_ref().ok_or(Failure::NoSignIn)?;
        let who = seal.open(sealed, Timestamp::now())?.ok_or(Failure::Unknown("you are signed in no longer"))?;
        let signed_in_until = Some(who.expires());
        Ok(Caller { name: who.name.clone(), signed_in_until, user: who.user() })
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When it is nobody's whom the cluster knows, or the API server does not answer.
    pub async fn reviewed(&self, token: &str) -> Result<Caller, Failure> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = asked(self.tokens.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).unwrap_or_default();
        let name = user.username.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Failure::Unknown("the cluster does not know this token"))?;
        Ok(Caller { name, signed_in_until: None, user })
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

    /// What a browser is given whose person has signed in.
    ///
    /// # Errors
    /// When this console has no key, or the person does not fit into a cookie.
    pub fn seal(&self, who: &SignedIn) -> Result<String, Failure> {
        Ok(self.seal.as_ref().ok_or(Failure::NoSignIn)?.seal(who)?)
    }

    /// Whether browsers can sign in.
    pub const fn can_sign_in(&self) -> bool {
        self.seal.is_some()
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
        let UserInfo { username, uid, groups, extra } = caller.user.clone();
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
