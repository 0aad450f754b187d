//! The algorithms that the gateway offers to a target: the modern ones, and the legacy ones of `spec.legacyAlgorithms`.

use std::borrow::Cow;

use russh::keys::Algorithm;
use russh::{Names, Preferred, cipher, kex, mac};

use super::host_trust::HostTrust;
use crate::api::LegacyAlgorithm;
use crate::gateway::ssh::algorithms;

/// The role of a legacy algorithm, with russh's name for the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    KeyExchange(kex::Name),
    Cipher(cipher::Name),
    Mac(mac::Name),
    RsaWithSha1,
}

impl Role {
    const fn of(algorithm: LegacyAlgorithm) -> Self {
        use LegacyAlgorithm as Legacy;
        match algorithm {
            Legacy::EcdhP256 => Self::KeyExchange(kex::ECDH_SHA2_NISTP256),
            Legacy::EcdhP384 => Self::KeyExchange(kex::ECDH_SHA2_NISTP384),
            Legacy::EcdhP521 => Self::KeyExchange(kex::ECDH_SHA2_NISTP521),
            Legacy::Group16Sha512 => Self::KeyExchange(kex::DH_G16_SHA512),
            Legacy::Group18Sha512 => Self::KeyExchange(kex::DH_G18_SHA512),
            Legacy::Group14Sha256 => Self::KeyExchange(kex::DH_G14_SHA256),
            Legacy::ExchangeSha256 => Self::KeyExchange(kex::DH_GEX_SHA256),
            Legacy::Group14Sha1 => Self::KeyExchange(kex::DH_G14_SHA1),
            Legacy::ExchangeSha1 => Self::KeyExchange(kex::DH_GEX_SHA1),
            Legacy::Group1Sha1 => Self::KeyExchange(kex::DH_G1_SHA1),
            Legacy::Aes128Gcm => Self::Cipher(cipher::AES_128_GCM),
            Legacy::Aes256Ctr => Self::Cipher(cipher::AES_256_CTR),
            Legacy::Aes192Ctr => Self::Cipher(cipher::AES_192_CTR),
            Legacy::Aes128Ctr => Self::Cipher(cipher::AES_128_CTR),
            Legacy::Aes256Cbc => Self::Cipher(cipher::AES_256_CBC),
            Legacy::Aes192Cbc => Self::Cipher(cipher::AES_192_CBC),
            Legacy::Aes128Cbc => Self::Cipher(cipher::AES_128_CBC),
            Legacy::HmacSha256 => Self::Mac(mac::HMAC_SHA256),
            Legacy::HmacSha512 => Self::Mac(mac::HMAC_SHA512),
            Legacy::HmacSha1Etm => Self::Mac(mac::HMAC_SHA1_ETM),
            Legacy::HmacSha1 => Self::Mac(mac::HMAC_SHA1),
            Legacy::SshRsa => Self::RsaWithSha1,
        }
    }
}

/// Returns the algorithms to offer: the modern ones, then the target's legacy ones in the order of its spec.
pub fn preferred(trust: &HostTrust, legacy: &[LegacyAlgorithm]) -> Preferred {
    let modern = algorithms::preferred(trust.signatures());
    let (mut kex, mut cipher, mut mac) = (modern.kex.into_owned(), modern.cipher.into_owned(), modern.mac.into_owned());
    let mut key = modern.key.into_owned();
    for algorithm in legacy {
        match Role::of(*algorithm) {
            Role::KeyExchange(name) => kex.push(name),
            Role::Cipher(name) => cipher.push(name),
            Role::Mac(name) => mac.push(name),
            Role::RsaWithSha1 if trust.pins_rsa() => key.push(Algorithm::Rsa { hash: None }),
            Role::RsaWithSha1 => {}
        }
    }
    let certificates = Cow::Owned(trust.certificates());
    Preferred {
        kex: kex.into(),
        cipher: cipher.into(),
        mac: mac.into(),
        key: key.into(),
        host_key_certificates: certificates,
        compression: modern.compression,
    }
}

/// Returns the names of the legacy algorithms that a key exchange negotiated.
pub fn negotiated(legacy: &[LegacyAlgorithm], names: &Names) -> Vec<&'static str> {
    let used = |algorithm: &LegacyAlgorithm| match Role::of(*algorithm) {
        Role::KeyExchange(name) => names.kex == name,
        Role::Cipher(name) => names.cipher == name,
        Role::Mac(name) => names.client_mac == name || names.server_mac == name,
        Role::RsaWithSha1 => names.key == Algorithm::Rsa { hash: None },
    };
    legacy.iter().filter(|algorithm| used(algorithm)).map(|algorithm| algorithm.name()).collect()
}

/// Returns the legacy algorithms that a target offers and that its `spec.legacyAlgorithms` could name.
pub fn supported_legacy(theirs: &[String]) -> Vec<&'static str> {
    LegacyAlgorithm::ALL.iter().map(|it| it.name()).filter(|name| theirs.iter().any(|it| it == name)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gateway::target::fixtures::target;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn trust() -> HostTrust {
        HostTrust::from_spec(&target("web-1", &[ED25519.to_owned()])).unwrap()
    }

    #[test]
    fn every_algorithm_has_one_name() {
        for algorithm in LegacyAlgorithm::ALL {
            let name = match Role::of(*algorithm) {
                Role::KeyExchange(name) => name.as_ref().to_owned(),
                Role::Cipher(name) => name.as_ref().to_owned(),
                Role::Mac(name) => name.as_ref().to_owned(),
                Role::RsaWithSha1 => Algorithm::Rsa { hash: None }.to_string(),
            };
            assert_eq!(algorithm.name(), name);
            assert_eq!(serde_json::to_value(algorithm).unwrap(), name);
        }
    }

    #[test]
    fn legacy_algorithms_are_offered_only_on_request() {
        let offered = preferred(&trust(), &[]);
        let modern = algorithms::preferred(trust().signatures());
        assert_eq!((offered.kex, offered.cipher, offered.mac), (modern.kex, modern.cipher, modern.mac));
        for algorithm in LegacyAlgorithm::ALL {
            let is_modern = match Role::of(*algorithm) {
                Role::KeyExchange(name) => algorithms::preferred(Vec::new()).kex.contains(&name),
                Role::Cipher(name) => algorithms::preferred(Vec::new()).cipher.contains(&name),
                Role::Mac(name) => algorithms::preferred(Vec::new()).mac.contains(&name),
                Role::RsaWithSha1 => false,
            };
            assert!(!is_modern, "{} is modern", algorithm.name());
        }
    }

    #[rstest]
    #[case::key_exchange(LegacyAlgorithm::Group14Sha1)]
    #[case::cipher(LegacyAlgorithm::Aes128Cbc)]
    #[case::mac(LegacyAlgorithm::HmacSha1)]
    fn legacy_algorithms_come_last(#[case] legacy: LegacyAlgorithm) {
        let offered = preferred(&trust(), &[legacy]);
        let last = match Role::of(legacy) {
            Role::KeyExchange(_) => offered.kex.last().unwrap().as_ref().to_owned(),
            Role::Cipher(_) => offered.cipher.last().unwrap().as_ref().to_owned(),
            _ => offered.mac.last().unwrap().as_ref().to_owned(),
        };
        assert_eq!(last, legacy.name());
    }

    #[test]
    fn only_algorithms_of_the_target_are_suggested() {
        let theirs = ["rc4", "aes128-cbc", "3des-cbc"].map(str::to_owned);
        assert_eq!(supported_legacy(&theirs), ["aes128-cbc"]);
    }
}
