//! An HTTP proxy before the API server, which plays the faults of one: error answers, latency, silence, lost answers, and
//! watches that are cut off or expired.

mod fault;
mod upstream;
mod watch_events;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::body::Incoming;
use hyper::server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

pub use fault::{Fault, FaultRule, Verb};

use crate::control_plane::ControlPlane;
use crate::namespace::ApiRoute;
use fault::{Outcome, Rules, Target};
use upstream::Upstream;

/// A running proxy on a port of its own, with a certificate of its own. It forwards the requests' bearer tokens.
///
/// Programs use it as their [`ApiRoute`]: `Setting { api: Some(&proxy), .. }`.
pub struct ApiProxy {
    address: SocketAddr,
    certificate: String,
    shared: Arc<Shared>,
    /// A new value closes all connections.
    disconnect: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    rules: Mutex<Rules>,
    /// How many requests and events met a fault other than latency.
    faults: AtomicUsize,
    /// How many requests came.
    requests: AtomicUsize,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl ApiProxy {
    /// Starts a proxy that forwards.
    pub async fn to(control_plane: &ControlPlane) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(tls.expect("a usable certificate")));
        let (rules, counter) = (Mutex::new(Rules::none(0)), AtomicUsize::default);
        let shared = Arc::new(Shared { rules, faults: counter(), requests: counter() });
        let disconnect = watch::Sender::new(());
        let upstream = Upstream::of(control_plane).await;
        let task = tokio::spawn(accept(listener, tls, upstream, shared.clone(), disconnect.clone()));
        Self { address, certificate: pem(own.cert.der()), shared, disconnect, task }
    }

    /// Puts these rules in place of those before, for new requests and for the next event of each running watch.
    pub fn set_faults(&self, rules: impl IntoIterator<Item = FaultRule>) {
        self.shared.rules.lock().set(rules.into_iter().collect());
    }

    /// Closes all connections, and with them the watches.
    pub fn disconnect(&self) {
        self.disconnect.send_replace(());
    }

    /// Closes all connections, and lets every request meet this fault.
    pub fn answer(&self, fault: Fault) {
        self.set_faults([FaultRule::new(fault)]);
        self.disconnect();
    }

    /// Forwards again, without faults.
    pub fn forward(&self) {
        self.set_faults([]);
    }

    /// Starts the random numbers that select a share of the requests again, from this seed.
    pub fn seed(&self, seed: u64) {
        self.shared.rules.lock().reseed(seed);
    }

    /// How many requests, and events of watches, have met a fault other than latency.
    pub fn faults_met(&self) -> usize {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
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
        self.disconnect();
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    upstream: Upstream,
    shared: Arc<Shared>,
    disconnect: watch::Sender<()>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, upstream, shared, mut disconnect) =
            (tls.clone(), upstream.connection(), shared.clone(), disconnect.subscribe());
        tokio::spawn(async move {
            let serving = async {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(|request| respond(&upstream, &shared, request));
                // An error closes the connection, which is all that a client sees of a proxy that fails.
                let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            };
            tokio::select! {
                () = serving => {}
                _ = disconnect.changed() => {}
            }
        });
    }
}

async fn respond(
    upstream: &upstream::Connection,
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let target = Target::of(request.method(), request.uri().path(), request.uri().query());
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let Outcome { latency, fault } = shared.count(shared.rules.lock().begin(&target));
    sleep(latency).await;
    match fault {
        Some(Fault::Answer { status, retry_after }) => Ok(answer(status, retry_after)),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::ExpiredWatch) => Ok(response(StatusCode::OK, watch_events::expired())),
        Some(Fault::LostAnswer) => {
            upstream.forward(request).await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Latency(_) | Fault::CutWatch) | None => {
            let response = upstream.forward(request).await?;
            Ok(response.map(|body| match target.verb {
                Verb::Watch => watch_events::pass(body, shared.clone(), target),
                _ => Body::new(body),
            }))
        }
    }
}

impl Shared {
    fn count(&self, outcome: Outcome) -> Outcome {
        self.faults.fetch_add(outcome.fault.is_some().into(), Ordering::Relaxed);
        outcome
    }
}

fn answer(status: StatusCode, retry_after: Option<u32>) -> Response<Body> {
    let mut response = response(status, status_object(status, "").to_string());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn response(status: StatusCode, body: String) -> Response<Body> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(Body::from(body)).expect("a response")
}

/// The `Status` of a failure.
fn status_object(status: StatusCode, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status.as_u16(),
        "message": "the proxy of the test refuses requests", "reason": reason})
}
