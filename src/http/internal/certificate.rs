//! The self-signed certificate of a program instance. It is generated at the start, stays in memory, and is pinned by
//! consoles.

use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, ServerConfig, SignatureScheme,
};

/// The DNS name in the certificates. Consoles check the fingerprint instead of it.
pub const SERVER_NAME: &str = "internal.bastion.dev";

/// The SHA-256 digest of a certificate in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(fingerprint)
    }

    /// Returns the 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the digest in base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Parses a digest in base64. Returns `None` if it is not 32 bytes long.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// Generates a certificate and its key. Returns a TLS 1.3 server configuration and the certificate's fingerprint.
///
/// # Errors
/// The system provides no randomness.
pub fn generate() -> anyhow::Result<(Arc<ServerConfig>, Fingerprint)> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([SERVER_NAME.to_owned()])
        .context("generating the certificate of the server for consoles")?;
    let (certificate, key) = (cert.der().clone(), PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let fingerprint = Fingerprint::of(&certificate);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())?;
    Ok((Arc::new(config), fingerprint))
}

/// Returns a TLS 1.3 client configuration that accepts only the certificate with this fingerprint.
///
/// # Errors
/// The cryptography provider does not support TLS 1.3.
pub fn pinned_client_config(fingerprint: Fingerprint) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = PinnedVerifier { fingerprint, algorithms: provider.signature_verification_algorithms };
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Accepts one certificate by its fingerprint. The handshake still proves that the server has its key.
#[derive(Debug)]
struct PinnedVerifier {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Fingerprint::of(certificate) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // The client configuration offers only TLS 1.3.
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[test]
    fn a_fingerprint_round_trips_through_base64() {
        let (_, fingerprint) = generate().unwrap();
        assert_eq!(Fingerprint::from_base64(&fingerprint.to_base64()), Some(fingerprint));
        assert_eq!(Fingerprint::from_base64("c2hvcnQ="), None);
        assert_eq!(Fingerprint::from_base64("not base64"), None);
    }

    async fn connects(expected: Fingerprint, server: Arc<ServerConfig>) -> bool {
        let (client_side, server_side) = duplex(16 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(server).accept(server_side).await?;
            stream.write_all(b"x").await?;
            stream.shutdown().await
        });
        let connector = TlsConnector::from(Arc::new(pinned_client_config(expected).unwrap()));
        let connected = async {
            let mut stream = connector.connect(ServerName::try_from(SERVER_NAME).unwrap(), client_side).await?;
            stream.read_u8().await
        };
        let connected = connected.await.is_ok();
        assert_eq!(serving.await.unwrap().is_ok(), connected);
        connected
    }

    #[tokio::test]
    async fn only_the_pinned_certificate_is_accepted() {
        let ((server, fingerprint), (_, other)) = (generate().unwrap(), generate().unwrap());
        assert!(connects(fingerprint, server.clone()).await);
        assert!(!connects(other, server).await);
    }
}
