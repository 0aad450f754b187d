//! Checks OpenSSH user certificates (PROTOCOL.certkeys of OpenSSH).

use std::net::IpAddr;

use ipnet::IpNet;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Certificate, HashAlg};
use russh::server::SkFlags;

use super::key_line::Authority;
use super::key_restrictions::KeyRestrictions;
use super::presence::{Assertion, PresenceError, PresenceRequirement};
use crate::addresses::contains;
use crate::gateway::ssh::algorithms;

/// Why a certificate is not accepted. The text is for the log; clients get the same answer to every failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserCertificateError {
    /// No `cert-authority` line of the user has the key that signed the certificate.
    #[error("no cert-authority line of the user has the key that signed the certificate")]
    UnknownAuthority,
    /// The certificate is a host certificate.
    #[error("the certificate is not a user certificate")]
    NotAUserCertificate,
    /// The signature is invalid, or uses SHA-1.
    #[error("the certificate's signature is invalid or uses an algorithm that is not accepted")]
    BadSignature,
    /// The certificate lists no principals, so it would be valid for every user. sshd also refuses such certificates.
    #[error("the certificate names no principals")]
    NoPrincipals,
    /// The certificate lists none of the required principals.
    #[error("the certificate names none of the required principals")]
    WrongPrincipal,
    /// `valid after` is in the future.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// `valid before` has passed.
    #[error("the certificate has expired")]
    Expired,
    /// `source-address` does not include the client.
    #[error("the certificate's source-address does not include the client's address")]
    WrongAddress,
    /// The security key's signature does not assert what is required.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The certificate and its line force different commands.
    #[error("the certificate and its cert-authority line force different commands")]
    ConflictingCommands,
    /// A critical option is unknown or has an invalid value.
    #[error("the certificate has a critical option that is not supported: {0}")]
    UnknownOption(String),
}

/// Returns what the certificate permits to `user`, who signs in from `address` at the time `now`, in seconds since 1970.
/// `flags` are the flags of the signature, if the certified key is a security key.
///
/// # Errors
/// The reason why the certificate is not accepted.
pub fn check(
    certificate: &Certificate,
    flags: Option<SkFlags>,
    user: &str,
    authorities: &[Authority],
    address: IpAddr,
    now: u64,
) -> Result<KeyRestrictions, UserCertificateError> {
    let authority = authority_of(certificate, user, authorities)?;
    if now < certificate.valid_after() {
        return Err(UserCertificateError::NotYetValid);
    }
    if now >= certificate.valid_before() {
        return Err(UserCertificateError::Expired);
    }
    // Among others, this refuses RSA signatures with SHA-1.
    let is_accepted = algorithms::accepts_signature(&authority.key.algorithm(), &certificate.signature().algorithm());
    let signer = authority.key.fingerprint(HashAlg::Sha256);
    if !is_accepted || certificate.validate_at(now, [&signer]).is_err() {
        return Err(UserCertificateError::BadSignature);
    }
    let permitted = permissions_of(certificate, address)?;
    let assertion = Assertion::of(&certificate.public_key().algorithm(), flags)?;
    presence_of(certificate).union(authority.presence).check(assertion)?;
    permitted.intersect(&authority.restrictions).map_err(|_| UserCertificateError::ConflictingCommands)
}

/// Returns the user's line that accepts the certificate. Does not check the validity period: an open session may outlast its
/// certificate, but not the line.
///
/// # Errors
/// The reason why no line accepts the certificate.
pub fn authority_of<'a>(
    certificate: &Certificate,
    user: &str,
    authorities: &'a [Authority],
) -> Result<&'a Authority, UserCertificateError> {
    let signed_by = |authority: &&Authority| authority.key.key_data() == certificate.signature_key();
    let mut lines = authorities.iter().filter(signed_by).peekable();
    if lines.peek().is_none() {
        return Err(UserCertificateError::UnknownAuthority);
    }
    if certificate.cert_type() != CertType::User {
        return Err(UserCertificateError::NotAUserCertificate);
    }
    let names = certificate.valid_principals();
    if names.is_empty() {
        return Err(UserCertificateError::NoPrincipals);
    }
    let accepts = |authority: &&Authority| match &authority.principals {
        Some(principals) => principals.iter().any(|principal| names.contains(principal)),
        None => names.iter().any(|principal| principal == user),
    };
    lines.find(accepts).ok_or(UserCertificateError::WrongPrincipal)
}

/// Returns what the certificate itself permits. An unknown critical option invalidates the certificate. Each permission
/// needs its extension.
fn permissions_of(certificate: &Certificate, address: IpAddr) -> Result<KeyRestrictions, UserCertificateError> {
    let mut command = None;
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "force-command" if !value.is_empty() => command = Some(value.clone()),
            "source-address" => {
                let unknown = || UserCertificateError::UnknownOption(format!("source-address={value}"));
                if !is_among(address, value).ok_or_else(unknown)? {
                    return Err(UserCertificateError::WrongAddress);
                }
            }
            // `presence_of` reads it.
            "verify-required" => {}
            _ => return Err(UserCertificateError::UnknownOption(name.clone())),
        }
    }
    let permits = |extension: &str| certificate.extensions().contains_key(extension);
    Ok(KeyRestrictions {
        command,
        pty: permits("permit-pty"),
        port_forwarding: permits("permit-port-forwarding"),
        agent_forwarding: permits("permit-agent-forwarding"),
    })
}

/// Returns what the certificate requires of signatures. A touch is waived only if both the certificate and its line have
/// `no-touch-required`.
fn presence_of(certificate: &Certificate) -> PresenceRequirement {
    PresenceRequirement {
        touch: !certificate.extensions().contains_key("no-touch-required"),
        verification: certificate.critical_options().contains_key("verify-required"),
    }
}

/// Returns whether an address is in a comma-separated list of addresses and networks, or `None` for a malformed list.
fn is_among(address: IpAddr, list: &str) -> Option<bool> {
    let network = |entry: &str| entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
    let networks: Option<Vec<IpNet>> = list.split(',').map(|entry| network(entry.trim())).collect();
    networks.map(|networks| contains(&networks, address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::public::{KeyData, SkEd25519};
    use russh::keys::ssh_key::{Algorithm, PrivateKey, PublicKey};

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const HERE: &str = "192.0.2.7";

    fn key() -> PrivateKey {
        PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
    }

    fn authority(ca: &PrivateKey, principals: Option<&[&str]>) -> Authority {
        let principals = principals.map(|names| names.iter().copied().map(Into::into).collect());
        Authority {
            key: ca.public_key().clone(),
            principals,
            restrictions: KeyRestrictions::UNRESTRICTED,
            presence: PresenceRequirement::DEFAULT,
        }
    }

    /// Returns a certificate that is valid at [`NOW`], after `change` has edited it.
    fn certificate(ca: &PrivateKey, change: impl FnOnce(&mut Builder)) -> Certificate {
        certificate_of(ca, key().public_key(), change)
    }

    /// Returns a certificate for this key that is valid at [`NOW`], after `change` has edited it.
    fn certificate_of(ca: &PrivateKey, key: &PublicKey, change: impl FnOnce(&mut Builder)) -> Certificate {
        let mut builder = Builder::new_with_random_nonce(&mut rand::rng(), key, NOW - 60, NOW + 60).unwrap();
        change(&mut builder);
        builder.sign(ca).unwrap()
    }

    fn security_key() -> KeyData {
        let public = key().public_key().key_data().ed25519().copied().unwrap();
        KeyData::SkEd25519(SkEd25519::new(public, "ssh:"))
    }

    fn alice(builder: &mut Builder) {
        builder.valid_principal("alice").unwrap();
    }

    fn checked(certificate: &Certificate, authorities: &[Authority]) -> Result<KeyRestrictions, UserCertificateError> {
        check(certificate, None, "alice", authorities, HERE.parse().unwrap(), NOW)
    }

    const NO_PERMISSIONS: KeyRestrictions =
        KeyRestrictions { command: None, pty: false, port_forwarding: false, agent_forwarding: false };

    #[test]
    fn extensions_grant_permissions() {
        let ca = key();
        let plain = certificate(&ca, alice);
        assert_eq!(checked(&plain, &[authority(&ca, None)]), Ok(NO_PERMISSIONS));
        let more = certificate(&ca, |builder| {
            alice(builder);
            builder.extension("permit-pty", "").unwrap();
            builder.extension("permit-port-forwarding", "").unwrap();
            builder.extension("permit-agent-forwarding", "").unwrap();
            builder.extension("unheard-of@example.com", "").unwrap();
        });
        assert_eq!(checked(&more, &[authority(&ca, None)]), Ok(KeyRestrictions::UNRESTRICTED));
        let narrow = Authority {
            restrictions: KeyRestrictions { pty: false, ..KeyRestrictions::UNRESTRICTED },
            ..authority(&ca, None)
        };
        assert_eq!(checked(&more, &[narrow]), Ok(KeyRestrictions { pty: false, ..KeyRestrictions::UNRESTRICTED }));
    }

    #[test]
    fn the_authority_must_be_one_of_the_users_lines() {
        let (ca, other) = (key(), key());
        let signed = certificate(&ca, alice);
        assert_eq!(checked(&signed, &[]), Err(UserCertificateError::UnknownAuthority));
        assert_eq!(checked(&signed, &[authority(&other, None)]), Err(UserCertificateError::UnknownAuthority));
        assert!(checked(&signed, &[authority(&other, None), authority(&ca, None)]).is_ok());
    }

    #[rstest]
    #[case(&["alice"], None, Ok(()))]
    #[case(&["bob", "alice"], None, Ok(()))]
    #[case(&["bob"], None, Err(UserCertificateError::WrongPrincipal))]
    #[case(&[], None, Err(UserCertificateError::NoPrincipals))]
    #[case(&[], Some(&["ops"][..]), Err(UserCertificateError::NoPrincipals))]
    #[case(&["alice"], Some(&["ops"][..]), Err(UserCertificateError::WrongPrincipal))]
    #[case(&["ops"], Some(&["dev", "ops"][..]), Ok(()))]
    #[case(&["Alice"], None, Err(UserCertificateError::WrongPrincipal))]
    fn a_required_principal_must_be_named(
        #[case] named: &[&str],
        #[case] asked: Option<&[&str]>,
        #[case] expected: Result<(), UserCertificateError>,
    ) {
        let ca = key();
        let signed = certificate(&ca, |builder| {
            if named.is_empty() {
                builder.all_principals_valid().unwrap();
            }
            for name in named {
                builder.valid_principal(*name).unwrap();
            }
        });
        assert_eq!(checked(&signed, &[authority(&ca, asked)]).map(drop), expected);
    }

    #[test]
    fn all_lines_of_an_authority_are_tried() {
        let ca = key();
        let lines = [authority(&ca, Some(&["ops"])), authority(&ca, None)];
        assert!(checked(&certificate(&ca, alice), &lines).is_ok());
    }

    #[rstest]
    #[case(NOW - 61, Err(UserCertificateError::NotYetValid))]
    #[case(NOW - 60, Ok(()))]
    #[case(NOW + 59, Ok(()))]
    #[case(NOW + 60, Err(UserCertificateError::Expired))]
    fn a_certificate_is_valid_in_its_period(#[case] now: u64, #[case] expected: Result<(), UserCertificateError>) {
        let ca = key();
        let (signed, lines) = (certificate(&ca, alice), [authority(&ca, None)]);
        assert_eq!(check(&signed, None, "alice", &lines, HERE.parse().unwrap(), now).map(drop), expected);
        assert!(authority_of(&signed, "alice", &lines).is_ok(), "a session may outlast it");
    }

    #[test]
    fn a_host_certificate_is_refused() {
        let ca = key();
        let host = certificate(&ca, |builder| {
            alice(builder);
            builder.cert_type(CertType::Host).unwrap();
        });
        assert_eq!(checked(&host, &[authority(&ca, None)]), Err(UserCertificateError::NotAUserCertificate));
    }

    #[test]
    fn a_changed_certificate_is_refused() {
        let ca = key();
        let mut bytes = certificate(&ca, alice).to_bytes().unwrap();
        let at = bytes.windows(5).position(|window| window == b"alice").unwrap();
        bytes[at..at + 5].copy_from_slice(b"carol");
        let forged = Certificate::from_bytes(&bytes).unwrap();
        let carol = check(&forged, None, "carol", &[authority(&ca, None)], HERE.parse().unwrap(), NOW);
        assert_eq!(carol, Err(UserCertificateError::BadSignature));
    }

    #[rstest]
    #[case("192.0.2.7", Some(true))]
    #[case("192.0.2.0/24", Some(true))]
    #[case("10.0.0.0/8, 192.0.2.0/28", Some(true))]
    #[case("192.0.2.8", Some(false))]
    #[case("2001:db8::/32", Some(false))]
    #[case("everywhere", None)]
    #[case("192.0.2.7,", None)]
    #[case("", None)]
    fn a_source_address_lists_addresses_and_networks(#[case] list: &str, #[case] expected: Option<bool>) {
        assert_eq!(is_among(HERE.parse().unwrap(), list), expected);
        assert_eq!(is_among(format!("::ffff:{HERE}").parse().unwrap(), list), expected, "mapped into IPv6");
        if list.is_empty() {
            return;
        }
        let ca = key();
        let signed = certificate(&ca, |builder| {
            alice(builder);
            builder.critical_option("source-address", list).unwrap();
        });
        assert_eq!(checked(&signed, &[authority(&ca, None)]).is_ok(), expected == Some(true));
    }

    #[test]
    fn a_critical_option_is_applied_or_refused() {
        let ca = key();
        let with = |name: &'static str, value: &'static str| {
            certificate(&ca, |builder| {
                alice(builder);
                builder.critical_option(name, value).unwrap();
            })
        };
        let forced = KeyRestrictions { command: Some("date".into()), ..NO_PERMISSIONS };
        assert_eq!(checked(&with("force-command", "date"), &[authority(&ca, None)]), Ok(forced));
        let unknown = |name: &str| Err(UserCertificateError::UnknownOption(name.into()));
        assert_eq!(checked(&with("force-command", ""), &[authority(&ca, None)]), unknown("force-command"));
        assert_eq!(checked(&with("unheard-of", ""), &[authority(&ca, None)]), unknown("unheard-of"));
        let line = KeyRestrictions { command: Some("id".into()), ..KeyRestrictions::UNRESTRICTED };
        let other = Authority { restrictions: line, ..authority(&ca, None) };
        assert_eq!(checked(&with("force-command", "date"), &[other]), Err(UserCertificateError::ConflictingCommands));
    }

    #[rstest]
    #[case("plain", PresenceRequirement::DEFAULT, Some(1), true)]
    #[case("plain", PresenceRequirement::DEFAULT, Some(0), false)]
    #[case("no-touch-required", PresenceRequirement::DEFAULT, Some(0), false)]
    #[case("no-touch-required", PresenceRequirement { touch: false, ..PresenceRequirement::DEFAULT }, Some(0), true)]
    #[case("plain", PresenceRequirement { touch: false, ..PresenceRequirement::DEFAULT }, Some(0), false)]
    #[case("no-touch-required", PresenceRequirement { touch: false, ..PresenceRequirement::DEFAULT }, None, false)]
    #[case("verify-required", PresenceRequirement::DEFAULT, Some(1), false)]
    #[case("verify-required", PresenceRequirement::DEFAULT, Some(5), true)]
    #[case("verify-required", PresenceRequirement::DEFAULT, None, false)]
    #[case("plain", PresenceRequirement::DEFAULT, None, false)]
    #[case("plain", PresenceRequirement { verification: true, ..PresenceRequirement::DEFAULT }, Some(1), false)]
    fn certificate_and_line_set_the_presence_requirement(
        #[case] option: &'static str,
        #[case] presence: PresenceRequirement,
        #[case] flags: Option<u8>,
        #[case] expected: bool,
    ) {
        let ca = key();
        let of = PublicKey::from(security_key());
        let signed = certificate_of(&ca, &of, |builder| {
            alice(builder);
            match option {
                "verify-required" => builder.critical_option(option, "").map(drop).unwrap(),
                _ => builder.extension(option, "").map(drop).unwrap(),
            }
        });
        let lines = [Authority { presence, ..authority(&ca, None) }];
        let found = check(&signed, flags.map(SkFlags::from), "alice", &lines, HERE.parse().unwrap(), NOW);
        assert_eq!(found.is_ok(), expected, "{found:?}");
    }

    proptest! {
        #[test]
        fn a_certificate_with_a_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let ca = key();
            let mut bytes = certificate(&ca, alice).to_bytes().unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = Certificate::from_bytes(&bytes) {
                prop_assert!(checked(&changed, &[authority(&ca, None)]).is_err());
            }
        }
    }
}
