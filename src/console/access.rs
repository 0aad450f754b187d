//! Who asks, and whether the cluster lets them: the token is the API server's to review, the right RBAC's to give.

use std::future::Future;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::timeout;

use super::failure::Failure;
use crate::api::GROUP;

/// How long the API server may take for one review.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the subprotocol begins with that is a token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

const SESSIONS: &str = "bastionsessions";

/// Asks the API server about callers. Nothing is remembered: a token that is revoked, or a right that is withdrawn, is
/// of no use with the next request.
#[derive(Clone)]
pub struct Gate {
    tokens: Api<TokenReview>,
    rights: Api<LocalSubjectAccessReview>,
    namespace: String,
}

/// Whose token a request came with.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The Kubernetes user name, never empty.
    pub name: String,
    user: UserInfo,
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
        let rights = Api::namespaced(client.clone(), namespace);
        Self { tokens: Api::all(client), rights, namespace: namespace.to_owned() }
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When that is nobody whom the cluster knows, or the API server does not answer.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        self.known(bearer(headers).ok_or(Failure::Unknown("there is no token"))?).await
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When it is nobody's whom the cluster knows, or the API server does not answer.
    pub async fn known(&self, token: &str) -> Result<Caller, Failure> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = asked(self.tokens.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).unwrap_or_default();
        let name = user.username.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Failure::Unknown("the cluster does not know this token"))?;
        Ok(Caller { name, user })
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The token that a WebSocket comes with. Pages can send no header with it but the subprotocols that they speak, so that
/// Kubernetes takes one of those for a token.
pub fn token_of_page(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = bearer(headers) {
        return Some(token.to_owned());
    }
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = offers.flat_map(|value| value.split(',')).find_map(|it| it.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    Some(token).filter(|token| !token.is_empty())
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

    #[rstest]
    #[case(&["feed.bastion.dev, base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["feed.bastion.dev", "base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["base64url.bearer.authorization.k8s.io.YWJj="], None)]
    #[case(&["base64url.bearer.authorization.k8s.io."], None)]
    #[case(&["feed.bastion.dev"], None)]
    #[case(&[], None)]
    fn a_token_of_a_page_is_read(#[case] protocols: &[&'static str], #[case] token: Option<&str>) {
        let mut headers = HeaderMap::new();
        for protocol in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        }
        assert_eq!(token_of_page(&headers).as_deref(), token);
        headers.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(token_of_page(&headers).as_deref(), Some("xyz"));
    }
}
