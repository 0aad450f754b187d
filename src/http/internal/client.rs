//! Connects a console to other programs of the bastion.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec, UserInfo};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::audience::audience;
use super::certificate::{SERVER_NAME, pinned_client_config};
use super::endpoint::{Endpoint, Service};
use super::impersonation::{ImpersonatedUser, USER_HEADER};
use crate::http::AuthError;
use crate::http::api_timeout::with_api_timeout;

/// The ServiceAccount of the consoles.
const ACCOUNT: &str = "bastion-console";
/// The lifetime of a token, in seconds. The API server issues no shorter ones.
const TOKEN_SECONDS: i64 = 600;
/// How long a token is used.
const TOKEN_REUSE: Duration = Duration::from_mins(5);
/// How many tokens are kept. Requests for further users and instances get a token each.
const MAX_TOKENS: usize = 1024;

/// A connection to another program of the bastion, which has proved to be the one that its Lease names.
pub type InternalStream = TlsStream<TcpStream>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Authenticates a console to the instances of one service. Clones share the tokens.
#[derive(Clone)]
pub struct InternalClient {
    service: Service,
    accounts: Api<ServiceAccount>,
    pod: Arc<str>,
    tokens: Arc<Mutex<HashMap<String, IssuedToken>>>,
}

/// A token of the console's ServiceAccount, as the value of the `Authorization` header.
struct IssuedToken {
    authorization: HeaderValue,
    since: Instant,
}

/// Why a request to another program failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server did not issue a token.
    #[error("the API server issues no token for it: {0}")]
    NoToken(#[source] BoxError),
    /// The connection failed, or the certificate is wrong.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// The program's address.
        address: SocketAddr,
        /// The cause.
        source: BoxError,
    },
    /// The program answered with an HTTP error.
    #[error("{}: {message}", .status.as_u16())]
    Refused {
        /// The HTTP status code, 4xx or 5xx.
        status: StatusCode,
        /// The program's message.
        message: String,
    },
}

/// The body of an error response.
#[derive(Debug, Deserialize)]
pub struct ReceivedError {
    /// A sentence for people.
    pub error: String,
}

impl CallError {
    /// Returns [`Self::Unreachable`] for the program at `address`.
    pub fn unreachable(address: SocketAddr, source: impl Into<BoxError>) -> Self {
        Self::Unreachable { address, source: source.into() }
    }

    /// Returns [`Self::Refused`] with the message in the body of the response.
    pub fn refused(status: StatusCode, body: &[u8]) -> Self {
        let message = serde_json::from_slice(body).map(|ReceivedError { error }| error);
        Self::Refused { status, message: message.unwrap_or_else(|_| "an unreadable message".to_owned()) }
    }
}

impl InternalClient {
    /// Creates a client of a service, for the console in this Pod. The API server issues its tokens.
    pub fn new(client: Client, namespace: &str, pod: &str, service: Service) -> Self {
        let accounts = Api::namespaced(client, namespace);
        Self { service, accounts, pod: pod.into(), tokens: Arc::default() }
    }

    /// Returns the headers of a request to an instance on behalf of a user. No other instance accepts them, and no other user
    /// can be put into them.
    ///
    /// # Errors
    /// When the API server issues no token.
    pub async fn headers(&self, endpoint: &Endpoint, user: &UserInfo) -> Result<HeaderMap, CallError> {
        let user = ImpersonatedUser::header(user);
        let audience = audience(self.service, &endpoint.certificate, &user);
        let authorization = match self.kept(&audience, Instant::now()) {
            Some(authorization) => authorization,
            None => self.request_token(audience).await?,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert(USER_HEADER, user);
        Ok(headers)
    }

    fn kept(&self, audience: &str, now: Instant) -> Option<HeaderValue> {
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, token| now.duration_since(token.since) < TOKEN_REUSE);
        tokens.get(audience).map(|token| token.authorization.clone())
    }

    /// Requests a token that is bound to this Pod: it becomes invalid with it.
    async fn request_token(&self, audience: String) -> Result<HeaderValue, CallError> {
        let since = Instant::now();
        let pod = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.pod.to_string()),
            uid: None,
        };
        let spec = TokenRequestSpec {
            audiences: vec![audience.clone()],
            bound_object_ref: Some(pod),
            expiration_seconds: Some(TOKEN_SECONDS),
        };
        let (params, request) = (PostParams::default(), TokenRequest { spec, ..TokenRequest::default() });
        let issued = with_api_timeout(self.accounts.create_token_request(ACCOUNT, &params, &request)).await;
        let issued = issued.map_err(|error| match error {
            AuthError::ApiServer(source) => CallError::NoToken(source),
            error => CallError::NoToken(error.into()),
        })?;
        let token = issued.status.map(|status| status.token).unwrap_or_default();
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|error| CallError::NoToken(error.into()))?;
        authorization.set_sensitive(true);
        let mut tokens = self.tokens.lock();
        if tokens.len() < MAX_TOKENS {
            tokens.insert(audience, IssuedToken { authorization: authorization.clone(), since });
        }
        Ok(authorization)
    }

    /// Returns the URL of a path, for a request over a connection of this client.
    pub fn url(scheme: &str, path: &str) -> String {
        format!("{scheme}://{SERVER_NAME}{path}")
    }
}

impl Endpoint {
    /// Connects to the program, and checks its certificate. The caller bounds the time.
    ///
    /// # Errors
    /// When the connection fails, or the certificate is not the published one.
    pub async fn connect(&self) -> Result<InternalStream, CallError> {
        let unreachable = |source: BoxError| CallError::unreachable(self.address, source);
        let config = pinned_client_config(self.certificate.clone()).map_err(|error| unreachable(error.into()))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| unreachable(error.into()))?;
        let stream = TcpStream::connect(self.address).await.map_err(|error| unreachable(error.into()))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        stream.map_err(|error| unreachable(error.into()))
    }
}
