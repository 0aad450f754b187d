//! The algorithms that a target asks for beside the modern ones, as the SSH library knows them.

use std::borrow::Cow;

use russh::keys::Algorithm;
use russh::{Names, Preferred, cipher, kex, mac};

use super::host_trust::HostTrust;
use crate::api::LegacyAlgorithm;
use crate::gateway::ssh::algorithms;

/// The library's name for an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    KeyExchange(kex::Name),
    Cipher(cipher::Name),
    Mac(mac::Name),
    RsaWithSha1,
}

impl Known {
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

/// What is offered to a target: the modern algorithms, and behind them those that it asks for, in its own order.
pub fn preferred(trust: &HostTrust, asked: &[LegacyAlgorithm]) -> Preferred {
    let modern = algorithms::preferred(trust.signatures());
    let (mut kex, mut cipher, mut mac) = (modern.kex.into_owned(), modern.cipher.into_owned(), modern.mac.into_owned());
    let mut key = modern.key.into_owned();
    for algorithm in asked {
        match Known::of(*algorithm) {
            Known::KeyExchange(name) => kex.push(name),
            Known::Cipher(name) => cipher.push(name),
            Known::Mac(name) => mac.push(name),
            Known::RsaWithSha1 if trust.pins_rsa() => key.push(Algorithm::Rsa { hash: None }),
            Known::RsaWithSha1 => {}
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

/// Those of the algorithms asked for that a key exchange came to, by their names.
pub fn negotiated(asked: &[LegacyAlgorithm], names: &Names) -> Vec<&'static str> {
    let used = |algorithm: &LegacyAlgorithm| match Known::of(*algorithm) {
        Known::KeyExchange(name) => names.kex == name,
        Known::Cipher(name) => names.cipher == name,
        Known::Mac(name) => names.client_mac == name || names.server_mac == name,
        Known::RsaWithSha1 => names.key == Algorithm::Rsa { hash: None },
    };
    asked.iter().filter(|algorithm| used(algorithm)).map(|algorithm| algorithm.name()).collect()
}

/// What a target whose own algorithms are these could ask for, so that there would be one in common.
pub fn would_help(theirs: &[String]) -> Vec<&'static str> {
    LegacyAlgorithm::ALL.iter().map(|it| it.name()).filter(|name| theirs.iter().any(|it| it == name)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gateway::target::samples::target;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn trust() -> HostTrust {
        HostTrust::of(&target("web-1", &[ED25519.to_owned()])).unwrap()
    }

    #[test]
    fn every_algorithm_has_one_name() {
        for algorithm in LegacyAlgorithm::ALL {
            let name = match Known::of(*algorithm) {
                Known::KeyExchange(name) => name.as_ref().to_owned(),
                Known::Cipher(name) => name.as_ref().to_owned(),
                Known::Mac(name) => name.as_ref().to_owned(),
                Known::RsaWithSha1 => Algorithm::Rsa { hash: None }.to_string(),
            };
            assert_eq!(algorithm.name(), name);
            assert_eq!(serde_json::to_value(algorithm).unwrap(), name);
        }
    }

    #[test]
    fn nothing_old_is_offered_that_is_not_asked_for() {
        let offered = preferred(&trust(), &[]);
        let modern = algorithms::preferred(trust().signatures());
        assert_eq!((offered.kex, offered.cipher, offered.mac), (modern.kex, modern.cipher, modern.mac));
        for algorithm in LegacyAlgorithm::ALL {
            let known = match Known::of(*algorithm) {
                Known::KeyExchange(name) => algorithms::preferred(Vec::new()).kex.contains(&name),
                Known::Cipher(name) => algorithms::preferred(Vec::new()).cipher.contains(&name),
                Known::Mac(name) => algorithms::preferred(Vec::new()).mac.contains(&name),
                Known::RsaWithSha1 => false,
            };
            assert!(!known, "{} is modern", algorithm.name());
        }
    }

    #[rstest]
    #[case::key_exchange(LegacyAlgorithm::Group14Sha1)]
    #[case::cipher(LegacyAlgorithm::Aes128Cbc)]
    #[case::mac(LegacyAlgorithm::HmacSha1)]
    fn what_is_asked_for_comes_last(#[case] asked: LegacyAlgorithm) {
        let offered = preferred(&trust(), &[asked]);
        let last = match Known::of(asked) {
            Known::KeyExchange(_) => offered.kex.last().unwrap().as_ref().to_owned(),
            Known::Cipher(_) => offered.cipher.last().unwrap().as_ref().to_owned(),
            _ => offered.mac.last().unwrap().as_ref().to_owned(),
        };
        assert_eq!(last, asked.name());
    }

    #[test]
    fn only_what_the_target_has_is_said_to_help() {
        let theirs = ["rc4", "aes128-cbc", "3des-cbc"].map(str::to_owned);
        assert_eq!(would_help(&theirs), ["aes128-cbc"]);
    }
}
