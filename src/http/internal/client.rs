//! Connects a console to other programs of the bastion.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use k8s_openapi::api::authentication::v1::UserInfo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{SERVER_NAME, pinned_client_config};
use super::endpoint::Endpoint;
use super::impersonation::ImpersonatedUser;

/// A connection to another program of the bastion, which has proved to be the one that its Lease names.
pub type InternalStream = TlsStream<TcpStream>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Authenticates a console to the programs of one service.
#[derive(Clone, Debug)]
pub struct InternalClient {
    token_file: Arc<PathBuf>,
}

/// Why a request to another program failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The console's token file is missing or malformed.
    #[error("the token file {} cannot be used: {source}", .file.display())]
    TokenFile {
        /// The file's path.
        file: PathBuf,
        /// The cause.
        source: BoxError,
    },
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
    /// Creates a client. It reads the ServiceAccount token in the file for each request.
    pub fn new(token_file: PathBuf) -> Self {
        Self { token_file: Arc::new(token_file) }
    }

    /// Returns the headers of a request on behalf of a user.
    ///
    /// # Errors
    /// When the token file cannot be used.
    pub async fn headers(&self, user: &UserInfo) -> Result<HeaderMap, CallError> {
        let unusable = |source: BoxError| CallError::TokenFile { file: self.token_file.to_path_buf(), source };
        let token = tokio::fs::read_to_string(&*self.token_file).await.map_err(|error| unusable(error.into()))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|error| unusable(error.into()))?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value);
        ImpersonatedUser::write(user, &mut headers);
        Ok(headers)
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
