//! Tests that russh accepts a host's RSA signature only with the negotiated algorithm.
//!
//! The test's own server runs a key exchange up to the signature, because a real server would not sign with another algorithm.

use std::sync::Arc;

use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use rstest::rstest;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::signature::Signer;
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::{HashAlg, PrivateKey, PublicKey, Signature};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream};

use super::dial::config;
use super::fixtures::target;
use super::host_trust::HostTrust;
use crate::api::LegacyAlgorithm;

const IDENTIFICATION: &str = "SSH-2.0-Test";
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const KEX_ECDH_REPLY: u8 = 31;

/// Trusts any host key, because the tests concern only its signature.
struct TrustAnyKey;

impl client::Handler for TrustAnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Encodes a `string` (RFC 4251, section 5).
fn text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Encodes a positive `mpint` (RFC 4251, section 5).
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign = if digits.first().is_some_and(|byte| *byte >= 0x80) { &[0][..] } else { &[] };
    text(&[sign, digits].concat())
}

fn kexinit(host_key: &str) -> Vec<u8> {
    let cipher = "aes256-gcm@openssh.com";
    let lists = ["curve25519-sha256", host_key, cipher, cipher, "", "", "none", "none", "", ""];
    let lists = lists.map(|list| text(list.as_bytes())).concat();
    [&[KEXINIT][..], &[7; 16], &lists, &[0; 5]].concat()
}

async fn write(stream: &mut BufStream<DuplexStream>, payload: &[u8]) {
    let padding = 12 - (payload.len() + 9) % 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    stream.write_u32(length).await.unwrap();
    stream.write_u8(u8::try_from(padding).unwrap()).await.unwrap();
    stream.write_all(payload).await.unwrap();
    stream.write_all(&vec![0; padding]).await.unwrap();
    stream.flush().await.unwrap();
}

/// Returns the next packet's payload; `None` when the client has disconnected.
async fn read(stream: &mut BufStream<DuplexStream>) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut packet = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut packet).await.ok()?;
    let padding = usize::from(packet.remove(0));
    packet.truncate(packet.len() - padding);
    Some(packet)
}

/// Negotiates the host key algorithm `host_key`, and signs with `hash`. Returns whether the client continues.
async fn serve(stream: DuplexStream, key: &RsaKeypair, host_key: &str, hash: Option<HashAlg>) -> bool {
    let mut stream = BufStream::new(stream);
    stream.write_all(format!("{IDENTIFICATION}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut identification = String::new();
    stream.read_line(&mut identification).await.unwrap();
    let (theirs, ours) = (read(&mut stream).await.unwrap(), kexinit(host_key));
    write(&mut stream, &ours).await;
    let init = read(&mut stream).await.unwrap();
    let their_point = &init[5..];

    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
    let point = private.compute_public_key().unwrap();
    let peer = UnparsedPublicKey::new(&X25519, their_point);
    let secret = agree_ephemeral(private, peer, (), |secret| Ok(secret.to_vec())).unwrap();
    let host = PublicKey::from(PrivateKey::from(key.clone())).to_bytes().unwrap();
    let hashed = [identification.trim_end().as_bytes(), IDENTIFICATION.as_bytes(), &theirs, &ours, &host];
    let hashed = [hashed.map(text).concat(), text(their_point), text(point.as_ref()), mpint(&secret)].concat();
    let exchange = digest(&SHA256, &hashed);
    let signature: Signature = (key, hash).try_sign(exchange.as_ref()).unwrap();
    let signature = Vec::<u8>::try_from(signature).unwrap();
    let reply = [vec![KEX_ECDH_REPLY], text(&host), text(point.as_ref()), text(&signature)].concat();
    write(&mut stream, &reply).await;
    read(&mut stream).await.is_some_and(|payload| payload == [NEWKEYS])
}

#[rstest]
#[case("rsa-sha2-512", Some(HashAlg::Sha512), &[], true)]
#[case("rsa-sha2-256", Some(HashAlg::Sha256), &[], true)]
#[case("rsa-sha2-512", None, &[], false)]
#[case("rsa-sha2-512", Some(HashAlg::Sha256), &[], false)]
#[case("ssh-rsa", None, &[LegacyAlgorithm::SshRsa], true)]
#[case("rsa-sha2-512", None, &[LegacyAlgorithm::SshRsa], false)]
#[tokio::test]
async fn a_target_must_sign_with_the_negotiated_algorithm(
    #[case] host_key: &str,
    #[case] hash: Option<HashAlg>,
    #[case] legacy: &[LegacyAlgorithm],
    #[case] expected: bool,
) {
    let key = RsaKeypair::random(&mut rand::rng(), 2048).unwrap();
    let line = PrivateKey::from(key.clone()).public_key().to_openssh().unwrap();
    let trust = HostTrust::from_spec(&target("192.0.2.7", &[line])).unwrap();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let client = tokio::spawn(client::connect_stream(Arc::new(config(&trust, legacy)), here, TrustAnyKey));
    assert_eq!(serve(there, &key, host_key, hash).await, expected);
    let outcome = client.await.unwrap().map(drop);
    assert_eq!(matches!(outcome, Err(russh::Error::WrongServerSig)), !expected, "{outcome:?}");
}
