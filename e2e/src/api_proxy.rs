//! An HTTP proxy before the API server, which can answer in its place as an overloaded one does.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::KubeConfigOptions;
use rcgen::generate_simple_self_signed;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::control_plane::ControlPlane;
use crate::namespace::ApiRoute;

/// A running proxy on a port of its own, with a certificate of its own. It forwards the requests' bearer tokens.
pub struct ApiProxy {
    address: SocketAddr,
    certificate: String,
    answers: watch::Sender<Option<Fault>>,
    task: JoinHandle<()>,
}

/// An answer in place of the API server's.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub status: StatusCode,
    /// The seconds of `Retry-After`.
    pub retry_after: Option<u32>,
}

#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    tls: TlsConnector,
}

impl ApiProxy {
    /// Starts a proxy that forwards.
    pub async fn to(control_plane: &ControlPlane) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(tls.expect("a usable certificate")));
        let upstream = Upstream { address: control_plane.api_address(), tls: trusting(control_plane).await };
        let answers = watch::Sender::new(None);
        let task = tokio::spawn(accept(listener, tls, upstream, answers.clone()));
        Self { address, certificate: pem(own.cert.der()), answers, task }
    }

    /// Closes all connections, and with them the watches, and gives this answer to every request.
    pub fn answer(&self, fault: Fault) {
        self.answers.send_replace(Some(fault));
    }

    /// Closes all connections and forwards again.
    pub fn forward(&self) {
        self.answers.send_replace(None);
    }
}

impl ApiRoute for ApiProxy {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn certificate(&self) -> Option<&str> {
        Some(&self.certificate)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn trusting(control_plane: &ControlPlane) -> TlsConnector {
    let kubeconfig = control_plane.read_kubeconfig();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let tls: ClientConfig = config.expect("a usable kubeconfig").rustls_client_config().expect("its certificates");
    Arc::new(tls).into()
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, upstream: Upstream, answers: watch::Sender<Option<Fault>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, upstream, mut answers) = (tls.clone(), upstream.clone(), answers.subscribe());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let fault = *answers.borrow_and_update();
            let service = service_fn(move |request| respond(upstream.clone(), fault, request));
            tokio::select! {
                _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                _ = answers.changed() => {}
            }
        });
    }
}

async fn respond(
    upstream: Upstream,
    fault: Option<Fault>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    match fault {
        Some(fault) => Ok(fault.response()),
        None => upstream.forward(request).await,
    }
}

impl Upstream {
    /// Sends the request on a connection of its own. The answer's body is passed on as it comes.
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let stream = TcpStream::connect(self.address).await.expect("the API server takes connections");
        let name = ServerName::from(self.address.ip());
        let stream = self.tls.connect(name, stream).await.expect("the API server speaks TLS");
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?.map(Body::new))
    }
}

impl Fault {
    fn response(self) -> Response<Body> {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.status.as_u16(),
            "message": "the proxy of the test refuses requests", "reason": ""});
        let mut response = Response::builder().status(self.status).header(CONTENT_TYPE, "application/json");
        if let Some(seconds) = self.retry_after {
            response = response.header(RETRY_AFTER, seconds);
        }
        response.body(Body::from(status.to_string())).expect("a response")
    }
}
