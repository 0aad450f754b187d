//! Issues the short-lived user certificates with which the gateway signs in to targets that trust an authority.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use russh::keys::ssh_key::certificate::Builder;
use russh::keys::ssh_key::{self, Algorithm, Certificate, PrivateKey};

use super::request::DialRequest;
use crate::api::Allow;

/// How many seconds before its issue a certificate becomes valid, so that a target with a slow clock accepts it.
const BACKDATE_SECONDS: u64 = 60;
/// How many seconds after its issue a certificate expires.
const LIFETIME_SECONDS: u64 = 300;

/// Returns a new Ed25519 key and a certificate for it, restricted to the requested login and to the target's
/// `spec.allow`.
///
/// # Errors
/// When the authority's key cannot sign.
pub fn issue(
    authority: &PrivateKey,
    request: &DialRequest,
    now: Timestamp,
) -> Result<(Arc<PrivateKey>, Certificate), ssh_key::Error> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let now = now.as_second().max(0).cast_unsigned();
    let (after, before) = (now.saturating_sub(BACKDATE_SECONDS), now.saturating_add(LIFETIME_SECONDS));
    let public = key.public_key().key_data().clone();
    let mut builder = Builder::new_with_random_nonce(&mut rand::rng(), public, after, before)?;
    builder.serial(rand::random())?.key_id(key_id(request))?.valid_principal(request.login.as_str())?;
    for extension in extensions(request.target.spec.allow) {
        builder.extension(extension, "")?;
    }
    Ok((Arc::new(key), builder.sign(authority)?))
}

/// Returns the certificate's key ID, which the target's sshd logs at the sign-in.
fn key_id(DialRequest { session, user, .. }: &DialRequest) -> String {
    format!("bastion session {session} user {} subject {}", user.name_any(), user.subject())
}

/// Returns the certificate's extensions, which permit what the target's `spec.allow` allows.
fn extensions(allow: Allow) -> Vec<&'static str> {
    let Allow { shell, exec, sftp: _, local_forward, remote_forward, agent_forward, web: _ } = allow;
    // The protocol requires extensions to be sorted by their names.
    let permissions = [
        (agent_forward, "permit-agent-forwarding"),
        (local_forward || remote_forward, "permit-port-forwarding"),
        (shell || exec, "permit-pty"),
        (shell || exec, "permit-user-rc"),
    ];
    permissions.into_iter().filter_map(|(allowed, extension)| allowed.then_some(extension)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use russh::keys::ssh_key::HashAlg;
    use russh::keys::ssh_key::certificate::CertType;

    use super::*;
    use crate::gateway::target::fixtures::{key, request};

    #[test]
    fn a_certificate_is_valid_for_one_login_and_for_minutes() {
        let (authority, request) = (key(), request());
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (_, certificate) = issue(&authority, &request, now).unwrap();
        assert_eq!(certificate.cert_type(), CertType::User);
        assert_eq!(certificate.valid_principals(), ["root"]);
        assert_eq!((certificate.valid_after(), certificate.valid_before()), (1_799_999_940, 1_800_000_300));
        assert_eq!(certificate.key_id(), "bastion session alice-sample-abcdefgh user alice subject bastion:alice");
        assert!(certificate.critical_options().is_empty());
        let trusted = [authority.public_key().fingerprint(HashAlg::Sha256)];
        assert!(certificate.validate_at(1_800_000_000, &trusted).is_ok());
    }

    #[test]
    fn each_certificate_has_its_own_key_and_serial() {
        let (authority, request) = (key(), request());
        let (one, other) = (
            issue(&authority, &request, Timestamp::now()).unwrap(),
            issue(&authority, &request, Timestamp::now()).unwrap(),
        );
        assert_ne!(one.0.public_key(), other.0.public_key());
        assert_ne!(one.1.serial(), other.1.serial());
    }

    #[rstest]
    #[case::defaults(Allow::default(), &["permit-pty", "permit-user-rc"])]
    #[case::files_only(Allow { shell: false, exec: false, ..Allow::default() }, &[])]
    #[case::forwards(Allow { local_forward: true, ..Allow::default() }, &["permit-port-forwarding", "permit-pty", "permit-user-rc"])]
    #[case::agents(Allow { agent_forward: true, ..Allow::default() }, &["permit-agent-forwarding", "permit-pty", "permit-user-rc"])]
    fn a_certificate_permits_what_the_target_allows(#[case] allow: Allow, #[case] permitted: &[&str]) {
        assert_eq!(extensions(allow), permitted);
    }
}
