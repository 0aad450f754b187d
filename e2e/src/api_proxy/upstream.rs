//! The proxy's connections to the API server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::KubeConfigOptions;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::BoxError;
use crate::control_plane::ControlPlane;

/// The API server.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    tls: TlsConnector,
}

/// A connection to the API server for each connection of a client, which sends one request at a time.
pub struct Connection {
    upstream: Upstream,
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

impl Upstream {
    pub async fn of(control_plane: &ControlPlane) -> Self {
        let kubeconfig = control_plane.read_kubeconfig();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let tls: ClientConfig = config.expect("a usable kubeconfig").rustls_client_config().expect("its certificates");
        Self { address: control_plane.api_address(), tls: Arc::new(tls).into() }
    }

    pub fn connection(&self) -> Connection {
        Connection { upstream: self.clone(), sender: Mutex::default() }
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, BoxError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Connection {
    /// Sends a request. The answer's body is passed on as it comes.
    pub async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>, BoxError> {
        let mut current = self.sender.lock().await;
        let usable = match current.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *current = Some(self.upstream.connect().await?);
        }
        let sender = current.as_mut().ok_or("there is a connection")?;
        Ok(sender.send_request(request).await?)
    }
}
