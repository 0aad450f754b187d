//! Authenticates one connection (RFC 4252).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use russh::keys::Algorithm;
use russh::keys::ssh_key::{Certificate, PublicKey};
use russh::server::{Auth, SkFlags, VerifiedCertificate, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};
use tracing::info;
use zeroize::Zeroizing;

use super::certificate;
use super::failure_counters::Attempt;
use super::key_restrictions::KeyRestrictions;
use super::login_name::SignInName;
use super::presence::{Assertion, PresenceRequirement};
use super::progress::Progress;
use super::proof::{self, Proof};
use super::second_factor::SecondFactors;
use super::throttle::Throttle;
use crate::api::{BastionUser, Factor};
use crate::gateway::access::{AccessError, Directory, Refusal};
use crate::gateway::ssh::algorithms;
use crate::metrics::{METRICS, RefusalLabels};

/// The dependencies of authentication.
pub struct AuthDeps {
    /// The users.
    pub directory: Arc<Directory>,
    /// Locks out users and addresses after wrong passwords and codes.
    pub throttle: Throttle,
    /// Verifies passwords and codes.
    pub second_factors: SecondFactors,
}

/// An authenticated user.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The user.
    pub user: Arc<BastionUser>,
    /// The proof of identity.
    pub proof: Proof,
    /// The permissions of the key or certificate.
    pub restrictions: KeyRestrictions,
}

/// The state of one connection's authentication.
pub struct SignIn {
    auth: Arc<AuthDeps>,
    peer: SocketAddr,
    /// The sign-in name of the last request.
    name: String,
    /// The factors verified under that name.
    progress: Progress,
    /// The key, certificate or Kubernetes user verified under that name.
    proof: Option<(Proof, KeyRestrictions)>,
    /// The prompt that the client has not answered.
    pending_prompt: Option<Factor>,
    signed_in: Option<SignedIn>,
    last_refusal: LastRefusal,
}

/// The last refusal of a known user on a connection, with its reason. An Event is published only after the connection's end,
/// because clients often offer several keys before one is accepted.
pub type LastRefusal = Arc<Mutex<Option<(ObjectReference, String)>>>;

impl SignIn {
    /// Returns the state before the first request.
    pub fn new(auth: Arc<AuthDeps>, peer: SocketAddr) -> Self {
        let progress = Progress::default();
        Self {
            auth,
            peer,
            name: String::new(),
            progress,
            proof: None,
            pending_prompt: None,
            signed_in: None,
            last_refusal: LastRefusal::default(),
        }
    }

    /// Returns the last refusal, for the Event after the connection's end.
    pub fn last_refusal(&self) -> LastRefusal {
        self.last_refusal.clone()
    }

    /// Records that the authenticated user gets no session.
    pub fn record_refusal(&self, refusal: &Refusal) {
        if let Some(SignedIn { user, .. }) = &self.signed_in {
            self.set_last_refusal(Some((user.object_ref(&()), refusal.to_string())));
        }
    }

    fn set_last_refusal(&self, refusal: Option<(ObjectReference, String)>) {
        *self.last_refusal.lock() = refusal;
    }

    /// Returns the sign-in name of the last request.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the authenticated user, once there is one.
    pub fn signed_in(&self) -> Option<SignedIn> {
        self.signed_in.clone()
    }

    /// Handles the method `none`, with which clients ask for the available methods.
    pub fn list_methods(&mut self, name: &str) -> Auth {
        self.set_name(name);
        self.reject()
    }

    /// Handles a `publickey` request without a signature. `Accept` asks the client to sign.
    ///
    /// The library does not say whether the client offers the key itself or a certificate for it. If any user may use
    /// certificates, every key is therefore accepted here, and is checked after the signature. This also hides whose key it is.
    pub fn key_offered(&mut self, name: &str, key: &PublicKey, algorithm: &Algorithm) -> Auth {
        self.set_name(name);
        if !algorithms::accepts_signature(&key.algorithm(), algorithm) {
            return self.reject();
        }
        if self.auth.directory.any_user_accepts_certificates() {
            return Auth::Accept;
        }
        match self.user_with_key(key) {
            Ok(_) => Auth::Accept,
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Handles a `publickey` request whose signature the library has verified.
    pub fn key_verified(&mut self, name: &str, verified: VerifiedPublicKey<'_>) -> Auth {
        self.set_name(name);
        let key = verified.public_key;
        let user = self.user_with_key(key).and_then(|(user, presence)| {
            presence.check(Assertion::of(&key.algorithm(), verified.sk_flags)?)?;
            Ok(user)
        });
        match user {
            Ok(user) => self.complete_factor(
                user,
                Factor::Publickey,
                Some((Proof::Key(key.clone()), KeyRestrictions::UNRESTRICTED)),
            ),
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Handles a `publickey` request with a certificate whose signature the library has verified.
    pub fn certificate_verified(&mut self, name: &str, verified: VerifiedCertificate<'_>) -> Auth {
        self.set_name(name);
        let certificate = verified.certificate;
        match self.user_with_certificate(certificate, verified.sk_flags) {
            Ok((user, restrictions)) => {
                let proof = Proof::Certificate(Arc::new(certificate.clone()));
                self.complete_factor(user, Factor::Publickey, Some((proof, restrictions)))
            }
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Handles a web terminal whose Kubernetes user `subject` the API server has authenticated. The Kubernetes user replaces
    /// a key, but no other factor: passwords and codes are still required. Call this until the result is `Accept`.
    pub fn kubernetes_user_verified(&mut self, name: &str, subject: &Arc<str>) -> Auth {
        self.set_name(name);
        let user = match self.user() {
            Ok(user) if user.subject() == **subject => user,
            Ok(_) => return self.refuse(&AccessError::SubjectChanged),
            Err(reason) => return self.refuse(&reason),
        };
        let proof = (Proof::KubernetesUser(subject.clone()), KeyRestrictions::UNRESTRICTED);
        match self.progress.next(&user.spec.authentication) {
            Some(Factor::Publickey) => self.complete_factor(user, Factor::Publickey, Some(proof)),
            Some(factor) => {
                self.proof = Some(proof);
                self.prompt(factor)
            }
            None => self.refuse(&AccessError::UnexpectedFactor),
        }
    }

    /// Handles a `keyboard-interactive` request (RFC 4256) or the answer to its prompt. Where the method is offered, also
    /// prompts unknown users, so that accounts cannot be enumerated.
    pub async fn keyboard_interactive(&mut self, name: &str, answer: Option<Zeroizing<Vec<u8>>>) -> Auth {
        self.set_name(name);
        if !self.offers_prompts() {
            return self.reject();
        }
        let user = self.user();
        let (Some(answer), Some(factor)) = (answer, self.pending_prompt.take()) else {
            self.progress.reset_to_key();
            return self.prompt(self.next_prompt(&user).unwrap_or(Factor::Password));
        };
        let is_due = self.next_prompt(&user) == Some(factor);
        let attempt = self.attempt(is_due);
        match self.check_answer(user, factor, is_due, answer, &attempt).await {
            Ok(user) => {
                let auth = self.complete_factor(user, factor, None);
                self.auth.throttle.succeed(&attempt, auth == Auth::Accept).await;
                auth
            }
            Err(reason) => {
                self.progress.reset_to_key();
                self.refuse(&reason)
            }
        }
    }

    /// Checks an answer. An answer that cannot be right takes the same time as any other, so that timing reveals nothing.
    /// Only an answer that is locked out is not checked, because each check costs a core and 20 MB, and lock-outs bound this
    /// cost.
    async fn check_answer(
        &self,
        user: Result<Arc<BastionUser>, AccessError>,
        factor: Factor,
        is_due: bool,
        answer: Zeroizing<Vec<u8>>,
        attempt: &Attempt,
    ) -> Result<Arc<BastionUser>, AccessError> {
        if !self.auth.throttle.begin(attempt).await {
            return Err(user.err().unwrap_or(AccessError::LockedOut));
        }
        let checkable = user.as_ref().ok().filter(|_| is_due);
        let factors = &self.auth.second_factors;
        let checked = match (factor, checkable) {
            (Factor::Totp, Some(user)) => factors.verify_code(user, &String::from_utf8_lossy(&answer)).await,
            (_, checkable) => factors.verify_password(checkable.map(AsRef::as_ref), answer).await,
        };
        let user = user?;
        if !is_due {
            return Err(AccessError::UnexpectedFactor);
        }
        checked.map(|()| user)
    }

    /// Returns the next factor of a known user, if it is a password or a code.
    fn next_prompt(&self, user: &Result<Arc<BastionUser>, AccessError>) -> Option<Factor> {
        let next = user.as_ref().ok().and_then(|user| self.progress.next(&user.spec.authentication));
        next.filter(|factor| *factor != Factor::Publickey)
    }

    /// Returns the attempt to count. A failure counts against the user only if this answer is due.
    fn attempt(&self, is_due: bool) -> Attempt {
        let attempt = if is_due { Attempt::for_user } else { Attempt::unattributed };
        attempt(self.user_name(), self.peer.ip())
    }

    fn prompt(&mut self, factor: Factor) -> Auth {
        self.pending_prompt = Some(factor);
        let prompt = if factor == Factor::Totp { "One-time code: " } else { "Password: " };
        let prompts = vec![(Cow::Borrowed(prompt), false)];
        Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() }
    }

    /// Adds a verified factor. Accepts the user if it was the last factor, and otherwise asks for the next.
    fn complete_factor(
        &mut self,
        user: Arc<BastionUser>,
        factor: Factor,
        proof: Option<(Proof, KeyRestrictions)>,
    ) -> Auth {
        self.proof = proof.or_else(|| self.proof.take());
        if self.progress.add(factor, &user.spec.authentication) {
            let (proof, restrictions) = self.proof.clone().unwrap_or((Proof::Secrets, KeyRestrictions::UNRESTRICTED));
            self.signed_in = Some(SignedIn { user, proof, restrictions });
            self.set_last_refusal(None);
            return Auth::Accept;
        }
        match self.progress.next(&user.spec.authentication) {
            Some(next) if next != Factor::Publickey && factor != Factor::Publickey => self.prompt(next),
            _ => Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: true },
        }
    }

    fn user_name(&self) -> &str {
        SignInName::user_of(&self.name)
    }

    fn user(&self) -> Result<Arc<BastionUser>, AccessError> {
        self.auth.directory.active_user(self.user_name())
    }

    /// Returns the user, if the next factor is a key.
    fn user_with_key_due(&self) -> Result<Arc<BastionUser>, AccessError> {
        let user = self.user()?;
        match self.progress.next(&user.spec.authentication) {
            Some(Factor::Publickey) => Ok(user),
            _ => Err(AccessError::UnexpectedFactor),
        }
    }

    /// Returns the user, if the key is one of theirs, and the assertions that a signature with the key must make.
    fn user_with_key(&self, key: &PublicKey) -> Result<(Arc<BastionUser>, PresenceRequirement), AccessError> {
        let user = self.user_with_key_due()?;
        let presence = proof::requirement_for_key(&user, key).ok_or(AccessError::UnknownKey)?;
        Ok((user, presence))
    }

    fn user_with_certificate(
        &self,
        certificate: &Certificate,
        flags: Option<SkFlags>,
    ) -> Result<(Arc<BastionUser>, KeyRestrictions), AccessError> {
        let user = self.user_with_key_due()?;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let authorities = proof::authorities(&user);
        let restrictions = certificate::check(certificate, flags, &user.name_any(), &authorities, self.peer.ip(), now)?;
        Ok((user, restrictions))
    }

    /// Sets the sign-in name. If the name changes, discards all factors verified under the old name (RFC 4252, section 5).
    fn set_name(&mut self, name: &str) {
        let name = SignInName::cut(name);
        if self.name != name {
            name.clone_into(&mut self.name);
            self.progress = Progress::default();
            self.proof = None;
            self.pending_prompt = None;
        }
    }

    /// Returns the authentication methods that can continue. Before the first factor they are the same for every name, so that
    /// accounts cannot be enumerated.
    fn methods(&self) -> MethodSet {
        let next = |user: &Arc<BastionUser>| self.progress.next(&user.spec.authentication);
        let methods: &[MethodKind] = if self.progress.is_empty() {
            if self.auth.directory.any_user_starts_with_password() {
                &[MethodKind::PublicKey, MethodKind::KeyboardInteractive]
            } else {
                &[MethodKind::PublicKey]
            }
        } else if self.user().ok().as_ref().and_then(next) == Some(Factor::Publickey) {
            &[MethodKind::PublicKey]
        } else {
            &[MethodKind::KeyboardInteractive]
        };
        methods.into()
    }

    fn offers_prompts(&self) -> bool {
        self.methods().contains(&MethodKind::KeyboardInteractive)
    }

    /// Logs the reason of a refusal, and returns the client's answer, which has no reason.
    fn refuse(&self, reason: &AccessError) -> Auth {
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: reason.label() }).inc();
        // An unknown name is not logged: it may be a password that was typed by mistake.
        let user = if *reason == AccessError::UnknownUser { "" } else { self.user_name() };
        info!(user, %reason, "sign-in refused");
        if let Some(user) = self.auth.directory.find_user(self.user_name()) {
            self.set_last_refusal(Some((user.object_ref(&()), reason.to_string())));
        }
        self.reject()
    }

    fn reject(&self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: false }
    }
}
