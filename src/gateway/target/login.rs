//! Signing in to a target whose host key has been checked.

use std::sync::Arc;

use jiff::Timestamp;
use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::ssh_key::PrivateKey;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};

use super::certificate;
use super::credential::Credential;
use super::request::DialRequest;
use crate::api::LegacyAlgorithm;

/// How often a target may ask in a dialogue, with or without questions.
const MAX_ROUNDS: usize = 4;

/// Why a target did not let the bastion in.
#[derive(Debug)]
pub enum TargetSignInError {
    /// It does not take the credential; behind its name stands what may help.
    Refused { credential: &'static str, hint: String },
    /// The authority's key does not sign.
    Unsigned(String),
    /// The conversation broke down.
    Broken(russh::Error),
}

impl From<russh::Error> for TargetSignInError {
    fn from(error: russh::Error) -> Self {
        Self::Broken(error)
    }
}

/// Signs in as the login that is asked for.
///
/// # Errors
/// Why not.
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
            verdict(&handle.authenticate_publickey(login, key).await?, "key", "")
        }
        Credential::Authority(authority) => with_certificate(handle, request, &authority).await,
        Credential::Password(password) => with_password(handle, login, &password).await,
    }
}

/// The hash that an RSA key signs with: SHA-1, which is none, only where the target asks for it and has no better. One that
/// does not say what it takes may take SHA-2 all the same.
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
    let (key, certificate) = certificate::issue(authority, request, Timestamp::now())
        .map_err(|error| TargetSignInError::Unsigned(error.to_string()))?;
    let answer = handle.authenticate_openssh_cert(request.login.as_str(), key, certificate).await?;
    let hint = "its sshd must have the authority's public key in TrustedUserCAKeys, and where it has an \
                AuthorizedPrincipalsFile, the login in that; its clock must be right to a minute";
    verdict(&answer, "certificate", hint)
}

/// By the method `password`, or by a dialogue where the target has only that. Which of them is asked first: an attempt in
/// vain might lock the login.
async fn with_password<H>(handle: &mut Handle<H>, login: &str, password: &str) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let first = handle.authenticate_none(login).await?;
    let AuthResult::Failure { remaining_methods: methods, .. } = &first else { return Ok(()) };
    if methods.contains(&MethodKind::Password) || !methods.contains(&MethodKind::KeyboardInteractive) {
        if !methods.contains(&MethodKind::Password) {
            return verdict(&first, "password", "");
        }
        return verdict(&handle.authenticate_password(login, password).await?, "password", "");
    }
    dialogue(handle, login, password).await
}

async fn dialogue<H>(handle: &mut Handle<H>, login: &str, password: &str) -> Result<(), TargetSignInError>
where
    H: Handler<Error = russh::Error>,
{
    let mut response = handle.authenticate_keyboard_interactive_start(login, None).await?;
    let mut given = false;
    for _ in 0..MAX_ROUNDS {
        response = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(()),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return verdict(&AuthResult::Failure { remaining_methods, partial_success }, "password", "");
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = answers(&prompts, password, &mut given).ok_or_else(asks_too_much)?;
                handle.authenticate_keyboard_interactive_respond(answers).await?
            }
        };
    }
    Err(asks_too_much())
}

/// The password to the one question whose answer is not shown, and nothing to no question; `None` to all others.
fn answers(prompts: &[Prompt], password: &str, given: &mut bool) -> Option<Vec<String>> {
    match prompts {
        [] => Some(Vec::new()),
        [Prompt { echo: false, .. }] if !*given => {
            *given = true;
            Some(vec![password.to_owned()])
        }
        _ => None,
    }
}

fn asks_too_much() -> TargetSignInError {
    TargetSignInError::Refused { credential: "password", hint: "; it asks for more than that".to_owned() }
}

fn verdict(answer: &AuthResult, credential: &'static str, hint: &str) -> Result<(), TargetSignInError> {
    let AuthResult::Failure { remaining_methods: methods, partial_success } = answer else { return Ok(()) };
    if methods.is_empty() && !partial_success {
        // The library's way to say that the connection is gone, too.
        return Err(TargetSignInError::Broken(russh::Error::Disconnect));
    }
    let hint = match hint {
        _ if *partial_success => format!("; it wants {} besides", named(methods)),
        "" => format!("; it takes {}", named(methods)),
        hint => format!("; {hint}"),
    };
    Err(TargetSignInError::Refused { credential, hint })
}

fn named(methods: &MethodSet) -> String {
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
    fn a_dialogue_gets_the_password_once_and_where_it_is_not_shown() {
        let mut given = false;
        assert_eq!(answers(&[], "secret", &mut given), Some(vec![]));
        assert_eq!(answers(&[prompt(true)], "secret", &mut given), None);
        assert_eq!(answers(&[prompt(false), prompt(false)], "secret", &mut given), None);
        assert_eq!(answers(&[prompt(false)], "secret", &mut given), Some(vec!["secret".to_owned()]));
        assert_eq!(answers(&[prompt(false)], "secret", &mut given), None, "a second time");
        assert_eq!(answers(&[], "secret", &mut given), Some(vec![]));
    }

    #[rstest]
    #[case::no_sha2_and_not_asked(None, false, Some(HashAlg::Sha512))]
    #[case::no_sha2_and_asked(None, true, None)]
    #[case::sha2(Some(HashAlg::Sha256), false, Some(HashAlg::Sha256))]
    #[case::sha2_and_asked(Some(HashAlg::Sha512), true, Some(HashAlg::Sha512))]
    fn only_a_target_that_asks_is_given_sha1(
        #[case] supported: Option<HashAlg>,
        #[case] with_sha1: bool,
        #[case] hash: Option<HashAlg>,
    ) {
        assert_eq!(rsa_hash(supported, with_sha1), hash);
    }
}
