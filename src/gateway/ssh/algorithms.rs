//! The algorithms of SSH connections from users and to targets: no SHA-1, no CBC, no finite-field groups.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, HashAlg};
use russh::{Limits, Preferred, SshId, cipher, compression, kex, mac};

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
// AES-256-GCM comes first, because it is by far the faster cipher with hardware support.
const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// Returns the SSH identification string that the gateway sends to users and to targets (RFC 4253, section 4.2).
///
/// The software version begins with `OpenSSH`, because OpenSSH sends the channel request `eow@openssh.com` only to such peers.
/// Without this request, `ssh … 'cat big' | head` would transfer the whole file.
pub fn identification() -> SshId {
    SshId::Standard(concat!("SSH-2.0-OpenSSH_compatible_Bastion_", env!("CARGO_PKG_VERSION")).into())
}

/// Returns the signature algorithms that the gateway accepts from users and uses with its own keys.
pub fn all_signatures() -> Vec<Algorithm> {
    use russh::keys::EcdsaCurve::{NistP256, NistP384, NistP521};
    let ecdsa = [NistP256, NistP384, NistP521].map(|curve| Algorithm::Ecdsa { curve });
    let mut all = vec![Algorithm::Ed25519, Algorithm::SkEd25519];
    all.extend(ecdsa);
    all.push(Algorithm::SkEcdsaSha2NistP256);
    all.extend(signatures(Algorithm::Rsa { hash: None }));
    all
}

/// Returns whether the gateway accepts a signature of the algorithm `signature` by a key of the algorithm `key`.
///
/// The two must match. Otherwise a security key's signature could be labelled as another algorithm's; it would then carry no
/// flags, and no touch would be required.
pub fn accepts_signature(key: &Algorithm, signature: &Algorithm) -> bool {
    all_signatures().contains(signature) && signatures(key.clone()).contains(signature)
}

/// Returns the algorithms that the gateway offers, with these host key algorithms in this order.
pub fn preferred(host_keys: Vec<Algorithm>) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Owned(host_keys),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// Returns the signature algorithms for a key. RSA is used with SHA-2 only (RFC 8332).
pub fn signatures(key: Algorithm) -> Vec<Algorithm> {
    match key {
        Algorithm::Rsa { .. } => {
            vec![Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }]
        }
        other => vec![other],
    }
}

/// Returns the limits after which keys are exchanged again: `time`, or 1 GiB in one direction (RFC 4253, section 9).
pub fn rekey_limits(time: Duration) -> Limits {
    Limits { rekey_time_limit: time, ..Limits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 12] = [
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-256",
        "rsa-sha2-512",
        "ssh-rsa",
        "ssh-dss",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "other@example.com",
    ];

    #[test]
    fn a_signature_is_accepted_only_under_a_label_of_its_key_type() {
        for key in LABELS {
            let accepted: Vec<&str> = LABELS.into_iter().filter(|label| accepts(key, label)).collect();
            match key {
                "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => assert_eq!(accepted, ["rsa-sha2-256", "rsa-sha2-512"]),
                "ssh-dss" | "webauthn-sk-ecdsa-sha2-nistp256@openssh.com" | "other@example.com" => {
                    assert!(accepted.is_empty(), "{key}: {accepted:?}");
                }
                key => assert_eq!(accepted, [key]),
            }
        }
    }

    fn accepts(key: &str, label: &str) -> bool {
        let [key, label] = [key, label].map(|name| Algorithm::new(name).expect("an algorithm"));
        accepts_signature(&key, &label)
    }
}
