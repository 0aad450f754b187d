//! The tokens with which consoles authenticate to gateways and audit programs, as others may hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::namespace::Namespace;

/// A service that instances of a program offer to consoles: its name in audiences, and the annotations of its Leases.
#[derive(Clone, Copy)]
pub struct Service {
    name: &'static str,
    address: &'static str,
    certificate: &'static str,
}

/// The gateways' live terminals.
pub const TERMINALS: Service =
    Service { name: "terminals", address: "bastion.dev/follow-address", certificate: "bastion.dev/follow-certificate" };
/// The audit programs' history.
pub const HISTORY: Service =
    Service { name: "history", address: "bastion.dev/history-address", certificate: "bastion.dev/history-certificate" };

/// Returns the header with which a console names a person.
pub fn person_header(person: &Value) -> String {
    BASE64_STANDARD.encode(person.to_string())
}

impl Namespace {
    /// Returns the audience of a console's request on behalf of a person to the instance in the Pod of this name.
    pub async fn console_audience(&self, service: Service, pod: &str, person: &Value) -> String {
        let leases = self.api::<Lease>().list(&ListParams::default()).await.expect("Leases");
        let of_pod = |lease: &Lease| lease.name_any().strip_prefix(pod).is_some_and(|rest| rest.len() == 11);
        let lease = leases.items.into_iter().find(of_pod).expect("the Lease of the Pod");
        let certificate = BASE64_STANDARD.decode(&lease.annotations()[service.certificate]).expect("base64");
        let person = digest(&SHA256, person_header(person).as_bytes());
        let [certificate, person] =
            [certificate.as_slice(), person.as_ref()].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
        format!("bastion.dev/{}/{certificate}/{person}", service.name)
    }

    /// Returns a token of this account for that audience.
    pub async fn console_token(&self, account: &str, service: Service, pod: &str, person: &Value) -> String {
        self.token(account, &self.console_audience(service, pod, person).await).await
    }
}

/// A server in the place of a program, as one has it who has taken the program over.
pub struct FalseInstance {
    listener: TcpListener,
    tls: TlsAcceptor,
    certificate: String,
}

impl FalseInstance {
    /// Listens, with a certificate of its own.
    pub async fn start() -> Self {
        let made = generate_simple_self_signed(["internal.bastion.dev".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certificate = BASE64_STANDARD.encode(digest(&SHA256, made.cert.der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).expect("a usable certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { listener, tls: TlsAcceptor::from(Arc::new(config)), certificate }
    }

    /// Says in the Lease of this instance that consoles are to connect here.
    pub async fn publish(&self, namespace: &Namespace, service: Service, lease: &str) {
        let address = self.listener.local_addr().expect("an address").to_string();
        let annotations = json!({service.address: address, service.certificate: self.certificate});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        namespace.api::<Lease>().patch(lease, &PatchParams::default(), &patch).await.expect("a changed Lease");
    }

    /// Accepts one request, and returns its headers by their names in small letters.
    pub async fn headers(&self) -> BTreeMap<String, String> {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut lines = BufReader::new(self.tls.accept(stream).await.expect("TLS")).lines();
        let mut headers = BTreeMap::new();
        while let Some(line) = lines.next_line().await.expect("a line").filter(|line| !line.is_empty()) {
            if let Some((name, value)) = line.split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        headers
    }
}
