//! The HTTPS server of a program for consoles.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::Client;
use kube::api::Api;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::audience::audience;
use super::certificate::{self, Fingerprint};
use super::endpoint::{Endpoint, Service};
use super::impersonation::{ImpersonatedUser, ImpersonationError, USER_HEADER};
use crate::cluster::Right;
use crate::http::auth_error::AuthError;
use crate::http::authenticator::{Authenticator, is_allowed};
use crate::http::credentials::Credentials;
use crate::http::server::{Tls, serve};
use crate::metrics::HttpPort;

/// The settings of a server for consoles.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The Pod's IP address, which consoles connect to. Required if `listen` is unspecified, such as `0.0.0.0`.
    pub pod_ip: Option<IpAddr>,
    /// The Kubernetes user name of the consoles.
    pub console: String,
}

/// A server, bound but not serving yet.
pub struct InternalServer {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    endpoint: Endpoint,
}

impl InternalServer {
    /// Binds the address in the settings, which `flag` sets, and generates the certificate.
    ///
    /// # Errors
    /// The address cannot be bound, or is unspecified without a Pod IP.
    pub async fn bind(flag: &str, settings: &ServerSettings) -> anyhow::Result<Self> {
        let ServerSettings { listen, pod_ip, .. } = *settings;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("{flag} {listen} cannot be bound"))?;
        let mut address = listener.local_addr()?;
        match pod_ip {
            Some(ip) => address.set_ip(ip),
            None if address.ip().is_unspecified() => {
                bail!("{flag} {listen} names no single address: set --pod-ip, which consoles connect to")
            }
            None => {}
        }
        let (tls, certificate) = certificate::generate()?;
        Ok(Self { listener, tls, endpoint: Endpoint { address, certificate } })
    }

    /// Returns the address and certificate for the instance's Lease.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves consoles until `stop` is cancelled.
    pub async fn serve(self, port: HttpPort, routes: Router, stop: CancellationToken) {
        serve(self.listener, port, Tls::new(self.tls), routes, stop).await;
    }
}

/// Why a request of a console is refused before the rights of its user are checked.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The console is not authenticated.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The client is not a console.
    #[error("only consoles may send requests here")]
    NotTheConsole,
    /// The console names no user on whose behalf it may ask.
    #[error(transparent)]
    User(#[from] ImpersonationError),
}

impl ConsoleError {
    /// Returns the HTTP status of the response.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Auth(error) => error.status(),
            // Not 403: the user behind the request lacks no right.
            Self::NotTheConsole => StatusCode::UNAUTHORIZED,
            Self::User(ImpersonationError::Malformed) => StatusCode::BAD_REQUEST,
            Self::User(ImpersonationError::Reserved(_)) => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.label(),
            Self::NotTheConsole => "not_the_console",
            Self::User(ImpersonationError::Malformed) => "malformed",
            Self::User(ImpersonationError::Reserved(_)) => "reserved",
        }
    }
}

/// Authenticates consoles, and checks the rights of the users on whose behalf they ask.
#[derive(Clone)]
pub struct ConsoleGuard {
    authenticator: Authenticator,
    reviews: Api<LocalSubjectAccessReview>,
    namespace: Arc<str>,
    console: Arc<str>,
    service: Service,
    certificate: Fingerprint,
}

impl ConsoleGuard {
    /// Creates a guard of a service of this instance. `console` is the Kubernetes user name of the consoles.
    pub fn new(client: Client, namespace: &str, console: &str, service: Service, endpoint: &Endpoint) -> Self {
        Self {
            reviews: Api::namespaced(client.clone(), namespace),
            authenticator: Authenticator::new(client, None),
            namespace: namespace.into(),
            console: console.into(),
            service,
            certificate: endpoint.certificate.clone(),
        }
    }

    /// Returns the namespace of the bastion.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Checks that the request from `address` comes from a console. Returns the user on whose behalf it asks, whom the audience
    /// of its token names.
    ///
    /// # Errors
    /// When the request does not come from a console, names no user or one of Kubernetes' own, or the API server does not answer.
    pub async fn user(&self, headers: &HeaderMap, address: IpAddr) -> Result<ImpersonatedUser, ConsoleError> {
        let Credentials::Token(token) = Credentials::from_headers(headers)? else {
            return Err(ConsoleError::NotTheConsole);
        };
        let user = headers.get(USER_HEADER).ok_or(ImpersonationError::Malformed)?;
        let audience = audience(self.service, &self.certificate, user);
        let caller = self.authenticator.verify_token(&token, Some(&audience), Some(address)).await?;
        if caller.name != *self.console {
            return Err(ConsoleError::NotTheConsole);
        }
        Ok(ImpersonatedUser::from_header(user)?)
    }

    /// Returns whether a user has a right. The console may have checked this too, but the callee does not rely on it.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may(&self, user: &ImpersonatedUser, right: Right<'_>) -> Result<bool, AuthError> {
        is_allowed(&self.reviews, &self.namespace, user.info(), right).await
    }
}
