//! Whether an OpenSSH user certificate lets somebody in, and for what (PROTOCOL.certkeys).

use std::net::IpAddr;

use ipnet::IpNet;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Certificate, HashAlg};
use russh::server::SkFlags;

use super::key_line::Authority;
use super::key_restrictions::KeyRestrictions;
use super::presence::{Assertion, Presence, PresenceError};
use crate::gateway::ssh::algorithms;

/// Why a certificate lets nobody in. This is for the log: strangers get one answer to everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserCertificateError {
    /// No `cert-authority` line has the key that signed it.
    #[error("the certificate's authority is not one of the user's cert-authority lines")]
    UnknownAuthority,
    /// It is for hosts.
    #[error("the certificate is not for users")]
    NotForUsers,
    /// Signed with SHA-1, or not at all.
    #[error("the certificate's signature is not a good one")]
    BadSignature,
    /// It is for everybody, which sshd does not take either.
    #[error("the certificate names no principals")]
    NoPrincipals,
    /// It is for somebody else.
    #[error("the certificate names none of the principals that the line asks for")]
    WrongPrincipal,
    /// Before its time.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// After its time.
    #[error("the certificate has expired")]
    Expired,
    /// `source-address`
    #[error("the certificate is not for the client's address")]
    WrongAddress,
    /// The security key that it is for did not say what is asked for.
    #[error(transparent)]
    PresenceError(#[from] PresenceError),
    /// Line and certificate force different commands.
    #[error("the certificate and its cert-authority line force different commands")]
    TwoCommands,
    /// A critical option that is not known here, or has a value that means nothing.
    #[error("the certificate has a critical option that is not supported: {0}")]
    UnknownOption(String),
}

/// What the certificate permits `user`, who comes from `address` at `now`, in seconds since 1970; `flags` are what a security
/// key said of who signed in with it, where the certificate is for one.
///
/// # Errors
/// Why it permits nothing.
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
    // RSA's SHA-1 is not among them, and the library knows no such signature either.
    let signed_well = algorithms::takes_signature(&authority.key.algorithm(), &certificate.signature().algorithm());
    let signer = authority.key.fingerprint(HashAlg::Sha256);
    if !signed_well || certificate.validate_at(now, [&signer]).is_err() {
        return Err(UserCertificateError::BadSignature);
    }
    let own = permits_of(certificate, address)?;
    let assertion = Assertion::of(&certificate.public_key().algorithm(), flags)?;
    presence_of(certificate).both(authority.presence).check(assertion)?;
    own.both(&authority.restrictions).map_err(|_| UserCertificateError::TwoCommands)
}

/// The line that takes the certificate, whatever the time. This holds while a session lasts: a certificate is for
/// signing in, so a session outlives it, but not the line.
///
/// # Errors
/// Why none does.
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
        return Err(UserCertificateError::NotForUsers);
    }
    let named = certificate.valid_principals();
    if named.is_empty() {
        return Err(UserCertificateError::NoPrincipals);
    }
    let takes = |authority: &&Authority| match &authority.principals {
        Some(principals) => principals.iter().any(|principal| named.contains(principal)),
        None => named.iter().any(|principal| principal == user),
    };
    lines.find(takes).ok_or(UserCertificateError::WrongPrincipal)
}

/// What the certificate itself says. Options are critical, so an unknown one refuses; extensions permit, so a missing one
/// does.
fn permits_of(certificate: &Certificate, address: IpAddr) -> Result<KeyRestrictions, UserCertificateError> {
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
            // Heeded in `presence_of`.
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

/// What the certificate itself asks of a security key. It does without a touch by an extension, and its line must, too.
fn presence_of(certificate: &Certificate) -> Presence {
    Presence {
        touch: !certificate.extensions().contains_key("no-touch-required"),
        verification: certificate.critical_options().contains_key("verify-required"),
    }
}

/// Whether an address is in a list of addresses and networks; `None` when that is no such list.
fn is_among(address: IpAddr, list: &str) -> Option<bool> {
    let network = |entry: &str| entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
    let networks: Option<Vec<IpNet>> = list.split(',').map(|entry| network(entry.trim())).collect();
    let address = address.to_canonical();
    networks.map(|networks| networks.iter().any(|network| network.contains(&address)))
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
            restrictions: KeyRestrictions::ALL,
            presence: Presence::DEFAULT,
        }
    }

    /// A certificate for alice, valid at [`NOW`], but for what `change` does.
    fn certificate(ca: &PrivateKey, change: impl FnOnce(&mut Builder)) -> Certificate {
        certificate_of(ca, key().public_key(), change)
    }

    /// A certificate of this key.
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

    const NOTHING: KeyRestrictions =
        KeyRestrictions { command: None, pty: false, port_forwarding: false, agent_forwarding: false };

    #[test]
    fn a_good_one_permits_what_its_extensions_say() {
        let ca = key();
        let plain = certificate(&ca, alice);
        assert_eq!(checked(&plain, &[authority(&ca, None)]), Ok(NOTHING));
        let more = certificate(&ca, |builder| {
            alice(builder);
            builder.extension("permit-pty", "").unwrap();
            builder.extension("permit-port-forwarding", "").unwrap();
            builder.extension("permit-agent-forwarding", "").unwrap();
            builder.extension("unheard-of@example.com", "").unwrap();
        });
        assert_eq!(checked(&more, &[authority(&ca, None)]), Ok(KeyRestrictions::ALL));
        let narrow =
            Authority { restrictions: KeyRestrictions { pty: false, ..KeyRestrictions::ALL }, ..authority(&ca, None) };
        assert_eq!(checked(&more, &[narrow]), Ok(KeyRestrictions { pty: false, ..KeyRestrictions::ALL }));
    }

    #[test]
    fn only_an_authority_of_the_users_own_counts() {
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
    fn a_principal_must_be_named(
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
    fn two_lines_of_one_authority_are_both_looked_at() {
        let ca = key();
        let lines = [authority(&ca, Some(&["ops"])), authority(&ca, None)];
        assert!(checked(&certificate(&ca, alice), &lines).is_ok());
    }

    #[rstest]
    #[case(NOW - 61, Err(UserCertificateError::NotYetValid))]
    #[case(NOW - 60, Ok(()))]
    #[case(NOW + 59, Ok(()))]
    #[case(NOW + 60, Err(UserCertificateError::Expired))]
    fn it_holds_for_its_time(#[case] now: u64, #[case] expected: Result<(), UserCertificateError>) {
        let ca = key();
        let (signed, lines) = (certificate(&ca, alice), [authority(&ca, None)]);
        assert_eq!(check(&signed, None, "alice", &lines, HERE.parse().unwrap(), now).map(drop), expected);
        assert!(authority_of(&signed, "alice", &lines).is_ok(), "a session outlives it");
    }

    #[test]
    fn one_for_hosts_is_refused() {
        let ca = key();
        let host = certificate(&ca, |builder| {
            alice(builder);
            builder.cert_type(CertType::Host).unwrap();
        });
        assert_eq!(checked(&host, &[authority(&ca, None)]), Err(UserCertificateError::NotForUsers));
    }

    #[test]
    fn one_that_was_changed_is_refused() {
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
    fn source_addresses_are_addresses_and_networks(#[case] list: &str, #[case] expected: Option<bool>) {
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
    fn critical_options_are_heeded_or_refuse() {
        let ca = key();
        let with = |name: &'static str, value: &'static str| {
            certificate(&ca, |builder| {
                alice(builder);
                builder.critical_option(name, value).unwrap();
            })
        };
        let forced = KeyRestrictions { command: Some("date".into()), ..NOTHING };
        assert_eq!(checked(&with("force-command", "date"), &[authority(&ca, None)]), Ok(forced));
        let unknown = |name: &str| Err(UserCertificateError::UnknownOption(name.into()));
        assert_eq!(checked(&with("force-command", ""), &[authority(&ca, None)]), unknown("force-command"));
        assert_eq!(checked(&with("unheard-of", ""), &[authority(&ca, None)]), unknown("unheard-of"));
        let line = KeyRestrictions { command: Some("id".into()), ..KeyRestrictions::ALL };
        let other = Authority { restrictions: line, ..authority(&ca, None) };
        assert_eq!(checked(&with("force-command", "date"), &[other]), Err(UserCertificateError::TwoCommands));
    }

    #[rstest]
    #[case("plain", Presence::DEFAULT, Some(1), true)]
    #[case("plain", Presence::DEFAULT, Some(0), false)]
    #[case("no-touch-required", Presence::DEFAULT, Some(0), false)]
    #[case("no-touch-required", Presence { touch: false, ..Presence::DEFAULT }, Some(0), true)]
    #[case("plain", Presence { touch: false, ..Presence::DEFAULT }, Some(0), false)]
    #[case("no-touch-required", Presence { touch: false, ..Presence::DEFAULT }, None, false)]
    #[case("verify-required", Presence::DEFAULT, Some(1), false)]
    #[case("verify-required", Presence::DEFAULT, Some(5), true)]
    #[case("verify-required", Presence::DEFAULT, None, false)]
    #[case("plain", Presence::DEFAULT, None, false)]
    #[case("plain", Presence { verification: true, ..Presence::DEFAULT }, Some(1), false)]
    fn certificate_and_line_say_what_is_asked_of_a_security_key(
        #[case] option: &'static str,
        #[case] presence: Presence,
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
        /// Whatever is changed in a certificate, it permits nothing more than the one that was signed.
        #[test]
        fn no_changed_byte_lets_anybody_in(at in any::<prop::sample::Index>(), bit in 0..8u8) {
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
