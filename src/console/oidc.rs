//! Sign-in with an OpenID Connect provider, by the authorization code flow with PKCE (RFC 7636).
//!
//! An encrypted cookie in the browser holds the state between the two steps. Claims map to a Kubernetes user as the API
//! server's `--oidc-*` flags map them, so that the same RoleBindings apply.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreTokenResponse};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::Url;

/// How long the provider may take for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// How long a user may take to sign in at the provider, in seconds.
pub const SIGN_IN_SECONDS: i64 = 10 * 60;
/// The group of all authenticated users of the API server.
const AUTHENTICATED: &str = "system:authenticated";
/// The prefix of names and groups that Kubernetes reserves.
const RESERVED_PREFIX: &str = "system:";
/// The prefix of the Kubernetes user names that BastionUsers without `spec.subject` have.
const DEFAULT_SUBJECT_PREFIX: &str = "bastion:";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The settings of an OpenID Connect provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider's name for people.
    pub name: String,
    /// The provider's issuer URL.
    pub issuer_url: IssuerUrl,
    /// The console's client id at the provider.
    pub client_id: String,
    /// A file with the client secret; `None` for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes to request besides `openid`.
    pub scopes: Vec<String>,
    /// A file with further CA certificates for the provider, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How claims map to a Kubernetes user.
    pub claims: ClaimSettings,
}

/// How claims map to a Kubernetes user.
#[derive(Clone, Debug)]
pub struct ClaimSettings {
    /// The claim with the user name.
    pub username: String,
    /// The prefix of the user name. `None` is the issuer's URL and `#`, but no prefix for an email address that the provider has
    /// verified. The API server's default also has no prefix for an email address of which the provider says nothing.
    pub username_prefix: Option<String>,
    /// The claim with the groups.
    pub groups: String,
    /// The prefix of each group.
    pub groups_prefix: String,
}

/// Why a user cannot sign in with the provider.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer, or its response is invalid.
    #[error("the provider {failure}: {}", chain(.source.as_ref()))]
    Provider {
        /// The request that failed.
        failure: &'static str,
        /// The cause.
        source: BoxError,
    },
    /// A file cannot be read or parsed.
    #[error("{} cannot be used: {source}", .file.display())]
    File {
        /// The file's path.
        file: PathBuf,
        /// The cause.
        source: BoxError,
    },
    /// The provider or the user declined the sign-in.
    #[error("the provider declined the sign-in: {0:?}")]
    Denied(String),
    /// The browser has no pending sign-in, or it has expired.
    #[error("this browser has no pending sign-in, or it has expired")]
    Late,
    /// The claims do not map to a Kubernetes user.
    #[error("{0}")]
    Claims(String),
}

impl OidcError {
    /// Returns the outcome's label in the metrics and in the page's URL.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Provider { .. } | Self::File { .. } => "provider",
            Self::Denied(_) => "denied",
            Self::Late => "late",
            Self::Claims(_) => "claims",
        }
    }
}

/// A sign-in that waits for the browser to return from the provider. Stored in an encrypted cookie.
#[derive(Debug, Serialize, Deserialize)]
pub struct PendingSignIn {
    state: String,
    nonce: String,
    verifier: String,
    /// The path to return to after the sign-in.
    #[serde(rename = "to")]
    pub return_path: String,
    /// When the sign-in expires, in seconds since the epoch.
    expires: i64,
}

/// The query that the provider adds to the callback URL (RFC 6749, section 4.1.2).
#[derive(Deserialize)]
pub struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// An OpenID Connect provider.
#[derive(Clone)]
pub struct Oidc {
    settings: Settings,
    redirect: RedirectUrl,
}

impl Oidc {
    /// Creates the client of a provider, which redirects browsers back to the console's public URL.
    ///
    /// # Errors
    /// When the public URL cannot be a base.
    pub fn new(settings: Settings, public: &Url) -> anyhow::Result<Self> {
        let redirect = RedirectUrl::from_url(public.join("/auth/oidc/callback")?);
        Ok(Self { settings, redirect })
    }

    /// The provider's name for people.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Starts a sign-in. Returns the URL to redirect the browser to, and the state to keep until it returns.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub async fn begin(&self, return_path: &str, now: Timestamp) -> Result<(Url, PendingSignIn), OidcError> {
        let http = self.http()?;
        let client = self.client(self.metadata(&http).await?)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let pending = PendingSignIn {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            return_path: local_path(return_path).to_owned(),
            expires: now.as_second().saturating_add(SIGN_IN_SECONDS),
        };
        Ok((url, pending))
    }

    /// Finishes a sign-in: exchanges the code for an ID token, verifies it, and returns the Kubernetes user.
    ///
    /// # Errors
    /// When the sign-in did not start in this browser or has expired, the provider declines, or the token is invalid.
    pub async fn finish(
        &self,
        pending: &PendingSignIn,
        query: CallbackQuery,
        now: Timestamp,
    ) -> Result<UserInfo, OidcError> {
        let is_valid = query.state.as_deref() == Some(&pending.state) && now.as_second() < pending.expires;
        let code = match query {
            _ if !is_valid => return Err(OidcError::Late),
            CallbackQuery { error: Some(error), .. } => {
                return Err(OidcError::Denied(error.chars().take(256).collect()));
            }
            CallbackQuery { code: None, .. } => return Err(OidcError::Late),
            CallbackQuery { code: Some(code), .. } => AuthorizationCode::new(code),
        };
        let http = self.http()?;
        let client = self.client(self.metadata(&http).await?)?;
        let rejected = |source: BoxError| OidcError::Provider { failure: "rejected the authorization code", source };
        let request = client.exchange_code(code).map_err(|error| rejected(error.into()))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.clone()));
        let tokens: CoreTokenResponse = with_timeout(request.request_async(&http)).await.map_err(rejected)?;
        let invalid = |source: BoxError| OidcError::Provider { failure: "sent an invalid ID token", source };
        let token = tokens.id_token().ok_or_else(|| invalid("the response has none".into()))?;
        let nonce = Nonce::new(pending.nonce.clone());
        token.claims(&client.id_token_verifier(), &nonce).map_err(|error| invalid(error.into()))?;
        let claims = decode_claims(&token.to_string()).ok_or_else(|| invalid("its claims are not JSON".into()))?;
        self.settings.claims.user(&claims, &self.settings.issuer_url)
    }

    async fn metadata(&self, http: &Http) -> Result<CoreProviderMetadata, OidcError> {
        let issuer = self.settings.issuer_url.clone();
        let metadata = with_timeout(CoreProviderMetadata::discover_async(issuer, http)).await;
        metadata.map_err(|source| OidcError::Provider { failure: "does not serve its discovery document", source })
    }

    fn client(&self, metadata: CoreProviderMetadata) -> Result<Client, OidcError> {
        let secret = self.settings.client_secret_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file);
            text.map(|text| ClientSecret::new(text.trim().to_owned())).map_err(|error| unusable(file, error))
        });
        let id = ClientId::new(self.settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata, id, secret.transpose()?);
        Ok(client.set_redirect_uri(self.redirect.clone()))
    }

    fn http(&self) -> Result<Http, OidcError> {
        // Redirects are refused: they would let the provider reach hosts that only the console can reach.
        let no_redirect = reqwest::redirect::Policy::none();
        let mut builder = reqwest::Client::builder().timeout(RESPONSE_TIMEOUT).redirect(no_redirect);
        if let Some(file) = &self.settings.ca_file {
            let text = std::fs::read(file).map_err(|error| unusable(file, error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| unusable(file, error))?;
            builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build();
        client.map(Http).map_err(|error| OidcError::Provider { failure: "cannot be reached", source: error.into() })
    }
}

type Client = CoreClient<
    openidconnect::EndpointSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointMaybeSet,
    openidconnect::EndpointMaybeSet,
>;

impl ClaimSettings {
    /// Maps claims to a Kubernetes user.
    fn user(&self, claims: &Map<String, Value>, issuer: &str) -> Result<UserInfo, OidcError> {
        let name = self.name(claims, issuer)?;
        let groups = match claims.get(&self.groups) {
            Some(Value::String(group)) => vec![group.as_str()],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let mut groups: Vec<_> = groups.into_iter().map(|group| format!("{}{group}", self.groups_prefix)).collect();
        if let Some(reserved) = groups.iter().chain([&name]).find(|it| it.starts_with(RESERVED_PREFIX)) {
            return Err(OidcError::Claims(format!("{reserved:?} is a name that Kubernetes reserves")));
        }
        groups.push(AUTHENTICATED.to_owned());
        Ok(UserInfo { username: Some(name), groups: Some(groups), ..UserInfo::default() })
    }

    /// Maps claims to a Kubernetes user name. The user chooses some claims, so that a name without a prefix could be another
    /// user's.
    fn name(&self, claims: &Map<String, Value>, issuer: &str) -> Result<String, OidcError> {
        let claim = &self.username;
        let name = claims.get(claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| OidcError::Claims(format!("the ID token has no {claim} claim")))?;
        let verified = claims.get("email_verified").filter(|_| claim == "email").map(|it| *it == Value::Bool(true));
        if verified == Some(false) {
            return Err(OidcError::Claims(format!("the provider has not verified the address {name}")));
        }
        let name = match &self.username_prefix {
            Some(prefix) => format!("{prefix}{name}"),
            None if verified == Some(true) => name.to_owned(),
            None => format!("{issuer}#{name}"),
        };
        if name.starts_with(DEFAULT_SUBJECT_PREFIX) {
            return Err(OidcError::Claims(format!("{name:?} is the form of a BastionUser's default subject")));
        }
        Ok(name)
    }
}

/// Returns the path if it stays on this site, and `/` otherwise.
fn local_path(path: &str) -> &str {
    let is_local = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\n', '\r', '\t']);
    if is_local { path } else { "/" }
}

/// Decodes the claims of a verified token.
pub fn decode_claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

async fn with_timeout<T, E>(request: impl Future<Output = Result<T, E>>) -> Result<T, BoxError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match timeout(2 * RESPONSE_TIMEOUT, request).await {
        Ok(response) => response.map_err(Into::into),
        Err(_) => Err(format!("no response within {} s", 2 * RESPONSE_TIMEOUT.as_secs()).into()),
    }
}

/// The HTTP client of the openidconnect crate, with a limit on the size of responses.
struct Http(reqwest::Client);

impl<'a> AsyncHttpClient<'a> for Http {
    type Error = ResponseError;
    type Future = BoxFuture<'a, Result<HttpResponse, ResponseError>>;

    fn call(&'a self, request: HttpRequest) -> Self::Future {
        send(&self.0, request).boxed()
    }
}

async fn send(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ResponseError> {
    let mut received = http.execute(request.try_into()?).await?;
    let mut response = axum::http::Response::new(vec![]);
    *response.status_mut() = received.status();
    *response.headers_mut() = std::mem::take(received.headers_mut());
    while let Some(chunk) = received.chunk().await? {
        if response.body().len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(ResponseError::TooLong);
        }
        response.body_mut().extend_from_slice(&chunk);
    }
    Ok(response)
}

/// Why a response could not be read.
#[derive(Debug, thiserror::Error)]
enum ResponseError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the response is longer than {MAX_RESPONSE_BYTES} bytes")]
    TooLong,
}

fn unusable(file: &std::path::Path, error: impl Into<BoxError>) -> OidcError {
    OidcError::File { file: file.to_owned(), source: error.into() }
}

/// Joins the texts of an error and its sources, 512 characters at most.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = errors.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ").chars().take(512).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn settings(username: &str) -> ClaimSettings {
        ClaimSettings {
            username: username.to_owned(),
            username_prefix: None,
            groups: "groups".to_owned(),
            groups_prefix: "oidc:".to_owned(),
        }
    }

    const ISSUER: &str = "https://id.example.com";

    fn user(settings: &ClaimSettings, claims: Value) -> Result<(String, Vec<String>), String> {
        let Value::Object(claims) = claims else { unreachable!() };
        let user = settings.user(&claims, ISSUER).map_err(|error| error.to_string())?;
        Ok((user.username.unwrap(), user.groups.unwrap()))
    }

    #[test]
    fn claims_map_to_a_kubernetes_user() {
        let claims = json!({"sub": "123", "email": "a@x.org", "email_verified": true, "groups": ["ops", "db"]});
        let groups = vec!["oidc:ops".to_owned(), "oidc:db".to_owned(), AUTHENTICATED.to_owned()];
        assert_eq!(user(&settings("email"), claims), Ok(("a@x.org".to_owned(), groups)));
        let (_, groups) = user(&settings("sub"), json!({"sub": "1", "groups": "ops"})).unwrap();
        assert_eq!(groups, ["oidc:ops", AUTHENTICATED]);
    }

    #[rstest]
    #[case("sub", None, json!({"sub": "1"}), "https://id.example.com#1")]
    #[case("sub", None, json!({"sub": "bastion:alice"}), "https://id.example.com#bastion:alice")]
    #[case("sub", None, json!({"sub": "system:admin"}), "https://id.example.com#system:admin")]
    #[case("sub", Some("oidc:"), json!({"sub": "1"}), "oidc:1")]
    #[case("sub", Some(""), json!({"sub": "1"}), "1")]
    #[case("email", None, json!({"email": "a@x.org", "email_verified": true}), "a@x.org")]
    #[case("email", None, json!({"email": "a@x.org"}), "https://id.example.com#a@x.org")]
    #[case("email", Some(""), json!({"email": "a@x.org"}), "a@x.org")]
    #[case("upn", None, json!({"upn": "a@x.org", "email_verified": true}), "https://id.example.com#a@x.org")]
    fn a_name_has_the_issuer_before_it_unless_it_is_verified(
        #[case] claim: &str,
        #[case] prefix: Option<&str>,
        #[case] claims: Value,
        #[case] expected: &str,
    ) {
        let settings = ClaimSettings { username_prefix: prefix.map(str::to_owned), ..settings(claim) };
        assert_eq!(user(&settings, claims).unwrap().0, expected);
    }

    #[rstest]
    #[case("email", "", json!({"sub": "1"}), "no email")]
    #[case("email", "", json!({"email": ""}), "no email")]
    #[case("email", "", json!({"email": "a@x.org", "email_verified": false}), "not verified")]
    #[case("email", "", json!({"email": "a@x.org", "email_verified": "true"}), "not verified")]
    #[case("sub", "", json!({"sub": "system:admin"}), "Kubernetes reserves")]
    #[case("sub", "sys", json!({"sub": "tem:admin"}), "Kubernetes reserves")]
    #[case("sub", "", json!({"sub": "bastion:alice"}), "default subject")]
    #[case("sub", "bastion:", json!({"sub": "alice"}), "default subject")]
    fn ambiguous_identities_are_refused(
        #[case] claim: &str,
        #[case] prefix: &str,
        #[case] claims: Value,
        #[case] words: &str,
    ) {
        let settings = ClaimSettings { username_prefix: Some(prefix.to_owned()), ..settings(claim) };
        let error = user(&settings, claims).unwrap_err();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_provider_cannot_grant_system_masters() {
        let bare = ClaimSettings { groups_prefix: String::new(), ..settings("sub") };
        let error = user(&bare, json!({"sub": "1", "groups": ["ops", "system:masters"]})).unwrap_err();
        assert!(error.contains("system:masters"), "{error}");
    }

    #[rstest]
    #[case("/sessions/x?a=b", "/sessions/x?a=b")]
    #[case("https://evil.example", "/")]
    #[case("//evil.example", "/")]
    #[case("/\\evil.example", "/")]
    #[case("", "/")]
    fn the_return_path_stays_on_this_site(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(local_path(path), expected);
    }
}
