//! The certificate of a gateway instance: made as it begins, kept in its memory alone, and known by its fingerprint.

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

use super::protocol::NAME;

/// The SHA-256 of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(fingerprint)
    }

    /// As base64.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Of base64.
    pub fn of_text(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// A new certificate and its key, for serving, and by what it is known.
///
/// # Errors
/// When the system gives no randomness.
pub fn new() -> anyhow::Result<(Arc<ServerConfig>, Fingerprint)> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).context("no certificate for those who follow sessions")?;
    let (certificate, key) = (cert.der().clone(), PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let fingerprint = Fingerprint::of(&certificate);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())?;
    Ok((Arc::new(config), fingerprint))
}

/// For connecting to whom has this certificate, and to nobody else.
///
/// # Errors
/// When TLS cannot be had at all.
pub fn pinned(fingerprint: Fingerprint) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Pinned { fingerprint, algorithms: provider.signature_verification_algorithms };
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Takes one certificate, and has its key proven as usual.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
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
        // It is not offered.
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
    fn a_fingerprint_is_text() {
        let (_, fingerprint) = new().unwrap();
        assert_eq!(Fingerprint::of_text(&fingerprint.to_text()), Some(fingerprint));
        assert_eq!(Fingerprint::of_text("c2hvcnQ="), None);
        assert_eq!(Fingerprint::of_text("no base64"), None);
    }

    async fn connects(expected: Fingerprint, server: Arc<ServerConfig>) -> bool {
        let (here, there) = duplex(16 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(server).accept(there).await?;
            stream.write_all(b"x").await?;
            stream.shutdown().await
        });
        let connector = TlsConnector::from(Arc::new(pinned(expected).unwrap()));
        let connected = async {
            let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), here).await?;
            stream.read_u8().await
        };
        let connected = connected.await.is_ok();
        assert_eq!(serving.await.unwrap().is_ok(), connected);
        connected
    }

    #[tokio::test]
    async fn one_certificate_is_taken_and_no_other() {
        let ((server, fingerprint), (_, other)) = (new().unwrap(), new().unwrap());
        assert!(connects(fingerprint, server.clone()).await);
        assert!(!connects(other, server).await);
    }
}
