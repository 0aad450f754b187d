//! Signs in to a target after its host key was verified (RFC 4252, RFC 4256).

use std::sync::Arc;

use jiff::Timestamp;
use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::ssh_key::{self, PrivateKey};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};

use super::certificate;
use super::credential::Credential;
use super::request::DialRequest;
use crate::api::LegacyAlgorithm;

/// The maximum number of SSH_MSG_USERAUTH_INFO_REQUEST messages in a keyboard-interactive sign-in.
const MAX_ROUNDS: usize = 4;

/// Why a sign-in to a target failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetSignInError {
    /// The target refused the credential. `credential` names its kind; `hint` begins with `; `.
    #[error("the target refused the {credential}{hint}")]
    Refused { credential: &'static str, hint: String },
    /// The authority's key could not sign a certificate.
    #[error("the authority could not sign a certificate")]
    Unsigned(#[source] ssh_key::Error),
    /// The SSH connection failed.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

/// Signs in with the requested login.
///
/// # Errors
/// When the target refuses the credential, the authority cannot sign, or the connection fails.
pub async fn sign_in<H>(
    handle: &mut Handle<H>,
    request: &DialRequest,
    credential: Credential,
) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let login = request.login.as_str();
    match credential {
        Credential::PrivateKey(key) => {
            let hash = match key.algorithm() {
                Algorithm::Rsa { .. } => {
                    let with_sha1 = request.target.spec.legacy_algorithms.contains(&LegacyAlgorithm::SshRsa);
                    rsa_hash(handle.best_supported_rsa_hash().await?.flatten(), with_sha1)
                }
                _ => None,
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            check(&handle.authenticate_publickey(login, key).await?, "key", "")
        }
        Credential::Authority(authority) => with_certificate(handle, request, &authority).await,
        Credential::Password(password) => with_password(handle, login, &password).await,
    }
}

/// Returns the hash for a signature with an RSA key; `None` stands for SHA-1.
///
/// Returns SHA-1 only if the target's spec permits it and the target announces no other hash (`server-sig-algs`, RFC 8308). If
/// the spec does not permit SHA-1, returns SHA-512, because a target that announces nothing may still support it.
fn rsa_hash(supported: Option<HashAlg>, with_sha1: bool) -> Option<HashAlg> {
    match supported {
        None if !with_sha1 => Some(HashAlg::Sha512),
        hash => hash,
    }
}

async fn with_certificate<H>(
    handle: &mut Handle<H>,
    request: &DialRequest,
    authority: &PrivateKey,
) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let (key, certificate) =
        certificate::issue(authority, request, Timestamp::now()).map_err(TargetSignInError::Unsigned)?;
    let answer = handle.authenticate_openssh_cert(request.login.as_str(), key, certificate).await?;
    let hint = "its sshd must have the authority's public key in TrustedUserCAKeys, and the login in its \
                AuthorizedPrincipalsFile if it has one; its clock must be right to a minute";
    check(&answer, "certificate", hint)
}

/// Signs in by the method `password`, or by `keyboard-interactive` if the target has only that.
///
/// Asks for the target's methods first (`none`), because a failed attempt with the wrong method might lock the login.
async fn with_password<H>(handle: &mut Handle<H>, login: &str, password: &str) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let first = handle.authenticate_none(login).await?;
    let AuthResult::Failure { remaining_methods: methods, .. } = &first else { return Ok(()) };
    if methods.contains(&MethodKind::Password) {
        check(&handle.authenticate_password(login, password).await?, "password", "")
    } else if methods.contains(&MethodKind::KeyboardInteractive) {
        keyboard_interactive(handle, login, password).await
    } else {
        check(&first, "password", "")
    }
}

async fn keyboard_interactive<H>(handle: &mut Handle<H>, login: &str, password: &str) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let mut response = handle.authenticate_keyboard_interactive_start(login, None).await?;
    let mut password_sent = false;
    for _ in 0..MAX_ROUNDS {
        response = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(()),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return check(&AuthResult::Failure { remaining_methods, partial_success }, "password", "");
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = answers(&prompts, password, &mut password_sent).ok_or_else(too_many_prompts)?;
                handle.authenticate_keyboard_interactive_respond(answers).await?
            }
        };
    }
    Err(too_many_prompts())
}

/// Returns the answers to a request for input: no answers to a request without prompts, and the password to the first request
/// with a single prompt without echo. Returns `None` for any other request.
fn answers(prompts: &[Prompt], password: &str, password_sent: &mut bool) -> Option<Vec<String>> {
    match prompts {
        [] => Some(Vec::new()),
        [Prompt { echo: false, .. }] if !*password_sent => {
            *password_sent = true;
            Some(vec![password.to_owned()])
        }
        _ => None,
    }
}

fn too_many_prompts() -> TargetSignInError {
    TargetSignInError::Refused { credential: "password", hint: "; it asks for more than a password".to_owned() }
}

fn check(answer: &AuthResult, credential: &'static str, hint: &str) -> Result<(), TargetSignInError> {
    let AuthResult::Failure { remaining_methods: methods, partial_success } = answer else { return Ok(()) };
    if methods.is_empty() && !partial_success {
        // russh reports a lost connection in the same way.
        return Err(TargetSignInError::Ssh(russh::Error::Disconnect));
    }
    let hint = match hint {
        _ if *partial_success => format!("; it also requires {}", join_names(methods)),
        "" => format!("; it accepts {}", join_names(methods)),
        hint => format!("; {hint}"),
    };
    Err(TargetSignInError::Refused { credential, hint })
}

fn join_names(methods: &MethodSet) -> String {
    methods.iter().map(String::from).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn prompt(echo: bool) -> Prompt {
        Prompt { prompt: "Password: ".to_owned(), echo }
    }

    #[test]
    fn the_password_answers_one_prompt_without_echo() {
        let mut password_sent = false;
        assert_eq!(answers(&[], "secret", &mut password_sent), Some(vec![]));
        assert_eq!(answers(&[prompt(true)], "secret", &mut password_sent), None);
        assert_eq!(answers(&[prompt(false), prompt(false)], "secret", &mut password_sent), None);
        assert_eq!(answers(&[prompt(false)], "secret", &mut password_sent), Some(vec!["secret".to_owned()]));
        assert_eq!(answers(&[prompt(false)], "secret", &mut password_sent), None, "a second time");
        assert_eq!(answers(&[], "secret", &mut password_sent), Some(vec![]));
    }

    #[rstest]
    #[case::unannounced_and_not_permitted(None, false, Some(HashAlg::Sha512))]
    #[case::unannounced_and_permitted(None, true, None)]
    #[case::announced(Some(HashAlg::Sha256), false, Some(HashAlg::Sha256))]
    #[case::announced_and_permitted(Some(HashAlg::Sha512), true, Some(HashAlg::Sha512))]
    fn sha1_is_used_only_if_the_target_permits_it(
        #[case] supported: Option<HashAlg>,
        #[case] with_sha1: bool,
        #[case] hash: Option<HashAlg>,
    ) {
        assert_eq!(rsa_hash(supported, with_sha1), hash);
    }
}
