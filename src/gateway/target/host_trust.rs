//! Whether a target is the one that it should be: its host key is pinned, or an authority that it names vouches for it.

use std::net::IpAddr;

use jiff::Timestamp;
use kube::ResourceExt;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Algorithm, Certificate, Fingerprint, HashAlg, PublicKey};

use crate::api::BastionTarget;
use crate::gateway::ssh::algorithms;

/// How a line of `spec.hostKeys` begins that has an authority's key, as in known_hosts.
const AUTHORITY: &str = "@cert-authority ";

/// What a target's host key is checked against.
#[derive(Debug)]
pub struct HostTrust {
    pinned: Vec<PublicKey>,
    authorities: Vec<Fingerprint>,
    /// What a host certificate may be made out to.
    names: Vec<String>,
}

/// Why a target is not taken for the one that it should be. The text goes on from the subject and the target's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// A key that is not pinned.
    #[error(
        "is not one of its spec.hostKeys; it is {algorithm} {fingerprint}. Either it was changed on the target, and \
         spec.hostKeys must follow, or somebody stands between"
    )]
    Unknown { algorithm: String, fingerprint: String },
    /// No key of a pinned kind, and no certificate where an authority is trusted.
    #[error("is not one of its spec.hostKeys; it has only {offered}. Pin a key of such a kind, or {way_out}")]
    NoSuchKind { offered: String, way_out: String },
    /// Somebody else's signature.
    #[error(
        "is signed by {fingerprint}, which no @cert-authority line of its spec.hostKeys has. Either the authority was \
         changed, and spec.hostKeys must follow, or somebody stands between"
    )]
    UnknownAuthority { fingerprint: String },
    /// A signature that does not hold, or rests on SHA-1.
    #[error("has a signature that does not hold, or one with SHA-1; have its authority sign a new one")]
    BadSignature,
    /// For people.
    #[error("is a user's certificate; have its authority sign one for the host (ssh-keygen -h)")]
    NotOfHost,
    /// `valid after`
    #[error("is not valid before {0}; compare the clocks, or have its authority sign a new one")]
    NotYet(String),
    /// `valid before`
    #[error("is valid no more since {0}; have its authority sign a new one")]
    Expired(String),
    /// No principal that fits.
    #[error("is made out to {principals}, not to {wanted}; have its authority sign one that is (ssh-keygen -n)")]
    OtherHost { principals: String, wanted: String },
    /// A critical option; there are none that hosts' certificates have.
    #[error("has the critical option {0:?}, which is not known; have its authority sign one without")]
    CriticalOption(String),
}

impl HostKeyError {
    /// What of the target is not trusted.
    pub const fn subject(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::NoSuchKind { .. } => "host key",
            _ => "host certificate",
        }
    }
}

impl HostTrust {
    /// What the target's `spec.hostKeys` says; `None` where no line of it has a key that can be read.
    pub fn of(target: &BastionTarget) -> Option<Self> {
        let (mut pinned, mut authorities) = (Vec::new(), Vec::new());
        for line in &target.spec.host_keys {
            let (line, of_authority) = match line.as_str().strip_prefix(AUTHORITY) {
                Some(line) => (line, true),
                None => (line.as_str(), false),
            };
            match PublicKey::from_openssh(line) {
                Ok(key) if of_authority => authorities.push(key.fingerprint(HashAlg::Sha256)),
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

    /// The signatures to ask for: only what is pinned, so that a target with several keys shows the one that can be checked.
    pub fn signatures(&self) -> Vec<Algorithm> {
        self.pinned.iter().flat_map(|key| algorithms::signatures(key.algorithm())).collect()
    }

    /// Whether there is an RSA key among the pinned ones.
    pub fn pins_rsa(&self) -> bool {
        self.pinned.iter().any(|key| matches!(key.algorithm(), Algorithm::Rsa { .. }))
    }

    /// The kinds of certificates to ask for: none where no authority is trusted.
    pub fn certificates(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() { Vec::new() } else { algorithms::all_signatures() }
    }

    /// Checks what the target shows, which has proven that it has the private key.
    ///
    /// # Errors
    /// Why it is not to be trusted.
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

    /// As `ssh` does, but that a certificate without principals is for no host, rather than for every one.
    fn check_certificate(&self, certificate: &Certificate, now: Timestamp) -> Result<(), HostKeyError> {
        let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
        if !self.authorities.contains(&signer) {
            return Err(HostKeyError::UnknownAuthority { fingerprint: signer.to_string() });
        }
        let with_sha1 = certificate.signature().algorithm() == Algorithm::Rsa { hash: None };
        // At a time within its validity: what is wrong with the present one is said below.
        if with_sha1 || certificate.validate_at(certificate.valid_after(), &self.authorities).is_err() {
            return Err(HostKeyError::BadSignature);
        }
        if certificate.cert_type() != CertType::Host {
            return Err(HostKeyError::NotOfHost);
        }
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        if now < certificate.valid_after() {
            return Err(HostKeyError::NotYet(time(certificate.valid_after())));
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
        let principals = if principals.is_empty() { "nobody".to_owned() } else { quoted(principals) };
        Err(HostKeyError::OtherHost { principals, wanted: quoted(&self.names) })
    }
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

/// Whether a principal, in which `*` and `?` stand for others as in known_hosts, is a host's name.
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
    use crate::gateway::target::samples::{key, target};

    const NOW: i64 = 1_800_000_000;

    /// A host certificate of `authority`, for a key of its own, as `change` has it.
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
        HostTrust::of(&target(address, lines)).unwrap()
    }

    fn authority_line(key: &PrivateKey) -> String {
        format!("@cert-authority {} the hosts' authority", key.public_key().to_openssh().unwrap())
    }

    fn check(trust: &HostTrust, shown: &PublicKeyOrCertificate, seconds: i64) -> Result<(), HostKeyError> {
        trust.check(shown, Timestamp::from_second(NOW + seconds).unwrap())
    }

    #[test]
    fn a_pinned_key_is_trusted_bare_or_in_whosoevers_certificate() {
        let (pinned, stranger) = (key(), key());
        let trust = trust("web-1", &[pinned.public_key().to_openssh().unwrap()]);
        assert_eq!(check(&trust, &pinned.public_key().clone().into(), 0), Ok(()));
        let other = check(&trust, &stranger.public_key().clone().into(), 0);
        assert!(matches!(other, Err(HostKeyError::Unknown { .. })), "{other:?}");
        let mut builder = Builder::new(vec![7; 16], pinned.public_key().key_data().clone(), 0, 1).unwrap();
        builder.cert_type(CertType::Host).unwrap().valid_principal("elsewhere").unwrap();
        assert_eq!(check(&trust, &PublicKeyOrCertificate::Certificate(builder.sign(&stranger).unwrap()), 0), Ok(()));
        assert!(trust.certificates().is_empty(), "no certificate is asked for");
    }

    #[test]
    fn a_certificate_of_the_authority_is_trusted_while_it_is_valid() {
        let authority = key();
        let trust = trust("web-1.example.com.", &[authority_line(&authority)]);
        let shown = certificate(&authority, for_host("web-1.example.com"));
        assert_eq!([-60, 0, 59].map(|at| check(&trust, &shown, at)), [Ok(()), Ok(()), Ok(())]);
        assert!(matches!(check(&trust, &shown, -61), Err(HostKeyError::NotYet(_))));
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
    #[case::another("web-1.example.com", "web-2.example.com", false)]
    #[case::a_longer("web-1.example.com", "web-1.example.com.evil", false)]
    #[case::a_pattern_of_others("web-1.example.com", "*.example.org", false)]
    #[case::the_targets_name_for_a_name("web-1.example.com", "sample", false)]
    #[case::the_targets_name_for_an_ip_address("192.0.2.7", "sample", true)]
    #[case::the_ip_address("192.0.2.7", "192.0.2.7", true)]
    #[case::nobody("web-1.example.com", "", false)]
    fn a_certificate_is_for_the_host_that_it_names(#[case] address: &str, #[case] principal: &str, #[case] good: bool) {
        let authority = key();
        let trust = trust(address, &[authority_line(&authority)]);
        let checked = check(&trust, &certificate(&authority, for_host(principal)), 0);
        assert_eq!(checked.is_ok(), good, "{checked:?}");
    }

    #[test]
    fn a_certificate_for_users_for_all_hosts_or_with_conditions_is_not_trusted() {
        let authority = key();
        let trust = trust("web-1", &[authority_line(&authority)]);
        let refused = |change: fn(&mut Builder)| check(&trust, &certificate(&authority, change), 0).unwrap_err();
        let of_user = refused(|it| {
            it.valid_principal("web-1").unwrap();
        });
        assert_eq!(of_user, HostKeyError::NotOfHost);
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
    fn a_certificate_that_was_changed_is_not_trusted() {
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
