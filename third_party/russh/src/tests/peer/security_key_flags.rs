//! A handler learns what a security key asserts of its user (PROTOCOL.u2f).

use ssh_key::certificate::{Builder, CertType};

use super::userauth_algorithm::{request, security_key, sign};
use super::*;
use crate::server::{SkFlags, VerifiedCertificate};

/// Accepts all keys and certificates, and records their flags.
#[derive(Clone, Default)]
struct AnyKey(Arc<std::sync::Mutex<Vec<Option<SkFlags>>>>);

impl server::Handler for AnyKey {
    type Error = Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Error> {
        self.0.lock().unwrap().push(key.sk_flags);
        Ok(server::Auth::Accept)
    }

    async fn auth_openssh_certificate_verified(
        &mut self,
        _: &str,
        certificate: VerifiedCertificate<'_>,
    ) -> Result<server::Auth, Error> {
        self.0.lock().unwrap().push(certificate.sk_flags);
        Ok(server::Auth::Accept)
    }
}

/// Signs in by a request, and returns the flags that the handler learned.
async fn flags_of(request: Vec<u8>) -> Option<SkFlags> {
    let handler = AnyKey::default();
    let (mut peer, _server) = Peer::of_server(server::Config::default(), handler.clone()).await;
    peer.request_authentication().await;
    peer.send(request).await;
    peer.expect(msg::USERAUTH_SUCCESS).await;
    let flags = handler.0.lock().unwrap();
    assert_eq!(flags.len(), 1);
    flags[0]
}

#[tokio::test]
async fn key_tells_its_flags() {
    let secret = key(2);
    let key = security_key(&secret).to_bytes().unwrap();
    let algorithm = "sk-ssh-ed25519@openssh.com";
    for (flags, present, verified) in [
        (0, false, false),
        (1, true, false),
        (4, false, true),
        (5, true, true),
    ] {
        let request = sign(&secret, request(true, algorithm, &key), algorithm, flags);
        let told = flags_of(request).await.expect("flags");
        assert_eq!(told, SkFlags::from(flags));
        assert_eq!(
            (told.user_present(), told.user_verified()),
            (present, verified)
        );
    }
}

#[tokio::test]
async fn certificate_tells_its_flags() {
    let secret = key(2);
    let mut builder = Builder::new([0; 32], &security_key(&secret), 0, u64::MAX).unwrap();
    builder.cert_type(CertType::User).unwrap();
    builder.valid_principal("user").unwrap();
    let certificate = builder.sign(&key(3)).unwrap().to_bytes().unwrap();
    let request = request(true, "sk-ssh-ed25519-cert-v01@openssh.com", &certificate);
    let request = sign(&secret, request, "sk-ssh-ed25519@openssh.com", 5);
    assert_eq!(flags_of(request).await, Some(SkFlags::from(5)));
}

#[tokio::test]
async fn ordinary_key_has_no_flags() {
    use signature::Signer;

    let secret = key(2);
    let mut request = request(
        true,
        "ssh-ed25519",
        &secret.public_key().to_bytes().unwrap(),
    );
    let session_id = packet!(0, "").split_off(1);
    let signature = secret
        .try_sign(&[session_id, request.clone()].concat())
        .unwrap();
    let signature = packet!(0, signature).split_off(1);
    // The signature is a string inside a string.
    signature.encode(&mut request).unwrap();
    assert_eq!(flags_of(request).await, None);
}
