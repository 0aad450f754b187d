//! Who sends a request, as the cluster or a cookie of ours says.

use std::future::Future;
use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use super::auth_error::AuthError;
use super::cookie_cipher::{CookieCipher, SignedIn};
use super::credentials::Credentials;
use crate::cluster::Right;

/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finds out who visits. Nothing is remembered: a token that is revoked is of no use with the next request. Who signed in with
/// a browser is who they are until that is over.
#[derive(Clone)]
pub struct Authenticator {
    tokens: Api<TokenReview>,
    seal: Option<CookieCipher>,
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

    /// The user, as a review of their rights takes it.
    pub fn user(&self) -> UserInfo {
        self.user.clone()
    }

    /// The same person, as one who signs in until then.
    pub fn signed_in(self, until: Timestamp) -> SignedIn {
        SignedIn::new(self.name, self.user, until)
    }
}

impl From<SignedIn> for Caller {
    fn from(who: SignedIn) -> Self {
        Self { name: who.name.clone(), signed_in_until: Some(who.expires()), user: who.user() }
    }
}

impl Authenticator {
    /// Those whose tokens the cluster knows, and those who have a cookie that was sealed with these keys, where there are any.
    pub fn new(client: Client, seal: Option<CookieCipher>) -> Self {
        Self { tokens: Api::all(client), seal }
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When that is nobody who is known, or the API server does not answer.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        self.known(&Credentials::of(headers)?).await
    }

    /// Whose credentials they are.
    ///
    /// # Errors
    /// When they are nobody's whom the cluster knows, or who is signed in still, or the API server does not answer.
    pub async fn known(&self, credentials: &Credentials) -> Result<Caller, AuthError> {
        match credentials {
            Credentials::Token(token) => self.reviewed(token).await,
            Credentials::Cookie(sealed) => self.opened(sealed),
        }
    }

    fn opened(&self, sealed: &str) -> Result<Caller, AuthError> {
        let who = self.seal()?.signed_in(sealed, Timestamp::now())?;
        who.map(Caller::from).ok_or(AuthError::Unknown("you are signed in no longer"))
    }

    /// Whose token it is, which is good for the API server.
    ///
    /// # Errors
    /// When it is nobody's whom the cluster knows, or the API server does not answer.
    pub async fn reviewed(&self, token: &str) -> Result<Caller, AuthError> {
        self.review(token, None).await
    }

    /// Whose token it is, which is good for this audience.
    ///
    /// # Errors
    /// When it is nobody's whom the cluster knows, or is good elsewhere, or the API server does not answer.
    pub async fn vouched(&self, token: &str, audience: &str) -> Result<Caller, AuthError> {
        self.review(token, Some(audience)).await
    }

    async fn review(&self, token: &str, audience: Option<&str>) -> Result<Caller, AuthError> {
        const UNKNOWN: AuthError = AuthError::Unknown("the cluster does not know this token");
        // The API server takes no empty one, as if the question were wrong.
        if token.is_empty() {
            return Err(UNKNOWN);
        }
        let audiences = audience.map(|audience| vec![audience.to_owned()]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = asked(self.tokens.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        // Authenticators that know nothing of audiences name none, and mean the API server.
        let good =
            audience.is_none_or(|audience| status.audiences.is_some_and(|all| all.iter().any(|it| it == audience)));
        let user = status.user.filter(|_| good && status.authenticated == Some(true)).unwrap_or_default();
        let name = user.username.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(UNKNOWN)?;
        Ok(Caller { name, signed_in_until: None, user })
    }

    /// What seals what a browser is given whose person has signed in.
    ///
    /// # Errors
    /// When nobody can.
    pub fn seal(&self) -> Result<&CookieCipher, AuthError> {
        self.seal.as_ref().ok_or(AuthError::NoSignIn)
    }
}

/// Returns whether a user has a right in `namespace`, which must be that of `rights`.
///
/// # Errors
/// When the API server does not answer.
pub async fn may(
    rights: &Api<LocalSubjectAccessReview>,
    namespace: &str,
    user: UserInfo,
    right: Right<'_>,
) -> Result<bool, AuthError> {
    let review = right.review(namespace, user);
    let answer = asked(rights.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// An answer of the API server, in time.
///
/// # Errors
/// When there is none.
pub async fn asked<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AuthError> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| AuthError::Cluster(error.to_string())),
        Err(_) => Err(AuthError::Cluster(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
