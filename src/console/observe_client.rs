//! Connects to the gateway of a session to observe it.

use std::net::SocketAddr;
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
use crate::gateway::{Endpoint, ImpersonatedUser, SERVER_NAME, SESSIONS_PATH, SUBPROTOCOL, pinned_client_config};
use crate::http::{AuthError, with_api_timeout};

/// How long a connection to a gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A WebSocket to a gateway.
pub type GatewaySocket = WebSocketStream<TlsStream<TcpStream>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to the observe servers of gateways.
#[derive(Clone)]
pub struct ObserveClient {
    leases: Api<LenientLease>,
    token_file: Arc<PathBuf>,
}

/// Why a session cannot be observed on its gateway.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The instance has no Lease, or its Lease has no endpoint.
    #[error("gateway instance {0} does not say where its sessions can be followed")]
    NoEndpoint(String),
    /// The Lease of the instance could not be read.
    #[error(transparent)]
    Cluster(#[from] AuthError),
    /// The console's token file is missing or malformed.
    #[error("the token file {} cannot be used: {source}", .file.display())]
    TokenFile {
        /// The file's path.
        file: PathBuf,
        /// The cause.
        source: BoxError,
    },
    /// The connection failed, or the gateway's certificate is wrong.
    #[error("its gateway at {address} cannot be reached: {source}")]
    Unreachable {
        /// The gateway's address.
        address: SocketAddr,
        /// The cause.
        source: BoxError,
    },
    /// The gateway answered with an HTTP error.
    #[error("its gateway answers {status}: {message}")]
    Refused {
        /// The HTTP status code of the gateway, 4xx or 5xx.
        status: u16,
        /// The gateway's message.
        message: String,
    },
}

impl ObserveClient {
    /// Creates a client for the bastion in `namespace`. It reads the ServiceAccount token in the file at each connection.
    pub fn new(client: Client, namespace: &str, token_file: PathBuf) -> Self {
        Self { leases: Api::namespaced(client, namespace), token_file: Arc::new(token_file) }
    }

    /// Connects to a gateway instance to observe one of its sessions on behalf of a user.
    ///
    /// # Errors
    /// When the instance has no endpoint, or the connection fails or takes longer than 5 s.
    pub async fn connect(&self, session: &str, instance: &str, user: UserInfo) -> Result<GatewaySocket, ObserveError> {
        let Endpoint { address, certificate } = self.endpoint(instance).await?;
        let unreachable = |source: BoxError| ObserveError::Unreachable { address, source };
        let config = pinned_client_config(certificate).map_err(|error| unreachable(error.into()))?;
        let mut request = format!("wss://{SERVER_NAME}{SESSIONS_PATH}{session}")
            .into_client_request()
            .map_err(|error| unreachable(error.into()))?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        headers.insert(header::AUTHORIZATION, self.token().await?);
        ImpersonatedUser { user }.write(headers).map_err(|error| unreachable(error.into()))?;
        let connecting = async {
            let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.into()))?;
            let name = ServerName::try_from(SERVER_NAME).map_err(|error| unreachable(error.into()))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            let stream = stream.map_err(|error| unreachable(error.into()))?;
            let (socket, _) = client_async(request, stream).await.map_err(|error| match error {
                Error::Http(response) => refused(&response),
                error => unreachable(error.into()),
            })?;
            Ok(socket)
        };
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(unreachable("no answer in time".into())))
    }

    /// Reads the endpoint of a gateway instance from its Lease.
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, ObserveError> {
        let lease = with_api_timeout(self.leases.get_opt(instance)).await?;
        let annotations = lease.and_then(|lease| lease.0.metadata.annotations).unwrap_or_default();
        Endpoint::from_annotations(&annotations).ok_or_else(|| ObserveError::NoEndpoint(instance.to_owned()))
    }

    /// Reads the console's token.
    async fn token(&self) -> Result<HeaderValue, ObserveError> {
        let unusable = |source: BoxError| ObserveError::TokenFile { file: self.token_file.to_path_buf(), source };
        let token = tokio::fs::read_to_string(&*self.token_file).await.map_err(|error| unusable(error.into()))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|error| unusable(error.into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn refused(response: &Response<Option<Vec<u8>>>) -> ObserveError {
    let body: serde_json::Value =
        serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
    let message = body["error"].as_str().unwrap_or("an unreadable message").to_owned();
    ObserveError::Refused { status: response.status().as_u16(), message }
}
