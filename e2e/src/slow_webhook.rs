//! An admission webhook that allows everything, but takes its time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::body::Incoming;
use hyper::server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::manifests::apply_one;
use crate::namespace::Namespace;
use crate::run::unique;
use crate::wait::{default_timeout, eventually};

/// The longest request that it reads, in bytes.
const MAX_REQUEST: usize = 1024 * 1024;

/// A webhook on the writes of a namespace's Leases.
pub struct SlowWebhook {
    name: String,
    delay: Duration,
    task: JoinHandle<()>,
}

impl SlowWebhook {
    /// Installs one that answers after `delay`, which must be less than 10 s. Returns once it is in force.
    pub async fn on_leases(namespace: &Namespace, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(tls.expect("a usable certificate")));
        let task = tokio::spawn(accept(listener, tls, delay));
        let name = format!("slow-{}.bastion.test", unique());
        let client = json!({"url": format!("https://127.0.0.1:{port}/"), "caBundle": ca_bundle(own.cert.der())});
        let leases = json!({"apiGroups": ["coordination.k8s.io"], "apiVersions": ["*"], "resources": ["leases"],
            "operations": ["CREATE", "UPDATE"]});
        let webhook = json!({"name": name, "clientConfig": client, "rules": [leases], "timeoutSeconds": 10,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"]});
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [webhook]});
        apply_one(&namespace.admin(), configuration).await;
        eventually(default_timeout(), "the webhook is in force", async || {
            let took = write_lease(namespace).await?;
            if took >= delay { Ok(()) } else { Err(format!("a write takes {took:?}")) }
        })
        .await;
        Self { name, delay, task }
    }

    /// Removes it. Returns once writes no longer wait for it.
    pub async fn remove(self, namespace: &Namespace) {
        let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(namespace.admin());
        webhooks.delete(&self.name, &DeleteParams::default()).await.expect("the webhook is removed");
        eventually(default_timeout(), "the webhook is gone", async || {
            let took = write_lease(namespace).await?;
            if took < self.delay { Ok(()) } else { Err(format!("a write takes {took:?}")) }
        })
        .await;
        self.task.abort();
    }
}

/// Returns how long it takes to write a Lease, which is not kept.
async fn write_lease(namespace: &Namespace) -> Result<Duration, String> {
    let lease = json!({"metadata": {"name": format!("probe-{}", unique())}});
    let lease: Lease = serde_json::from_value(lease).expect("a Lease");
    let (leases, dry_run) = (namespace.api::<Lease>(), PostParams { dry_run: true, ..PostParams::default() });
    let begun = Instant::now();
    leases.create(&dry_run, &lease).await.map_err(|error| error.to_string())?;
    Ok(begun.elapsed())
}

/// The certificate in PEM, in base64, as a configuration has it.
fn ca_bundle(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    BASE64_STANDARD.encode(format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, delay: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| allow(request, delay));
            let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Allows a request after `delay`.
async fn allow(request: Request<Incoming>, delay: Duration) -> Result<Response<Body>, Infallible> {
    let body = to_bytes(Body::new(request.into_body()), MAX_REQUEST).await.unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    tokio::time::sleep(delay).await;
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true}});
    let response = Response::builder().header(CONTENT_TYPE, "application/json");
    Ok(response.body(Body::from(answer.to_string())).expect("a response"))
}
