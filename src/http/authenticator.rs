//! Authenticates requests by TokenReview or sign-in cookie, and authorizes them by SubjectAccessReview.

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::HeaderMap;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::Client;
use kube::api::{Api, PostParams};

use super::api_timeout::with_api_timeout;
use super::auth_error::AuthError;
use super::cookie_cipher::{CookieCipher, Purpose, SignedInUser};
use super::credentials::{Credentials, SIGN_IN_COOKIE, cookie};
use super::sign_outs::SignOuts;
use super::token_reviews::TokenReviews;
use crate::cluster::Right;
use crate::tasks::Tasks;

/// Authenticates callers. A revoked token fails after 10 s at most. A sign-in cookie stays valid until it expires, or until its
/// user signs out.
#[derive(Clone)]
pub struct Authenticator {
    tokens: TokenReviews,
    cookies: Option<Cookies>,
}

/// Seals and opens sign-in cookies.
#[derive(Clone)]
pub struct Cookies {
    cipher: CookieCipher,
    sign_outs: SignOuts,
}

impl Cookies {
    /// Returns the cookies that the keys in this file encrypt, and starts a watch of the sign-outs in `namespace`.
    pub fn new(key_file: PathBuf, client: Client, namespace: &str, tasks: &Tasks) -> Self {
        Self { cipher: CookieCipher::new(key_file), sign_outs: SignOuts::watch(client, namespace, tasks) }
    }

    /// Returns the user of a sign-in cookie.
    ///
    /// # Errors
    /// Fails when the cookie does not open, has expired, or is from before a sign-out, and when the sign-outs are not known yet.
    async fn open(&self, sealed: &str) -> Result<SignedInUser, AuthError> {
        const SIGNED_OUT: AuthError = AuthError::Unauthenticated("you are no longer signed in");
        let now = Timestamp::now();
        let user = self.cipher.open_sign_in(sealed, now)?.ok_or(SIGNED_OUT)?;
        if self.sign_outs.permit(&user, now).await? { Ok(user) } else { Err(SIGNED_OUT) }
    }
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
}

impl From<SignedInUser> for Caller {
    fn from(signed_in: SignedInUser) -> Self {
        let (name, expires) = (signed_in.name.clone(), signed_in.expires());
        Self { name, signed_in_until: Some(expires), user: signed_in.user() }
    }
}

impl Authenticator {
    /// Returns an authenticator that takes tokens, and sign-in cookies if there are any.
    pub fn new(client: Client, cookies: Option<Cookies>) -> Self {
        Self { tokens: TokenReviews::new(client), cookies }
    }

    /// Authenticates a request of the client at `address` by its headers.
    ///
    /// # Errors
    /// Missing, unknown or expired credentials, too many reviews for the address, or no answer of the API server.
    pub async fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller, AuthError> {
        self.verify(&Credentials::from_headers(headers)?, Some(address)).await
    }

    /// Returns the owner of the credentials. `address` is the client's; `None` if its request has been counted before.
    ///
    /// # Errors
    /// Unknown or expired credentials, too many reviews for the address, or no answer of the API server.
    pub async fn verify(&self, credentials: &Credentials, address: Option<IpAddr>) -> Result<Caller, AuthError> {
        match credentials {
            Credentials::Token(token) => self.verify_token(token, None, address).await,
            Credentials::Cookie(sealed) => Ok(self.cookies()?.open(sealed).await?.into()),
        }
    }

    /// Returns the user of a token for this audience; `None` is the API server.
    ///
    /// # Errors
    /// As [`TokenReviews::user`].
    pub async fn verify_token(
        &self,
        token: &str,
        audience: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Caller, AuthError> {
        let user = self.tokens.user(token, audience, address).await?;
        Ok(Caller { name: user.username.clone().unwrap_or_default(), signed_in_until: None, user })
    }

    /// Returns the content of a sign-in cookie for this user that expires at `until`.
    ///
    /// # Errors
    /// No cookies, no usable key, a user in too many groups, or sign-outs that are not known yet.
    pub async fn sign_in(&self, name: &str, user: UserInfo, until: Timestamp) -> Result<String, AuthError> {
        let cookies = self.cookies()?;
        let generation = cookies.sign_outs.generation(name, Timestamp::now()).await?;
        let user = SignedInUser::new(name.to_owned(), user, generation, until);
        Ok(cookies.cipher.seal(Purpose::SignedIn, &user)?)
    }

    /// Ends all sign-ins of the user whose sign-in cookie a request has. Without a valid cookie, there is none to end.
    ///
    /// # Errors
    /// The sign-out could not be recorded.
    pub async fn sign_out(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let (Some(sealed), Some(cookies)) = (cookie(headers, SIGN_IN_COOKIE), &self.cookies) else { return Ok(()) };
        match cookies.open(&sealed).await {
            Ok(user) => cookies.sign_outs.record(&user, Timestamp::now()).await,
            Err(AuthError::Unauthenticated(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the cipher of the cookies.
    ///
    /// # Errors
    /// [`AuthError::NoSignIn`] if none is configured.
    pub fn cookie_cipher(&self) -> Result<&CookieCipher, AuthError> {
        self.cookies().map(|cookies| &cookies.cipher)
    }

    fn cookies(&self) -> Result<&Cookies, AuthError> {
        self.cookies.as_ref().ok_or(AuthError::NoSignIn)
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
