//! Signing in with an OpenID Connect provider: the authorization code flow with PKCE. What is known between its two steps is in
//! a sealed cookie, and so with the browser alone. Claims become a Kubernetes user as the API server's own flags of the same
//! names make one, so that the same RoleBindings stand for the same people.

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
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::Url;

/// How long the provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer of it is longer.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// How long somebody may take to sign in with it.
const MINUTES: i64 = 10;
/// What everybody is in whom the API server knows.
const AUTHENTICATED: &str = "system:authenticated";
/// What names and groups begin with that are Kubernetes' own.
const RESERVED: &str = "system:";

/// How people sign in with a provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the page calls it.
    pub name: String,
    /// The provider, as it names itself.
    pub issuer_url: IssuerUrl,
    /// What the provider knows the console as.
    pub client_id: String,
    /// A file with the secret that goes with it, where there is one.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// A file with the certificates of who vouches for the provider, besides those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How claims become a Kubernetes user.
    pub claims: ClaimSettings,
}

/// How claims become a Kubernetes user.
#[derive(Clone, Debug)]
pub struct ClaimSettings {
    /// The claim that is the name.
    pub username: String,
    /// What the name begins with in the cluster.
    pub username_prefix: String,
    /// The claim that has the groups.
    pub groups: String,
    /// What each of them begins with in the cluster.
    pub groups_prefix: String,
}

/// Why somebody cannot sign in with the provider.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer, or not as it should.
    #[error("the provider {0}: {1}")]
    Provider(&'static str, String),
    /// A file is not there.
    #[error("{0} cannot be used: {1}")]
    File(PathBuf, String),
    /// The provider, or the person there, has said no.
    #[error("the provider said {0:?}")]
    Denied(String),
    /// Nobody has begun to sign in with this browser, or too long ago.
    #[error("nobody has begun to sign in with this browser, or too long ago")]
    Late,
    /// The person is nobody whom the cluster could know.
    #[error("{0}")]
    Claims(String),
}

impl OidcError {
    /// A bounded word, for the page.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Provider(..) | Self::File(..) => "provider",
            Self::Denied(_) => "denied",
            Self::Late => "late",
            Self::Claims(_) => "claims",
        }
    }
}

/// What is known between the two steps, in a sealed cookie.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begun {
    state: String,
    nonce: String,
    verifier: String,
    /// Where the person wanted to go.
    pub to: String,
    /// In seconds since 1970.
    expires: i64,
}

/// What the provider sends the browser back with.
#[derive(Deserialize)]
pub struct Returned {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// A provider.
#[derive(Clone)]
pub struct Oidc {
    settings: Settings,
    redirect: RedirectUrl,
}

impl Oidc {
    /// The provider, which sends browsers back to the console at this URL.
    ///
    /// # Errors
    /// When that can be no part of a URL.
    pub fn new(settings: Settings, public: &Url) -> anyhow::Result<Self> {
        let redirect = RedirectUrl::from_url(public.join("/auth/oidc/callback")?);
        Ok(Self { settings, redirect })
    }

    /// What the page calls it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where to send a browser, and what to know when it comes back.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub async fn begin(&self, to: &str, now: Timestamp) -> Result<(Url, Begun), OidcError> {
        let http = self.http()?;
        let client = self.client(self.metadata(&http).await?)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let begun = Begun {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            to: local(to).to_owned(),
            expires: now.as_second().saturating_add(60 * MINUTES),
        };
        Ok((url, begun))
    }

    /// Who has come back.
    ///
    /// # Errors
    /// When that is nobody who has begun here, or whom the provider does not vouch for.
    pub async fn finish(&self, begun: &Begun, returned: Returned, now: Timestamp) -> Result<UserInfo, OidcError> {
        let known = returned.state.as_deref() == Some(&begun.state) && now.as_second() < begun.expires;
        let code = match returned {
            _ if !known => return Err(OidcError::Late),
            Returned { error: Some(error), .. } => return Err(OidcError::Denied(error.chars().take(256).collect())),
            Returned { code: None, .. } => return Err(OidcError::Late),
            Returned { code: Some(code), .. } => AuthorizationCode::new(code),
        };
        let http = self.http()?;
        let client = self.client(self.metadata(&http).await?)?;
        let provider = |error: String| OidcError::Provider("did not take the code", error);
        let request = client.exchange_code(code).map_err(|error| provider(error.to_string()))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(begun.verifier.clone()));
        let tokens: CoreTokenResponse = in_time(request.request_async(&http)).await.map_err(provider)?;
        let unfit = |error: String| OidcError::Provider("sent a token that is not good", error);
        let token = tokens.id_token().ok_or_else(|| unfit("there is none".to_owned()))?;
        let nonce = Nonce::new(begun.nonce.clone());
        token.claims(&client.id_token_verifier(), &nonce).map_err(|error| unfit(chain(&error)))?;
        let claims = payload(&token.to_string()).ok_or_else(|| unfit("its claims are no JSON".to_owned()))?;
        self.settings.claims.user(&claims)
    }

    async fn metadata(&self, http: &Http) -> Result<CoreProviderMetadata, OidcError> {
        let issuer = self.settings.issuer_url.clone();
        let metadata = in_time(CoreProviderMetadata::discover_async(issuer, http)).await;
        metadata.map_err(|error| OidcError::Provider("does not say what it can", error))
    }

    fn client(&self, metadata: CoreProviderMetadata) -> Result<Client, OidcError> {
        let secret = self.settings.client_secret_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file);
            text.map(|text| ClientSecret::new(text.trim().to_owned())).map_err(|error| unusable(file, &error))
        });
        let id = ClientId::new(self.settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata, id, secret.transpose()?);
        Ok(client.set_redirect_uri(self.redirect.clone()))
    }

    fn http(&self) -> Result<Http, OidcError> {
        // A provider that sends this program elsewhere could have it ask what only this program can reach.
        let mut builder = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &self.settings.ca_file {
            let text = std::fs::read(file).map_err(|error| unusable(file, &error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| unusable(file, &error))?;
            builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        builder.build().map(Http).map_err(|error| OidcError::Provider("cannot be asked", chain(&error)))
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
    /// The Kubernetes user.
    fn user(&self, claims: &Map<String, Value>) -> Result<UserInfo, OidcError> {
        let claim = &self.username;
        let name = claims.get(claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| OidcError::Claims(format!("the provider says no {claim} of who signs in")))?;
        if claim == "email" && claims.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true)) {
            return Err(OidcError::Claims(format!("the provider has not verified the address {name}")));
        }
        let groups = match claims.get(&self.groups) {
            Some(Value::String(group)) => vec![group.as_str()],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let name = format!("{}{name}", self.username_prefix);
        let mut groups: Vec<_> = groups.into_iter().map(|group| format!("{}{group}", self.groups_prefix)).collect();
        if let Some(reserved) = groups.iter().chain([&name]).find(|it| it.starts_with(RESERVED)) {
            return Err(OidcError::Claims(format!(
                "{reserved:?} is a name of Kubernetes' own, which no provider gives"
            )));
        }
        groups.push(AUTHENTICATED.to_owned());
        Ok(UserInfo { username: Some(name), groups: Some(groups), ..UserInfo::default() })
    }
}

/// A path of this site's, and no other's.
fn local(to: &str) -> &str {
    let is_path = to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\n', '\r', '\t']);
    if is_path { to } else { "/" }
}

/// The claims of a token, which was found good.
fn payload(token: &str) -> Option<Map<String, Value>> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

async fn in_time<T, E: std::error::Error + 'static>(request: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(2 * PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {} s", 2 * PATIENCE.as_secs())),
    }
}

/// Asks the provider.
struct Http(reqwest::Client);

impl<'a> AsyncHttpClient<'a> for Http {
    type Error = AnswerError;
    type Future = BoxFuture<'a, Result<HttpResponse, AnswerError>>;

    fn call(&'a self, request: HttpRequest) -> Self::Future {
        answer(&self.0, request).boxed()
    }
}

async fn answer(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, AnswerError> {
    let mut answer = http.execute(request.try_into()?).await?;
    let mut response = axum::http::Response::new(vec![]);
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    while let Some(chunk) = answer.chunk().await? {
        if response.body().len() + chunk.len() > LONGEST_ANSWER {
            return Err(AnswerError::TooLong);
        }
        response.body_mut().extend_from_slice(&chunk);
    }
    Ok(response)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is longer than {LONGEST_ANSWER} bytes")]
    TooLong,
}

fn unusable(file: &std::path::Path, error: &dyn std::fmt::Display) -> OidcError {
    OidcError::File(file.to_owned(), error.to_string())
}

/// An error with all that is behind it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = all.map(ToString::to_string).collect();
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
            username_prefix: String::new(),
            groups: "groups".to_owned(),
            groups_prefix: "oidc:".to_owned(),
        }
    }

    fn user(settings: &ClaimSettings, claims: Value) -> Result<(String, Vec<String>), String> {
        let Value::Object(claims) = claims else { unreachable!() };
        let user = settings.user(&claims).map_err(|error| error.to_string())?;
        Ok((user.username.unwrap(), user.groups.unwrap()))
    }

    #[test]
    fn claims_are_a_user_of_the_cluster() {
        let claims = json!({"sub": "123", "email": "a@x.org", "email_verified": true, "groups": ["ops", "db"]});
        let groups = vec!["oidc:ops".to_owned(), "oidc:db".to_owned(), AUTHENTICATED.to_owned()];
        assert_eq!(user(&settings("email"), claims.clone()), Ok(("a@x.org".to_owned(), groups)));
        let prefixed = ClaimSettings { username_prefix: "oidc:".to_owned(), ..settings("sub") };
        assert_eq!(user(&prefixed, claims).unwrap().0, "oidc:123");
        let (_, groups) = user(&settings("sub"), json!({"sub": "1", "groups": "ops"})).unwrap();
        assert_eq!(groups, ["oidc:ops", AUTHENTICATED]);
    }

    #[rstest]
    #[case("email", json!({"sub": "1"}), "no email")]
    #[case("email", json!({"email": ""}), "no email")]
    #[case("email", json!({"email": "a@x.org", "email_verified": false}), "not verified")]
    #[case("email", json!({"email": "a@x.org", "email_verified": "true"}), "not verified")]
    #[case("sub", json!({"sub": "system:admin"}), "Kubernetes' own")]
    fn who_could_be_somebody_else_is_nobody(#[case] claim: &str, #[case] claims: Value, #[case] words: &str) {
        let error = user(&settings(claim), claims).unwrap_err();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn no_provider_makes_masters() {
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
    fn people_come_back_to_this_site(#[case] to: &str, #[case] expected: &str) {
        assert_eq!(local(to), expected);
    }
}
