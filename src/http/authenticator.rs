//! Authenticates requests by TokenReview or sign-in cookie, and authorizes them by SubjectAccessReview.

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
use super::cookie_cipher::{CookieCipher, SignedInUser};
use super::credentials::Credentials;
use crate::cluster::{RequestError, Right};

/// How long the API server may take to answer one request.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// Authenticates callers. It caches nothing, so a revoked token fails with the next request. A sign-in cookie stays
/// valid until it expires.
#[derive(Clone)]
pub struct Authenticator {
    tokens: Api<TokenReview>,
    cookie_cipher: Option<CookieCipher>,
}

/// An authenticated user.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The Kubernetes user name, never empty.
    pub name: String,
    /// When the sign-in cookie expires; `None` for a token, which carries its own expiry.
    pub signed_in_until: Option<Timestamp>,
    user: UserInfo,
}

impl Caller {
    /// Returns the Kubernetes groups.
    pub fn groups(&self) -> &[String] {
        self.user.groups.as_deref().unwrap_or_default()
    }

    /// Returns the user, in the form that a SubjectAccessReview takes.
    pub fn user(&self) -> UserInfo {
        self.user.clone()
    }

    /// Returns the content of a sign-in cookie for this user that expires at `until`.
    pub fn signed_in(self, until: Timestamp) -> SignedInUser {
        SignedInUser::new(self.name, self.user, until)
    }
}

impl From<SignedInUser> for Caller {
    fn from(signed_in: SignedInUser) -> Self {
        let (name, expires) = (signed_in.name.clone(), signed_in.expires());
        Self { name, signed_in_until: Some(expires), user: signed_in.user() }
    }
}

impl Authenticator {
    /// Returns an authenticator that takes tokens, and sign-in cookies if there is a cipher.
    pub fn new(client: Client, cookie_cipher: Option<CookieCipher>) -> Self {
        Self { tokens: Api::all(client), cookie_cipher }
    }

    /// Authenticates a request by its headers.
    ///
    /// # Errors
    /// Missing, unknown or expired credentials, or no answer of the API server.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        self.verify(&Credentials::from_headers(headers)?).await
    }

    /// Returns the owner of the credentials.
    ///
    /// # Errors
    /// Unknown or expired credentials, or no answer of the API server.
    pub async fn verify(&self, credentials: &Credentials) -> Result<Caller, AuthError> {
        match credentials {
            Credentials::Token(token) => self.verify_token(token).await,
            Credentials::Cookie(sealed) => self.verify_cookie(sealed),
        }
    }

    fn verify_cookie(&self, sealed: &str) -> Result<Caller, AuthError> {
        let signed_in = self.cookie_cipher()?.open_sign_in(sealed, Timestamp::now())?;
        signed_in.map(Caller::from).ok_or(AuthError::Unauthenticated("you are no longer signed in"))
    }

    /// Returns the user of a token whose audience is the API server.
    ///
    /// # Errors
    /// An unknown token, or no answer of the API server.
    pub async fn verify_token(&self, token: &str) -> Result<Caller, AuthError> {
        self.review_token(token, None).await
    }

    /// Returns the user of a token for this audience.
    ///
    /// # Errors
    /// An unknown token, a token for another audience, or no answer of the API server.
    pub async fn verify_token_for(&self, token: &str, audience: &str) -> Result<Caller, AuthError> {
        self.review_token(token, Some(audience)).await
    }

    async fn review_token(&self, token: &str, audience: Option<&str>) -> Result<Caller, AuthError> {
        const UNKNOWN: AuthError = AuthError::Unauthenticated("the cluster does not know this token");
        // The API server answers a review of an empty token with an error.
        if token.is_empty() {
            return Err(UNKNOWN);
        }
        let audiences = audience.map(|audience| vec![audience.to_owned()]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let created = with_api_timeout(self.tokens.create(&PostParams::default(), &review)).await?;
        let status = created.status.unwrap_or_default();
        // An authenticator that does not support audiences returns none: its tokens are for the API server alone.
        let for_audience =
            audience.is_none_or(|audience| status.audiences.is_some_and(|all| all.iter().any(|it| it == audience)));
        let authenticated = for_audience && status.authenticated == Some(true);
        let user = status.user.filter(|_| authenticated).unwrap_or_default();
        let name = user.username.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(UNKNOWN)?;
        Ok(Caller { name, signed_in_until: None, user })
    }

    /// Returns the cipher of the sign-in cookies.
    ///
    /// # Errors
    /// [`AuthError::NoSignIn`] if none is configured.
    pub fn cookie_cipher(&self) -> Result<&CookieCipher, AuthError> {
        self.cookie_cipher.as_ref().ok_or(AuthError::NoSignIn)
    }
}

/// Returns whether a user has a right in `namespace`, which must be that of `reviews`.
///
/// # Errors
/// No answer of the API server.
pub async fn is_allowed(
    reviews: &Api<LocalSubjectAccessReview>,
    namespace: &str,
    user: UserInfo,
    right: Right<'_>,
) -> Result<bool, AuthError> {
    let review = right.review(namespace, user);
    let answer = with_api_timeout(reviews.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Awaits a request to the API server for at most 5 s.
///
/// # Errors
/// [`AuthError::ApiServer`] if the request fails or times out.
pub async fn with_api_timeout<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AuthError> {
    match timeout(API_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(AuthError::api_server),
        Err(_) => Err(AuthError::api_server(RequestError::Timeout(API_TIMEOUT))),
    }
}
