//! Legacy SSH algorithms, which are offered to a target only if its `legacyAlgorithms` names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A legacy algorithm, by its name in the SSH protocol. Algorithms that are not listed here are either unsupported (3DES, DSA,
/// RC4) or offered to every target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LegacyAlgorithm {
    /// Key exchange.
    #[serde(rename = "ecdh-sha2-nistp256")]
    EcdhP256,
    /// Key exchange.
    #[serde(rename = "ecdh-sha2-nistp384")]
    EcdhP384,
    /// Key exchange.
    #[serde(rename = "ecdh-sha2-nistp521")]
    EcdhP521,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group16-sha512")]
    Group16Sha512,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group18-sha512")]
    Group18Sha512,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group14-sha256")]
    Group14Sha256,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group-exchange-sha256")]
    ExchangeSha256,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group14-sha1")]
    Group14Sha1,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group-exchange-sha1")]
    ExchangeSha1,
    /// Key exchange.
    #[serde(rename = "diffie-hellman-group1-sha1")]
    Group1Sha1,
    /// Cipher.
    #[serde(rename = "aes128-gcm@openssh.com")]
    Aes128Gcm,
    /// Cipher.
    #[serde(rename = "aes256-ctr")]
    Aes256Ctr,
    /// Cipher.
    #[serde(rename = "aes192-ctr")]
    Aes192Ctr,
    /// Cipher.
    #[serde(rename = "aes128-ctr")]
    Aes128Ctr,
    /// Cipher.
    #[serde(rename = "aes256-cbc")]
    Aes256Cbc,
    /// Cipher.
    #[serde(rename = "aes192-cbc")]
    Aes192Cbc,
    /// Cipher.
    #[serde(rename = "aes128-cbc")]
    Aes128Cbc,
    /// MAC.
    #[serde(rename = "hmac-sha2-256")]
    HmacSha256,
    /// MAC.
    #[serde(rename = "hmac-sha2-512")]
    HmacSha512,
    /// MAC.
    #[serde(rename = "hmac-sha1-etm@openssh.com")]
    HmacSha1Etm,
    /// MAC.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// RSA signatures with SHA-1, for the target's host key and for the gateway's own key.
    #[serde(rename = "ssh-rsa")]
    SshRsa,
}

impl LegacyAlgorithm {
    /// All legacy algorithms.
    pub const ALL: &'static [Self] = &[
        Self::EcdhP256,
        Self::EcdhP384,
        Self::EcdhP521,
        Self::Group16Sha512,
        Self::Group18Sha512,
        Self::Group14Sha256,
        Self::ExchangeSha256,
        Self::Group14Sha1,
        Self::ExchangeSha1,
        Self::Group1Sha1,
        Self::Aes128Gcm,
        Self::Aes256Ctr,
        Self::Aes192Ctr,
        Self::Aes128Ctr,
        Self::Aes256Cbc,
        Self::Aes192Cbc,
        Self::Aes128Cbc,
        Self::HmacSha256,
        Self::HmacSha512,
        Self::HmacSha1Etm,
        Self::HmacSha1,
        Self::SshRsa,
    ];

    /// Returns the algorithm's name in the SSH protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdhP256 => "ecdh-sha2-nistp256",
            Self::EcdhP384 => "ecdh-sha2-nistp384",
            Self::EcdhP521 => "ecdh-sha2-nistp521",
            Self::Group16Sha512 => "diffie-hellman-group16-sha512",
            Self::Group18Sha512 => "diffie-hellman-group18-sha512",
            Self::Group14Sha256 => "diffie-hellman-group14-sha256",
            Self::ExchangeSha256 => "diffie-hellman-group-exchange-sha256",
            Self::Group14Sha1 => "diffie-hellman-group14-sha1",
            Self::ExchangeSha1 => "diffie-hellman-group-exchange-sha1",
            Self::Group1Sha1 => "diffie-hellman-group1-sha1",
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
            Self::Aes256Ctr => "aes256-ctr",
            Self::Aes192Ctr => "aes192-ctr",
            Self::Aes128Ctr => "aes128-ctr",
            Self::Aes256Cbc => "aes256-cbc",
            Self::Aes192Cbc => "aes192-cbc",
            Self::Aes128Cbc => "aes128-cbc",
            Self::HmacSha256 => "hmac-sha2-256",
            Self::HmacSha512 => "hmac-sha2-512",
            Self::HmacSha1Etm => "hmac-sha1-etm@openssh.com",
            Self::HmacSha1 => "hmac-sha1",
            Self::SshRsa => "ssh-rsa",
        }
    }
}
