//! Browser sign-in and sign-out: exchanges a Kubernetes token, or an OpenID Connect sign-in, for an encrypted cookie.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::oidc::{CallbackQuery, Oidc, OidcError, PendingSignIn, SIGN_IN_SECONDS, decode_claims};
use super::{Console, me};
use crate::http::{AuthError, MAX_SIGN_IN, Purpose, SIGN_IN_COOKIE, cookie};
use crate::metrics::{METRICS, SignInLabels};

/// How many sign-ins all users may start a second, because each costs a request to the API server or the provider.
const SIGN_INS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The cookie of a browser that is signing in with the OpenID Connect provider.
const OIDC_COOKIE: &str = "__Host-bastion-oidc";

/// Limits the rate of sign-ins.
pub type SignInLimiter = Arc<DefaultDirectRateLimiter>;

type SetCookie = AppendHeaders<[(HeaderName, String); 1]>;

/// Creates the limiter of sign-ins.
pub fn sign_in_limiter() -> SignInLimiter {
    Arc::new(RateLimiter::direct(Quota::per_second(SIGN_INS_PER_SECOND)))
}

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/auth/ways", get(ways))
        .route("/auth/token", post(token))
        .route("/auth/oidc", get(oidc))
        .route("/auth/oidc/callback", get(oidc_callback))
        .route("/auth/out", post(out))
        .route("/api/v1/me", get(me::me))
}

/// The ways to sign in with a browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignInMethods {
    /// Whether users can sign in with a Kubernetes token, at `/auth/token`.
    token: bool,
    /// The OpenID Connect provider, at `/auth/oidc`; null without one.
    oidc: Option<Provider>,
}

/// An OpenID Connect provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct Provider {
    /// The provider's name for people.
    name: String,
}

/// The token of a Kubernetes user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token, as `kubectl create token` prints it.
    #[schema(value_type = String)]
    token: Zeroizing<String>,
}

/// Returns the ways to sign in with a browser. Requires no credentials.
#[utoipa::path(get, path = "/auth/ways", security(()), responses((status = 200, body = SignInMethods)))]
pub async fn ways(State(console): State<Console>) -> Json<SignInMethods> {
    let oidc = console.auth.oidc.as_ref().map(|oidc| Provider { name: oidc.name().to_owned() });
    Json(SignInMethods { token: console.auth.authenticator.cookie_cipher().is_ok(), oidc })
}

/// Signs in a browser with the token of a Kubernetes user. The response sets an encrypted cookie, which names the user and
/// contains no token. The cookie expires with the token, after 8 hours at most. Other clients send the token itself.
#[utoipa::path(post, path = "/auth/token", security(()), request_body = Token, responses((status = 204, description = "Signed in"), ErrorResponses))]
pub async fn token(
    State(console): State<Console>,
    request: ClientRequest,
    body: Result<Json<Token>, JsonRejection>,
) -> Result<(StatusCode, SetCookie), ApiError> {
    console.auth.origins.check_write(&request.headers)?;
    let Json(Token { token }) = body.map_err(|rejection| ApiError::Malformed(without_value(&rejection)))?;
    console.limits.sign_ins.check().map_err(|_| ApiError::TooMany)?;
    let authenticator = &console.auth.authenticator;
    let caller = authenticator.verify_token(token.trim(), None, Some(request.address)).await?;
    let now = Timestamp::now();
    let until = expiry(token.trim(), now);
    let sealed = authenticator.sign_in(&caller.name, caller.user(), until).await?;
    METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: "token" }).inc();
    info!(who = caller.name, %until, "signed in a browser with a token");
    let seconds = until.as_second().saturating_sub(now.as_second()).max(0);
    Ok((StatusCode::NO_CONTENT, set_cookie(&sealed, seconds)))
}

/// The page to return to after the sign-in.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReturnQuery {
    /// A path of the console.
    #[serde(default, rename = "return")]
    path: String,
}

/// Redirects a browser to the OpenID Connect provider.
#[utoipa::path(get, path = "/auth/oidc", security(()), params(ReturnQuery), responses((status = 303, description = "To the provider"), ErrorResponses))]
pub async fn oidc(
    State(console): State<Console>,
    query: Result<Query<ReturnQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Some(oidc) = &console.auth.oidc else { return Err(ApiError::NoRoute) };
    let cipher = console.auth.authenticator.cookie_cipher()?;
    console.limits.sign_ins.check().map_err(|_| ApiError::TooMany)?;
    let Query(ReturnQuery { path }) = query.unwrap_or_default();
    Ok(match oidc.begin(&path, Timestamp::now()).await {
        Ok((url, pending)) => {
            let sealed = cipher.seal(Purpose::SigningIn, &pending).map_err(AuthError::from)?;
            (
                StatusCode::SEE_OTHER,
                oidc_cookie(&sealed, SIGN_IN_SECONDS),
                AppendHeaders([(header::LOCATION, url.to_string())]),
            )
                .into_response()
        }
        Err(error) => redirect_with_error(&error),
    })
}

/// Finishes the sign-in of a browser that returns from the OpenID Connect provider.
#[utoipa::path(get, path = "/auth/oidc/callback", security(()), responses((status = 303, description = "To the page where the sign-in began"), ErrorResponses))]
pub async fn oidc_callback(
    State(console): State<Console>,
    request: ClientRequest,
    query: Result<Query<CallbackQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Some(oidc) = &console.auth.oidc else { return Err(ApiError::NoRoute) };
    console.limits.sign_ins.check().map_err(|_| ApiError::TooMany)?;
    let pending = match cookie(&request.headers, OIDC_COOKIE) {
        Some(sealed) => {
            console.auth.authenticator.cookie_cipher()?.open(Purpose::SigningIn, &sealed).map_err(AuthError::from)?
        }
        None => None,
    };
    let (Some(pending), Ok(Query(query))) = (pending, query) else {
        return Ok(redirect_with_error(&OidcError::Late));
    };
    console.finish_oidc(oidc, &pending, query).await
}

impl Console {
    async fn finish_oidc(
        &self,
        oidc: &Oidc,
        pending: &PendingSignIn,
        query: CallbackQuery,
    ) -> Result<Response, ApiError> {
        let now = Timestamp::now();
        let user = match oidc.finish(pending, query, now).await {
            Ok(user) => user,
            Err(error) => return Ok(redirect_with_error(&error)),
        };
        let name = user.username.clone().unwrap_or_default();
        let until = now.saturating_add(MAX_SIGN_IN).unwrap_or(Timestamp::MAX);
        let sealed = self.auth.authenticator.sign_in(&name, user, until).await?;
        METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: "oidc" }).inc();
        info!(who = name, %until, "signed in a browser with the OpenID Connect provider");
        let session_cookie = set_cookie(&sealed, MAX_SIGN_IN.as_secs().cast_signed());
        Ok((session_cookie, oidc_cookie("", 0), Redirect::to(&pending.return_path)).into_response())
    }
}

/// Redirects a browser to the page, which shows the error. The URL has only the error's label; the log has the details.
fn redirect_with_error(error: &OidcError) -> Response {
    METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: error.label() }).inc();
    warn!(%error, "sign-in with the OpenID Connect provider failed");
    (oidc_cookie("", 0), Redirect::to(&format!("/?sign_in={}", error.label()))).into_response()
}

/// SameSite is Lax, because the browser must send this cookie when the provider redirects it back.
fn oidc_cookie(value: &str, seconds: i64) -> SetCookie {
    let cookie = format!("{OIDC_COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    AppendHeaders([(header::SET_COOKIE, cookie)])
}

/// Signs out the user of a browser's cookie: it becomes invalid everywhere, as do all older ones of the user. The response deletes
/// it from the browser, with status 503 too: then copies of the cookie stay valid until they expire.
#[utoipa::path(post, path = "/auth/out", security(()), responses((status = 204, description = "Signed out"), ErrorResponses))]
pub async fn out(
    State(console): State<Console>,
    request: ClientRequest,
) -> Result<(SetCookie, Result<StatusCode, ApiError>), ApiError> {
    console.auth.origins.check_write(&request.headers)?;
    let recorded = console.auth.authenticator.sign_out(&request.headers).await;
    Ok((set_cookie("", 0), recorded.map(|()| StatusCode::NO_CONTENT).map_err(ApiError::SignOut)))
}

fn set_cookie(value: &str, seconds: i64) -> SetCookie {
    let cookie = format!("{SIGN_IN_COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    AppendHeaders([(header::SET_COOKIE, cookie)])
}

/// Describes what is wrong with a body without quoting it, because it may contain a token.
fn without_value(rejection: &JsonRejection) -> String {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => "send it as application/json".to_owned(),
        _ => r#"send {"token": "..."}"#.to_owned(),
    }
}

/// Returns when a sign-in with a verified token expires: with the token if that is a JWT with `exp`, after 8 hours at most.
fn expiry(token: &str, now: Timestamp) -> Timestamp {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let latest = now.saturating_add(MAX_SIGN_IN).unwrap_or(Timestamp::MAX);
    let claims: Option<Claims> = decode_claims(token);
    #[allow(clippy::cast_possible_truncation, reason = "an i64 of seconds exceeds every valid timestamp")]
    let expires = claims.and_then(|claims| Timestamp::from_second(claims.exp as i64).ok());
    expires.map_or(latest, |expires| expires.min(latest))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short(r#"{"exp": 1600, "sub": "x"}"#, 1600)]
    #[case::with_a_fraction(r#"{"exp": 1600.5}"#, 1600)]
    #[case::long(r#"{"exp": 99999}"#, 1000 + 8 * 3600)]
    #[case::none(r#"{"sub": "x"}"#, 1000 + 8 * 3600)]
    #[case::no_json("?", 1000 + 8 * 3600)]
    fn a_sign_in_expires_with_its_token(#[case] claims: &str, #[case] until: i64) {
        let now = Timestamp::from_second(1000).unwrap();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(expiry(&token, now).as_second(), until);
        assert_eq!(expiry("opaque", now).as_second(), 1000 + 8 * 3600);
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_other_sites() {
        let AppendHeaders([(_, cookie)]) = set_cookie("abc", 60);
        assert_eq!(cookie, "__Host-bastion=abc; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict");
    }
}
