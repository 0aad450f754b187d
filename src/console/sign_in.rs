//! Signing in with a browser, and out again: a token of the cluster's for a cookie that holds none.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::failure::{Failure, Refusals};
use super::oidc::{Begun, Oidc, OidcError, Returned};
use super::{Console, me};
use crate::http::{AuthError, COOKIE, Purpose, SignedIn, cookie};
use crate::metrics::{METRICS, SignInLabels};

/// How long somebody is signed in at most.
const SIGNED_IN: Duration = Duration::from_hours(8);
/// How many may sign in each second; each of them is a question to the API server. A few more may come at once.
const SIGN_INS_A_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What is known of a browser that has been sent to the provider.
const BEGUN: &str = "__Host-bastion-oidc";

/// How many sign in.
pub type SignIns = Arc<DefaultDirectRateLimiter>;

type SetCookie = AppendHeaders<[(HeaderName, String); 1]>;

/// A bound on those who sign in.
pub fn sign_ins() -> SignIns {
    Arc::new(RateLimiter::direct(Quota::per_second(SIGN_INS_A_SECOND)))
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

/// How somebody can sign in with a browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ways {
    /// With the token of a Kubernetes user.
    token: bool,
    /// With an OpenID Connect provider, where there is one, at `/auth/oidc`.
    oidc: Option<Provider>,
}

/// An OpenID Connect provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct Provider {
    /// What people call it.
    name: String,
}

/// The token of a Kubernetes user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// As `kubectl create token` prints it.
    #[schema(value_type = String)]
    token: Zeroizing<String>,
}

/// How somebody can sign in with a browser; it is everybody's.
#[utoipa::path(get, path = "/auth/ways", security(()), responses((status = 200, body = Ways)))]
pub async fn ways(State(console): State<Console>) -> Json<Ways> {
    let oidc = console.oidc.as_ref().map(|oidc| Provider { name: oidc.name().to_owned() });
    Json(Ways { token: console.authenticator.seal().is_ok(), oidc })
}

/// Signs in with the token of a Kubernetes user. The answer sets a cookie, which says who that is and holds no token; it is
/// good for as long as the token is, and for 8 hours at most. Browsers alone need it.
#[utoipa::path(post, path = "/auth/token", security(()), request_body = Token, responses((status = 204, description = "Signed in"), Refusals))]
pub async fn token(
    State(console): State<Console>,
    headers: HeaderMap,
    body: Result<Json<Token>, JsonRejection>,
) -> Result<(StatusCode, SetCookie), Failure> {
    console.origins.check_write(&headers)?;
    let Json(Token { token }) = body.map_err(|rejection| Failure::Malformed(without_value(&rejection)))?;
    console.sign_ins.check().map_err(|_| Failure::TooMany)?;
    let caller = console.authenticator.reviewed(token.trim()).await?;
    let (now, name) = (Timestamp::now(), caller.name.clone());
    let until = expiry(token.trim(), now);
    let sealed =
        console.authenticator.seal()?.seal(Purpose::SignedIn, &caller.signed_in(until)).map_err(AuthError::from)?;
    METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: "token" }).inc();
    info!(who = name, %until, "signed in with a browser");
    let seconds = until.as_second().saturating_sub(now.as_second()).max(0);
    Ok((StatusCode::NO_CONTENT, set_cookie(&sealed, seconds)))
}

/// Where somebody wants to go.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wish {
    /// A path of the console's.
    #[serde(default, rename = "return")]
    to: String,
}

/// Sends a browser to the OpenID Connect provider, to sign in there.
#[utoipa::path(get, path = "/auth/oidc", security(()), params(Wish), responses((status = 303, description = "To the provider"), Refusals))]
pub async fn oidc(
    State(console): State<Console>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Failure> {
    let Some(oidc) = &console.oidc else { return Err(Failure::NoRoute) };
    let seal = console.authenticator.seal()?;
    console.sign_ins.check().map_err(|_| Failure::TooMany)?;
    let Query(wish) = wish.unwrap_or_default();
    Ok(match oidc.begin(&wish.to, Timestamp::now()).await {
        Ok((url, begun)) => {
            let sealed = seal.seal(Purpose::SigningIn, &begun).map_err(AuthError::from)?;
            (StatusCode::SEE_OTHER, begun_cookie(&sealed, 600), AppendHeaders([(header::LOCATION, url.to_string())]))
                .into_response()
        }
        Err(error) => not_signed_in(&error),
    })
}

/// Takes a browser back from the provider.
#[utoipa::path(get, path = "/auth/oidc/callback", security(()), responses((status = 303, description = "To where the person wanted to go"), Refusals))]
pub async fn oidc_callback(
    State(console): State<Console>,
    headers: HeaderMap,
    returned: Result<Query<Returned>, QueryRejection>,
) -> Result<Response, Failure> {
    let Some(oidc) = &console.oidc else { return Err(Failure::NoRoute) };
    console.sign_ins.check().map_err(|_| Failure::TooMany)?;
    let begun = match cookie(&headers, BEGUN) {
        Some(sealed) => console.authenticator.seal()?.open(Purpose::SigningIn, &sealed).map_err(AuthError::from)?,
        None => None,
    };
    let (Some(begun), Ok(Query(returned))) = (begun, returned) else {
        return Ok(not_signed_in(&OidcError::Late));
    };
    console.came_back(oidc, &begun, returned).await
}

impl Console {
    async fn came_back(&self, oidc: &Oidc, begun: &Begun, returned: Returned) -> Result<Response, Failure> {
        let now = Timestamp::now();
        let user = match oidc.finish(begun, returned, now).await {
            Ok(user) => user,
            Err(error) => return Ok(not_signed_in(&error)),
        };
        let name = user.username.clone().unwrap_or_default();
        let until = now.saturating_add(SIGNED_IN).unwrap_or(Timestamp::MAX);
        let who = SignedIn::new(name.clone(), user, until);
        let sealed = self.authenticator.seal()?.seal(Purpose::SignedIn, &who).map_err(AuthError::from)?;
        METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: "oidc" }).inc();
        info!(who = name, %until, "signed in with a browser, by the provider");
        let (signed_in, over) = (set_cookie(&sealed, SIGNED_IN.as_secs().cast_signed()), begun_cookie("", 0));
        Ok((signed_in, over, Redirect::to(&begun.to)).into_response())
    }
}

/// Sends a browser back to the page, which says that nobody has signed in. The word is one of few: what came from elsewhere is
/// for the log.
fn not_signed_in(error: &OidcError) -> Response {
    METRICS.console_sign_ins.get_or_create(&SignInLabels { outcome: error.label() }).inc();
    warn!(%error, "nobody has signed in with the provider");
    (begun_cookie("", 0), Redirect::to(&format!("/?sign_in={}", error.label()))).into_response()
}

/// It must come with the browser when the provider's page sends it back.
fn begun_cookie(value: &str, seconds: i64) -> SetCookie {
    let cookie = format!("{BEGUN}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    AppendHeaders([(header::SET_COOKIE, cookie)])
}

/// Signs out: has the browser forget the cookie.
#[utoipa::path(post, path = "/auth/out", security(()), responses((status = 204, description = "Signed out"), Refusals))]
pub async fn out(State(console): State<Console>, headers: HeaderMap) -> Result<(StatusCode, SetCookie), Failure> {
    console.origins.check_write(&headers)?;
    Ok((StatusCode::NO_CONTENT, set_cookie("", 0)))
}

fn set_cookie(value: &str, seconds: i64) -> SetCookie {
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    AppendHeaders([(header::SET_COOKIE, cookie)])
}

/// What is wrong with a body, without what it says: that may be a token.
fn without_value(rejection: &JsonRejection) -> String {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => "send it as application/json".to_owned(),
        _ => r#"send {"token": "..."}"#.to_owned(),
    }
}

/// Until when somebody is signed in who came with this token, which the API server has found good. A token may say itself
/// how long it is.
fn expiry(token: &str, now: Timestamp) -> Timestamp {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let most = now.saturating_add(SIGNED_IN).unwrap_or(Timestamp::MAX);
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|text| serde_json::from_slice::<Claims>(&text).ok());
    #[allow(clippy::cast_possible_truncation, reason = "no token is good for so long")]
    let own = claims.and_then(|claims| Timestamp::from_second(claims.exp as i64).ok());
    own.map_or(most, |own| own.min(most))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short(r#"{"exp": 1600, "sub": "x"}"#, 1600)]
    #[case::with_a_fraction(r#"{"exp": 1600.5}"#, 1600)]
    #[case::long(r#"{"exp": 99999}"#, 1000 + 8 * 3600)]
    #[case::none(r#"{"sub": "x"}"#, 1000 + 8 * 3600)]
    #[case::no_json("?", 1000 + 8 * 3600)]
    fn nobody_is_signed_in_for_longer_than_their_token_is_good(#[case] claims: &str, #[case] until: i64) {
        let now = Timestamp::from_second(1000).unwrap();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(expiry(&token, now).as_second(), until);
        assert_eq!(expiry("opaque", now).as_second(), 1000 + 8 * 3600);
    }

    #[test]
    fn a_cookie_is_for_this_site_alone_and_for_no_script() {
        let AppendHeaders([(_, cookie)]) = set_cookie("abc", 60);
        assert_eq!(cookie, "__Host-bastion=abc; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict");
    }
}
