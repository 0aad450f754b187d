//! A server signs by the negotiated algorithm (RFC 4253 §8, RFC 8332 §3).

use ssh_encoding::Decode;
use ssh_key::{Algorithm, HashAlg};

use super::*;
use crate::CryptoVec;
use crate::helpers::sign_with_hash_alg;
use crate::kex::{KEXES, KexAlgorithmImplementor};
use crate::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use crate::session::Exchange;

struct Client;

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Runs the key exchange of a server that signs with this hash, whatever was
/// negotiated, and returns its next packet.
async fn sign_exchange(
    peer: &mut Peer,
    key: Arc<PrivateKey>,
    hash: Option<HashAlg>,
) -> Option<Vec<u8>> {
    let client_id = peer.exchange_ids().await;
    let mut exchange = Exchange::new(&client_id, b"SSH-2.0-peer");
    exchange.client_kex_init = peer.expect(msg::KEXINIT).await.into();
    exchange.server_kex_init = kexinit("curve25519-sha256", "rsa-sha2-512").into();
    peer.send(exchange.server_kex_init.to_vec()).await;

    let init = peer.expect(msg::KEX_ECDH_INIT).await;
    exchange.client_ephemeral = Vec::decode(&mut &init[1..]).unwrap();
    let mut kex = KEXES.get(&kex::CURVE25519).unwrap().make();
    kex.server_dh(&mut exchange, &init).unwrap();
    let host_key = key.public_key().to_bytes().unwrap();
    let hashed = kex
        .compute_exchange_hash(&packet!(0, host_key)[1..], &exchange, &mut CryptoVec::new())
        .unwrap();
    let signature = sign_with_hash_alg(&PrivateKeyWithHashAlg::new(key, hash), &hashed).unwrap();
    peer.send(packet!(
        msg::KEX_ECDH_REPLY,
        host_key,
        exchange.server_ephemeral,
        signature
    ))
    .await;
    peer.receive().await
}

#[tokio::test]
async fn client_checks_the_algorithm() {
    let rsa = Arc::new(PrivateKey::from_openssh(crate::keys::test::RSA_KEY).unwrap());
    for (hash, accepted) in [
        (Some(HashAlg::Sha512), true),
        (Some(HashAlg::Sha256), false),
        (None, false), // ssh-rsa: SHA-1
    ] {
        let config = Arc::new(client::Config {
            preferred: Preferred {
                kex: Cow::Borrowed(&[kex::CURVE25519]),
                key: Cow::Owned(vec![Algorithm::Rsa {
                    hash: Some(HashAlg::Sha512),
                }]),
                ..no_crypto()
            },
            ..Default::default()
        });
        let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
        let client = tokio::spawn(client::connect_stream(config, theirs, Client));
        let mut peer = Peer { stream: ours };
        let next = sign_exchange(&mut peer, rsa.clone(), hash).await;
        if accepted {
            assert_eq!(next, Some(packet!(msg::NEWKEYS)));
        } else {
            assert_eq!(next, None, "{hash:?} was accepted");
            let ended = within(client).await.unwrap();
            assert!(matches!(ended, Err(Error::WrongServerSig)), "{hash:?}");
        }
    }
}
