//! Verifies a target's host key against `spec.hostKeys`: pinned keys, and authorities that sign host certificates.

use std::net::IpAddr;

use jiff::Timestamp;
use kube::ResourceExt;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Algorithm, Certificate, Fingerprint, HashAlg, PublicKey};

use crate::api::BastionTarget;
use crate::gateway::ssh::algorithms;

/// The prefix of a `spec.hostKeys` line with an authority's key, as in known_hosts.
const AUTHORITY_PREFIX: &str = "@cert-authority ";

/// The host keys and authorities that a target's spec trusts.
#[derive(Debug)]
pub struct HostTrust {
    pinned: Vec<PublicKey>,
    authorities: Vec<Fingerprint>,
    /// The host names of the target. A certificate must be issued for one of them.
    names: Vec<String>,
}

/// Why a target's host key is not trusted. Each text continues a sentence that begins with [`Self::subject`] and the target's
/// name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// The key is not pinned.
    #[error(
        "is not one of its spec.hostKeys; it is {algorithm} {fingerprint}. Either the target's key was changed \
         (then update spec.hostKeys), or the connection is being intercepted"
    )]
    Unknown { algorithm: String, fingerprint: String },
    /// The target offers no host key type that its spec accepts: neither the type of a pinned key nor, if the spec names an
    /// authority, a certificate.
    #[error("is not one of its spec.hostKeys; it has only {offered}. Pin a key of such a type, or {remedy}")]
    TypeNotPinned { offered: String, remedy: String },
    /// The certificate's authority is not trusted.
    #[error(
        "is signed by {fingerprint}, which no @cert-authority line of its spec.hostKeys has. Either the authority \
         was changed (then update spec.hostKeys), or the connection is being intercepted"
    )]
    UnknownAuthority { fingerprint: String },
    /// The certificate's signature is invalid, or uses SHA-1.
    #[error("has an invalid signature, or one with SHA-1; have its authority sign a new one")]
    BadSignature,
    /// The certificate is a user certificate.
    #[error("is a user's certificate; have its authority sign one for the host (ssh-keygen -h)")]
    UserCertificate,
    /// The time in `valid after` has not come.
    #[error("is not valid before {0}; compare the clocks, or have its authority sign a new one")]
    NotYetValid(String),
    /// The time in `valid before` has passed.
    #[error("expired at {0}; have its authority sign a new one")]
    Expired(String),
    /// No principal of the certificate matches the target.
    #[error("is issued for {principals}, not for {wanted}; have its authority sign one that is (ssh-keygen -n)")]
    OtherHost { principals: String, wanted: String },
    /// The certificate has a critical option. No critical option is defined for host certificates.
    #[error("has the unsupported critical option {0:?}; have its authority sign one without it")]
    CriticalOption(String),
}

impl HostKeyError {
    /// Returns what is not trusted: the host key or the host certificate.
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::TypeNotPinned { .. } => "host key",
            _ => "host certificate",
        }
    }
}

impl HostTrust {
    /// Parses the target's `spec.hostKeys`. Returns `None` if no line has a readable key; unreadable lines are ignored.
    pub fn from_spec(target: &BastionTarget) -> Option<Self> {
        let (mut pinned, mut authorities) = (Vec::new(), Vec::new());
        for line in &target.spec.host_keys {
            let (line, is_authority) = match line.as_str().strip_prefix(AUTHORITY_PREFIX) {
                Some(line) => (line, true),
                None => (line.as_str(), false),
            };
            match PublicKey::from_openssh(line) {
                Ok(key) if is_authority => authorities.push(key.fingerprint(HashAlg::Sha256)),
                Ok(key) => pinned.push(key),
                Err(_) => {}
            }
        }
        let address = target.spec.address.trim_end_matches('.');
        let mut names = vec![address.to_owned()];
        if address.parse::<IpAddr>().is_ok() {
            names.push(target.name_any());
        }
        (!pinned.is_empty() || !authorities.is_empty()).then_some(Self { pinned, authorities, names })
    }

    /// Returns the signature algorithms of the pinned keys. When the gateway offers only these, a target with several host keys
    /// presents a pinned key.
    pub fn signatures(&self) -> Vec<Algorithm> {
        self.pinned.iter().flat_map(|key| algorithms::signatures(key.algorithm())).collect()
    }

    /// Returns whether an RSA key is pinned.
    pub fn pins_rsa(&self) -> bool {
        self.pinned.iter().any(|key| matches!(key.algorithm(), Algorithm::Rsa { .. }))
    }

    /// Returns the certificate types to offer; none if no authority is trusted.
    pub fn certificates(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() { Vec::new() } else { algorithms::all_signatures() }
    }

    /// Checks the host key or certificate that a target presents. The key exchange has already proven that the target has the
    /// private key.
    ///
    /// # Errors
    /// When the key is not trusted.
    pub fn check(&self, shown: &PublicKeyOrCertificate, now: Timestamp) -> Result<(), HostKeyError> {
        let key = shown.public_key();
        if self.pinned.iter().any(|pinned| pinned.key_data() == key.key_data()) {
            return Ok(());
        }
        match shown {
            PublicKeyOrCertificate::PublicKey { .. } => Err(HostKeyError::Unknown {
                algorithm: key.algorithm().to_string(),
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            }),
            PublicKeyOrCertificate::Certificate(certificate) => self.check_certificate(certificate, now),
        }
    }

    /// Checks a certificate as `ssh` does, with one exception: a certificate without principals matches no host, instead of
    /// every host.
    fn check_certificate(&self, certificate: &Certificate, now: Timestamp) -> Result<(), HostKeyError> {
        let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
        if !self.authorities.contains(&signer) {
            return Err(HostKeyError::UnknownAuthority { fingerprint: signer.to_string() });
        }
        let with_sha1 = certificate.signature().algorithm() == Algorithm::Rsa { hash: None };
        // `valid_after` is within the validity period, so this checks only the signature. The checks of the period are below.
        if with_sha1 || certificate.validate_at(certificate.valid_after(), &self.authorities).is_err() {
            return Err(HostKeyError::BadSignature);
        }
        if certificate.cert_type() != CertType::Host {
            return Err(HostKeyError::UserCertificate);
        }
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        if now < certificate.valid_after() {
            return Err(HostKeyError::NotYetValid(time(certificate.valid_after())));
        }
        if now >= certificate.valid_before() {
            return Err(HostKeyError::Expired(time(certificate.valid_before())));
        }
        if let Some((option, _)) = certificate.critical_options().first_key_value() {
            return Err(HostKeyError::CriticalOption(option.clone()));
        }
        let principals = certificate.valid_principals();
        if principals.iter().any(|principal| self.names.iter().any(|name| matches(principal, name))) {
            return Ok(());
        }
        let quoted = |names: &[String]| names.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(" or ");
        let principals = if principals.is_empty() { "no host".to_owned() } else { quoted(principals) };
        Err(HostKeyError::OtherHost { principals, wanted: quoted(&self.names) })
    }
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

/// Returns whether a principal matches a host name, ignoring case. `*` and `?` are wildcards as in known_hosts.
fn matches(principal: &str, name: &str) -> bool {
    let mut rest = principal.chars();
    match (rest.next(), name.chars().next()) {
        (None, first) => first.is_none(),
        (Some('*'), _) => {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest.as_str(), &name[at..]))
        }
        (Some(one), Some(other)) if one == '?' || one.eq_ignore_ascii_case(&other) => {
            matches(rest.as_str(), &name[other.len_utf8()..])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use russh::keys::ssh_key::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;
    use crate::gateway::target::fixtures::{key, target};

    const NOW: i64 = 1_800_000_000;

    /// Returns a certificate for a new key, signed by `authority` after `change`.
    fn certificate(authority: &PrivateKey, change: impl FnOnce(&mut Builder)) -> PublicKeyOrCertificate {
        let now = NOW.cast_unsigned();
        let public = key().public_key().key_data().clone();
        let mut builder = Builder::new(vec![7; 16], public, now - 60, now + 60).unwrap();
        change(&mut builder);
        PublicKeyOrCertificate::Certificate(builder.sign(authority).unwrap())
    }

    fn for_host(name: &str) -> impl FnOnce(&mut Builder) {
        move |builder| {
            builder.cert_type(CertType::Host).unwrap().valid_principal(name).unwrap();
        }
    }

    fn trust(address: &str, lines: &[String]) -> HostTrust {
        HostTrust::from_spec(&target(address, lines)).unwrap()
    }

    fn authority_line(key: &PrivateKey) -> String {
        format!("@cert-authority {} the hosts' authority", key.public_key().to_openssh().unwrap())
    }

    fn check(trust: &HostTrust, shown: &PublicKeyOrCertificate, seconds: i64) -> Result<(), HostKeyError> {
        trust.check(shown, Timestamp::from_second(NOW + seconds).unwrap())
    }

    #[test]
    fn a_pinned_key_is_trusted_bare_or_in_any_certificate() {
        let (pinned, stranger) = (key(), key());
        let trust = trust("web-1", &[pinned.public_key().to_openssh().unwrap()]);
        assert_eq!(check(&trust, &pinned.public_key().clone().into(), 0), Ok(()));
        let other = check(&trust, &stranger.public_key().clone().into(), 0);
        assert!(matches!(other, Err(HostKeyError::Unknown { .. })), "{other:?}");
        let mut builder = Builder::new(vec![7; 16], pinned.public_key().key_data().clone(), 0, 1).unwrap();
        builder.cert_type(CertType::Host).unwrap().valid_principal("elsewhere").unwrap();
        assert_eq!(check(&trust, &PublicKeyOrCertificate::Certificate(builder.sign(&stranger).unwrap()), 0), Ok(()));
        assert!(trust.certificates().is_empty(), "no certificate is offered");
    }

    #[test]
    fn a_certificate_of_the_authority_is_trusted_while_valid() {
        let authority = key();
        let trust = trust("web-1.example.com.", &[authority_line(&authority)]);
        let shown = certificate(&authority, for_host("web-1.example.com"));
        assert_eq!([-60, 0, 59].map(|at| check(&trust, &shown, at)), [Ok(()), Ok(()), Ok(())]);
        assert!(matches!(check(&trust, &shown, -61), Err(HostKeyError::NotYetValid(_))));
        assert!(matches!(check(&trust, &shown, 60), Err(HostKeyError::Expired(_))));
        let other = check(&trust, &certificate(&key(), for_host("web-1.example.com")), 0);
        assert!(matches!(other, Err(HostKeyError::UnknownAuthority { .. })), "{other:?}");
        let own = check(&trust, &authority.public_key().clone().into(), 0);
        assert!(matches!(own, Err(HostKeyError::Unknown { .. })), "an authority is no host: {own:?}");
    }

    #[rstest]
    #[case::its_address("web-1.example.com", "web-1.example.com", true)]
    #[case::in_capitals("web-1.example.com", "WEB-1.example.com", true)]
    #[case::a_pattern("web-1.example.com", "*.example.com", true)]
    #[case::a_pattern_within("web-1.example.com", "web-?.*.com", true)]
    #[case::another_host("web-1.example.com", "web-2.example.com", false)]
    #[case::a_longer_name("web-1.example.com", "web-1.example.com.evil", false)]
    #[case::a_pattern_of_another_domain("web-1.example.com", "*.example.org", false)]
    #[case::the_targets_name_for_a_name("web-1.example.com", "sample", false)]
    #[case::the_targets_name_for_an_ip_address("192.0.2.7", "sample", true)]
    #[case::the_ip_address("192.0.2.7", "192.0.2.7", true)]
    #[case::no_principal("web-1.example.com", "", false)]
    fn a_certificate_is_for_the_host_that_it_names(#[case] address: &str, #[case] principal: &str, #[case] good: bool) {
        let authority = key();
        let trust = trust(address, &[authority_line(&authority)]);
        let checked = check(&trust, &certificate(&authority, for_host(principal)), 0);
        assert_eq!(checked.is_ok(), good, "{checked:?}");
    }

    #[test]
    fn a_certificate_for_users_for_all_hosts_or_with_critical_options_is_not_trusted() {
        let authority = key();
        let trust = trust("web-1", &[authority_line(&authority)]);
        let refused = |change: fn(&mut Builder)| check(&trust, &certificate(&authority, change), 0).unwrap_err();
        let of_user = refused(|it| {
            it.valid_principal("web-1").unwrap();
        });
        assert_eq!(of_user, HostKeyError::UserCertificate);
        let of_all = refused(|it| {
            it.cert_type(CertType::Host).unwrap().all_principals_valid().unwrap();
        });
        assert!(matches!(of_all, HostKeyError::OtherHost { .. }), "{of_all:?}");
        let conditional = refused(|it| {
            for_host("web-1")(it);
            it.critical_option("force-command", "true").unwrap();
        });
        assert_eq!(conditional, HostKeyError::CriticalOption("force-command".to_owned()));
    }

    #[test]
    fn a_modified_certificate_is_not_trusted() {
        let authority = key();
        let trust = trust("web-1", &[authority_line(&authority)]);
        let PublicKeyOrCertificate::Certificate(good) = certificate(&authority, for_host("web-1")) else {
            unreachable!()
        };
        let mut bytes = good.to_bytes().unwrap();
        let at = bytes.windows(5).position(|window| window == b"web-1").unwrap();
        bytes[at + 4] = b'2';
        let changed = PublicKeyOrCertificate::Certificate(Certificate::from_bytes(&bytes).unwrap());
        assert_eq!(check(&trust, &changed, 0), Err(HostKeyError::BadSignature));
    }
}
