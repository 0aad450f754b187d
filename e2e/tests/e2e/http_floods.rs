//! Thousands of half-sent requests to each HTTP port: memory stays bounded, and probes are answered meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use bastion_e2e::http::{get, try_get};
use bastion_e2e::{Process, default_timeout, eventually, proc, weight};

use crate::http_ports::{Port, Programs};

/// How many half-sent requests are held at a port.
const REQUESTS: usize = 5000;
/// How many of them are opened at once.
const CONCURRENT_OPENS: usize = 250;
/// The most that a program's resident memory may grow by, in KiB.
const MAX_GROWTH: usize = 32 * 1024;
/// The time-out of the chart's liveness probes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// After so many failures in a row the kubelet acts (`failureThreshold`).
const PROBE_FAILURES: usize = 3;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What each connection of a flood sends before it is held open.
enum Flood {
    /// A request header that never ends.
    Header,
    /// A TLS handshake that never ends.
    Handshake,
    /// A header that never ends, over TLS.
    HeaderOverTls(TlsConnector),
}

impl Flood {
    async fn open(&self, port: SocketAddr, number: usize) -> Box<dyn Stream> {
        let stream = TcpStream::connect(port).await.expect("a connection");
        let mut stream: Box<dyn Stream> = match self {
            Self::Header | Self::Handshake => Box::new(stream),
            Self::HeaderOverTls(tls) => {
                match tls.connect(ServerName::from(port.ip()), stream).await {
                    Ok(stream) => Box::new(stream),
                    // The program closed it for newer connections during the handshake.
                    Err(_) => return Box::new(tokio::io::empty()),
                }
            }
        };
        let bytes = match self {
            Self::Header | Self::HeaderOverTls(_) => half_header(number),
            Self::Handshake => half_handshake(),
        };
        // The program may have closed it already.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
        stream
    }
}

/// Returns a request header without its end, from 1 byte up to more than the program's buffer.
fn half_header(number: usize) -> Vec<u8> {
    let length = [1, 8 * 1024, 15 * 1024, 16 * 1024 - 1, 60 * 1024][number % 5];
    let mut header = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nX-Long: ".to_vec();
    header.resize(length, b'x');
    header
}

/// Returns TLS records with all but the last byte of a ClientHello whose body has 65,535 bytes.
fn half_handshake() -> Vec<u8> {
    let hello = [&[1, 0, 0xff, 0xff][..], &vec![0; 65_534]].concat();
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).expect("a record").to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    };
    hello.chunks(16 * 1024).flat_map(record).collect()
}

/// The resident memory of a program, in KiB.
pub fn resident(program: &Process) -> usize {
    proc::resident(program.pid()) / 1024
}

/// Asks the probes as the kubelet does, and returns how long the answers took. Each may fail now and then: a newer connection
/// of the flood takes the place of a probe that this busy process is slow to send.
pub async fn probe(probes: SocketAddr) -> Duration {
    let begun = Instant::now();
    for path in ["/healthz", "/readyz"] {
        let mut failures = Vec::new();
        while failures.len() < PROBE_FAILURES {
            match timeout(PROBE_TIMEOUT, try_get(probes, path)).await {
                Ok(Ok((code, body))) => {
                    assert_eq!(code, 200, "{path}: {body}");
                    break;
                }
                Ok(Err(error)) => failures.push(error),
                Err(_) => failures.push(format!("not answered within {PROBE_TIMEOUT:?}")),
            }
        }
        assert!(failures.len() < PROBE_FAILURES, "{path} failed: {failures:?}");
    }
    begun.elapsed()
}

/// Floods a port of a program, and checks its memory and probes meanwhile and while the connections are held.
async fn withstands(port: &Port<'_>, flood: &Flood, number: usize) {
    let Port { name, program, address, probes, .. } = *port;
    probe(probes).await;
    let before = resident(program);
    let (mut most, mut slowest) = (before, Duration::ZERO);
    let opening = stream::iter(0..number).map(|at| flood.open(address, at)).buffer_unordered(CONCURRENT_OPENS);
    let mut opening = std::pin::pin!(opening.collect::<Vec<_>>());
    let held = loop {
        let (answered, held) = tokio::join!(probe(probes), timeout(Duration::from_millis(100), &mut opening));
        (most, slowest) = (most.max(resident(program)), slowest.max(answered));
        if let Ok(held) = held {
            break held;
        }
    };
    for _ in 0..20 {
        slowest = slowest.max(probe(probes).await);
        most = most.max(resident(program));
    }
    let grown = most - before;
    println!("{name}: {} held, {grown} KiB more, probes within {slowest:?}", held.len());
    assert!(grown <= MAX_GROWTH, "{name}: {before} KiB have become {most}");
}

#[tokio::test]
async fn half_sent_requests_neither_fill_the_memory_nor_block_probes() {
    let _held = weight::take(2).await;
    let programs = Programs::start().await;
    let gateway = &programs.bastion.gateway;
    let mut alice = programs.bastion.open("alice").await;
    let (over_tls, plain): (Vec<_>, Vec<_>) = programs.ports().into_iter().partition(|port| port.tls);
    for port in &plain {
        withstands(port, &Flood::Header, REQUESTS).await;
    }
    let floods = [(Flood::Handshake, REQUESTS), (Flood::HeaderOverTls(trusting_anybody()), REQUESTS / 5)];
    for (flood, number) in floods {
        for port in &over_tls {
            withstands(port, &flood, number).await;
        }
    }
    alice.still_answers().await;
    let ports = ["probes", "terminal", "observers"].map(|port| (port, "unfinished"));
    for (port, reason) in ports.into_iter().chain([("probes", "header_size"), ("terminal", "header_size")]) {
        let counter = format!(r#"bastion_http_connections_closed_total{{port="{port}",reason="{reason}"}}"#);
        assert!(gateway.metric(&counter).await > 0, "{counter}");
    }
    eventually(default_timeout(), "the page is served", async || match get(programs.console.address, "/").await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(gateway.process.stderr().contains("too many HTTP connections"), "the log says so");
}

pub fn trusting_anybody() -> TlsConnector {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.expect("TLS 1.3").dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    Arc::new(config.with_no_client_auth()).into()
}

/// Accepts every certificate, as an attacker would.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
