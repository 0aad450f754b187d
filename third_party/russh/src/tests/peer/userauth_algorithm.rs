//! The algorithm of a request fits its key (RFC 4252 §7, PROTOCOL.u2f).

use sha2::Digest;
use signature::Signer;
use ssh_key::public::SkEd25519;
use ssh_key::{Algorithm, PublicKey};

use super::*;
use crate::helpers::AlgorithmExt;

/// Accepts all keys, and records the algorithms by which they are offered.
#[derive(Clone, Default)]
struct AnyKey(Arc<std::sync::Mutex<Vec<Algorithm>>>);

impl server::Handler for AnyKey {
    type Error = Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<server::Auth, Error> {
        self.0.lock().unwrap().push(offer.algorithm.clone());
        Ok(server::Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Error> {
        Ok(server::Auth::Accept)
    }
}

/// Returns the public key of a security key whose secret is `secret`.
pub(super) fn security_key(secret: &PrivateKey) -> PublicKey {
    let point = *secret.public_key().key_data().ed25519().unwrap();
    PublicKey::from(SkEd25519::new(point, "ssh:"))
}

/// Encodes a request for authentication by a key, without its signature.
pub(super) fn request(signed: bool, algorithm: &str, key: &[u8]) -> Vec<u8> {
    packet!(
        msg::USERAUTH_REQUEST,
        "user",
        "ssh-connection",
        "publickey",
        u8::from(signed),
        algorithm,
        key
    )
}

/// Signs a request as a security key does (PROTOCOL.u2f): over the hash of its
/// application, flags, a counter, and the hash of what is signed. The session
/// identifier is empty, since nothing was exchanged.
pub(super) fn sign(secret: &PrivateKey, mut request: Vec<u8>, label: &str, flags: u8) -> Vec<u8> {
    let hash = |data: &[u8]| sha2::Sha256::digest(data).to_vec();
    let said = [vec![flags], 1u32.to_be_bytes().to_vec()].concat();
    let session_id = packet!(0, "").split_off(1);
    let message = hash(&[session_id, request.clone()].concat());
    let signed = [hash(b"ssh:"), said.clone(), message].concat();
    let signature = secret.try_sign(&signed).unwrap().as_bytes().to_vec();
    let signature = if label.starts_with("sk-") {
        [packet!(0, label, signature).split_off(1), said].concat()
    } else {
        packet!(0, label, [signature, said].concat()).split_off(1)
    };
    signature.encode(&mut request).unwrap();
    request
}

const ALGORITHMS: [&str; 6] = [
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ssh-ed25519@openssh.com",
];

#[tokio::test]
async fn offer_fits_its_key() {
    let handler = AnyKey::default();
    let key = security_key(&key(2)).to_bytes().unwrap();
    for algorithm in ALGORITHMS {
        let (mut peer, _server) = Peer::of_server(server::Config::default(), handler.clone()).await;
        peer.request_authentication().await;
        peer.send(request(false, algorithm, &key)).await;
        let answer = peer.receive().await.unwrap();
        let fits = algorithm == "sk-ssh-ed25519@openssh.com";
        let expected = if fits {
            msg::USERAUTH_PK_OK
        } else {
            msg::USERAUTH_FAILURE
        };
        assert_eq!(answer[0], expected, "{algorithm}");
    }
    assert_eq!(*handler.0.lock().unwrap(), [Algorithm::SkEd25519]);
}

#[tokio::test]
async fn signature_fits_its_key() {
    let secret = key(2);
    let key = security_key(&secret).to_bytes().unwrap();
    for (algorithm, expected) in [
        ("rsa-sha2-512", msg::USERAUTH_FAILURE),
        ("sk-ssh-ed25519@openssh.com", msg::USERAUTH_SUCCESS),
    ] {
        let (mut peer, _server) =
            Peer::of_server(server::Config::default(), AnyKey::default()).await;
        peer.request_authentication().await;
        let request = sign(&secret, request(true, algorithm, &key), algorithm, 0);
        peer.send(request).await;
        let answer = peer.receive().await.unwrap();
        assert_eq!(answer[0], expected, "{algorithm}: {answer:?}");
    }
}

#[test]
fn key_makes_signatures_of_its_own_algorithm() {
    let names =
        ALGORITHMS
            .into_iter()
            .chain(["ecdsa-sha2-nistp384", "ssh-rsa", "other@example.com"]);
    let is_rsa = |name: &str| name.contains("rsa");
    for key in names.clone() {
        for signature in names.clone() {
            let expected = key == signature || is_rsa(key) && is_rsa(signature);
            let [key, signature] = [key, signature].map(|name| Algorithm::new(name).unwrap());
            assert_eq!(key.makes(&signature), expected, "{key} {signature}");
        }
    }
}
