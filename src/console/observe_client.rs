//! The console's side: a connection to the gateway that carries a session.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Response, header};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::{Api, Client};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cluster::LenientLease;
use crate::gateway::{Endpoint, ImpersonatedUser, NAME, PATH, PROTOCOL, pinned};
use crate::http::{AuthError, asked};

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A WebSocket to a gateway.
pub type GatewaySocket = WebSocketStream<TlsStream<TcpStream>>;

/// Connects to gateways.
#[derive(Clone)]
pub struct Dialer {
    leases: Api<LenientLease>,
    token_file: Arc<PathBuf>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// It is no longer there, or takes nobody who follows.
    #[error("gateway instance {0} does not say where its sessions can be followed")]
    Unknown(String),
    /// The API server does not say where it is.
    #[error(transparent)]
    Cluster(#[from] AuthError),
    /// The console's token is not there.
    #[error("{path}: {why}")]
    NoToken {
        /// Where it should be.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be reached, or is not who it should be.
    #[error("its gateway at {place} cannot be reached: {why}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// It says no.
    #[error("its gateway answers {status}: {why}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// Its own words.
        why: String,
    },
}

impl Dialer {
    /// For the bastion in `namespace`, with the ServiceAccount token in this file, which is read each time.
    pub fn new(client: Client, namespace: &str, token_file: PathBuf) -> Self {
        Self { leases: Api::namespaced(client, namespace), token_file: Arc::new(token_file) }
    }

    /// Follows a session, for this user, on the gateway instance that carries it.
    ///
    /// # Errors
    /// When it cannot be followed there.
    pub async fn follow(&self, session: &str, instance: &str, user: UserInfo) -> Result<GatewaySocket, ObserveError> {
        let place = self.place(instance).await?;
        let unreachable = |why: String| ObserveError::Unreachable { place: place.address.to_string(), why };
        let config = pinned(place.certificate.clone()).map_err(|error| unreachable(error.to_string()))?;
        let mut request = format!("wss://{NAME}{PATH}{session}")
            .into_client_request()
            .map_err(|error| unreachable(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        headers.insert(header::AUTHORIZATION, self.token().await?);
        ImpersonatedUser { user }.write(headers).map_err(|error| unreachable(error.to_string()))?;
        let connecting = async {
            let stream = TcpStream::connect(place.address).await.map_err(|error| unreachable(error.to_string()))?;
            let name = ServerName::try_from(NAME).map_err(|error| unreachable(error.to_string()))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            let stream = stream.map_err(|error| unreachable(error.to_string()))?;
            let (socket, _) = client_async(request, stream).await.map_err(|error| match error {
                Error::Http(answer) => refused(&answer),
                error => unreachable(error.to_string()),
            })?;
            Ok(socket)
        };
        timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(unreachable("no answer in time".to_owned())))
    }

    /// Where a gateway instance is.
    async fn place(&self, instance: &str) -> Result<Endpoint, ObserveError> {
        let lease = asked(self.leases.get_opt(instance)).await?;
        let annotations = lease.and_then(|lease| lease.0.metadata.annotations).unwrap_or_default();
        Endpoint::of(&annotations).ok_or_else(|| ObserveError::Unknown(instance.to_owned()))
    }

    /// Who this console is.
    async fn token(&self) -> Result<HeaderValue, ObserveError> {
        let no_token = |why: String| ObserveError::NoToken { path: self.token_file.display().to_string(), why };
        let token = tokio::fs::read_to_string(&*self.token_file).await.map_err(|error| no_token(error.to_string()))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| no_token("it is no token".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn refused(answer: &Response<Option<Vec<u8>>>) -> ObserveError {
    let body: serde_json::Value =
        serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or_default();
    let why = body["error"].as_str().unwrap_or("nothing that could be read").to_owned();
    ObserveError::Refused { status: answer.status().as_u16(), why }
}
