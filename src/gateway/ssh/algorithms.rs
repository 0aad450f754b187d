//! The algorithms that the gateway speaks, on both sides: no SHA-1, no CBC, no finite-field groups.

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
// AES-256-GCM first: it is the faster by far where the processor helps.
const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// How the gateway introduces itself, on both sides. OpenSSH tells only programs whose name begins like its own when it reads
/// no more of a channel; without that, `ssh … 'cat big' | head` would run until the file ends.
pub fn identification() -> SshId {
    SshId::Standard(concat!("SSH-2.0-OpenSSH_compatible_Bastion_", env!("CARGO_PKG_VERSION")).into())
}

/// The signatures that the gateway takes from users, and, where it has such a key, gives itself.
pub fn all_signatures() -> Vec<Algorithm> {
    use russh::keys::EcdsaCurve::{NistP256, NistP384, NistP521};
    let ecdsa = [NistP256, NistP384, NistP521].map(|curve| Algorithm::Ecdsa { curve });
    let mut all = vec![Algorithm::Ed25519, Algorithm::SkEd25519];
    all.extend(ecdsa);
    all.push(Algorithm::SkEcdsaSha2NistP256);
    all.extend(signatures(Algorithm::Rsa { hash: None }));
    all
}

/// Returns whether the gateway accepts a signature of the algorithm `signature` by a key of the algorithm `key`. Without a
/// look at the key's, a security key's signature under another label would need no flags, and so no touch.
pub fn takes_signature(key: &Algorithm, signature: &Algorithm) -> bool {
    all_signatures().contains(signature) && signatures(key.clone()).contains(signature)
}

/// What the gateway offers, with these signature algorithms in this order.
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

/// The signature algorithms for a key: RSA is used with SHA-2 only.
pub fn signatures(key: Algorithm) -> Vec<Algorithm> {
    match key {
        Algorithm::Rsa { .. } => {
            vec![Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }]
        }
        other => vec![other],
    }
}

/// New keys after this time, and after 1 GiB in one direction, which RFC 4253, section 9, recommends.
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
    fn a_signature_is_accepted_under_a_label_of_its_keys_type_only() {
        for key in LABELS {
            let taken: Vec<&str> = LABELS.into_iter().filter(|label| takes(key, label)).collect();
            match key {
                "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => assert_eq!(taken, ["rsa-sha2-256", "rsa-sha2-512"]),
                "ssh-dss" | "webauthn-sk-ecdsa-sha2-nistp256@openssh.com" | "other@example.com" => {
                    assert!(taken.is_empty(), "{key}: {taken:?}");
                }
                key => assert_eq!(taken, [key]),
            }
        }
    }

    fn takes(key: &str, label: &str) -> bool {
        let [key, label] = [key, label].map(|name| Algorithm::new(name).expect("an algorithm"));
        takes_signature(&key, &label)
    }
}
