//! One connection's authentication, from its first request to a user (RFC 4252).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use russh::keys::Algorithm;
use russh::keys::ssh_key::{Certificate, PublicKey};
use russh::server::{Auth, SkFlags, VerifiedCertificate, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};
use tracing::info;
use zeroize::Zeroizing;

use super::login_name::SignInName;
use crate::api::{BastionUser, Factor};
use crate::gateway::access::{AccessError, Directory, Refusal};
use crate::gateway::ssh::algorithms;
use crate::metrics::{METRICS, RefusalLabels};

use super::certificate;
use super::key_restrictions::KeyRestrictions;
use super::presence::{Assertion, Presence};
use super::progress::Progress;
use super::proof::{self, Proof};
use super::second_factor::SecondFactors;
use super::throttle::{Attempt, Throttle};

/// What authentication depends on.
pub struct AuthDeps {
    /// The users.
    pub directory: Arc<Directory>,
    /// Locks out after wrong passwords and codes.
    pub throttle: Throttle,
    /// Checks passwords and codes.
    pub second_factors: SecondFactors,
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The user.
    pub user: Arc<BastionUser>,
    /// By what.
    pub proof: Proof,
    /// What that permits.
    pub restrictions: KeyRestrictions,
}

/// One connection's way in.
pub struct SignIn {
    auth: Arc<AuthDeps>,
    peer: SocketAddr,
    /// The sign-in name that was used last, and what was shown under it.
    name: String,
    progress: Progress,
    shown: Option<(Proof, KeyRestrictions)>,
    /// The question that the client was asked and has not answered.
    question: Option<Factor>,
    done: Option<SignedIn>,
    refusals: LastRefusal,
}

/// The last refusal on a connection that was a known user's: told in an Event when the connection ends, since a client may
/// well offer keys in vain before it signs in.
pub type LastRefusal = Arc<Mutex<Option<(ObjectReference, String)>>>;

impl SignIn {
    /// The beginning of it.
    pub fn new(auth: Arc<AuthDeps>, peer: SocketAddr) -> Self {
        let progress = Progress::default();
        Self {
            auth,
            peer,
            name: String::new(),
            progress,
            shown: None,
            question: None,
            done: None,
            refusals: LastRefusal::default(),
        }
    }

    /// What there is to tell when the connection has ended.
    pub fn refusals(&self) -> LastRefusal {
        self.refusals.clone()
    }

    /// Somebody who has signed in gets no session.
    pub fn refused(&self, refusal: &Refusal) {
        if let Some(SignedIn { user, .. }) = &self.done {
            self.remember(Some((user.object_ref(&()), refusal.to_string())));
        }
    }

    fn remember(&self, refusal: Option<(ObjectReference, String)>) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// The sign-in name that was used last.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who has signed in, if anybody has.
    pub fn done(&self) -> Option<SignedIn> {
        self.done.clone()
    }

    /// The client asks what it may try.
    pub fn methods(&mut self, name: &str) -> Auth {
        self.bind(name);
        self.reject()
    }

    /// Whether the client is to sign with this key. The library does not say whether it offers the key or a certificate of
    /// it, so where anybody may use certificates, everybody may go on with every key: one that is let in is looked at
    /// again, and nobody learns from a public key whose it is.
    pub fn offered(&mut self, name: &str, key: &PublicKey, algorithm: &Algorithm) -> Auth {
        self.bind(name);
        if !algorithms::takes_signature(&key.algorithm(), algorithm) {
            return self.reject();
        }
        if self.auth.directory.takes_certificates() {
            return Auth::Accept;
        }
        match self.user_with_key(key) {
            Ok(_) => Auth::Accept,
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Somebody has shown that this key is theirs.
    pub fn with_key(&mut self, name: &str, shown: VerifiedPublicKey<'_>) -> Auth {
        self.bind(name);
        let key = shown.public_key;
        let user = self.user_with_key(key).and_then(|(user, presence)| {
            presence.check(Assertion::of(&key.algorithm(), shown.sk_flags)?)?;
            Ok(user)
        });
        match user {
            Ok(user) => self.show(user, Factor::Publickey, Some((Proof::Key(key.clone()), KeyRestrictions::ALL))),
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Somebody has shown that this certificate is for a key of theirs.
    pub fn with_certificate(&mut self, name: &str, shown: VerifiedCertificate<'_>) -> Auth {
        self.bind(name);
        let certificate = shown.certificate;
        match self.user_with_certificate(certificate, shown.sk_flags) {
            Ok((user, restrictions)) => {
                let proof = Proof::Certificate(Arc::new(certificate.clone()));
                self.show(user, Factor::Publickey, Some((proof, restrictions)))
            }
            Err(reason) => self.refuse(&reason),
        }
    }

    /// The cluster has said that a page's person is `subject`. That stands for a key, and for nothing else: what is asked of the
    /// user beside a key is asked on the page. To be called until the answer is neither a question nor a refusal.
    pub fn with_cluster(&mut self, name: &str, subject: &Arc<str>) -> Auth {
        self.bind(name);
        let user = match self.user() {
            Ok(user) if user.subject() == **subject => user,
            Ok(_) => return self.refuse(&AccessError::OtherSubject),
            Err(reason) => return self.refuse(&reason),
        };
        let shown = (Proof::Cluster(subject.clone()), KeyRestrictions::ALL);
        match self.progress.due(&user.spec.authentication) {
            Some(Factor::Publickey) => self.show(user, Factor::Publickey, Some(shown)),
            Some(question) => {
                self.shown = Some(shown);
                self.ask(question)
            }
            None => self.refuse(&AccessError::OutOfTurn),
        }
    }

    /// The client wants to be asked (keyboard-interactive), or has answered. Whoever cannot be asked anything is asked for a
    /// password all the same.
    pub async fn asked(&mut self, name: &str, answer: Option<Zeroizing<Vec<u8>>>) -> Auth {
        self.bind(name);
        if !self.offers_questions() {
            return self.reject();
        }
        let user = self.user();
        let (Some(answer), Some(question)) = (answer, self.question.take()) else {
            self.progress.fall_back();
            return self.ask(self.due(&user).unwrap_or(Factor::Password));
        };
        let in_turn = self.due(&user) == Some(question);
        let attempt = self.attempt(in_turn);
        match self.check(user, question, in_turn, answer, &attempt).await {
            Ok(user) => {
                let auth = self.show(user, question, None);
                self.auth.throttle.passed(&attempt, auth == Auth::Accept).await;
                auth
            }
            Err(reason) => {
                self.progress.fall_back();
                self.refuse(&reason)
            }
        }
    }

    /// Looks at an answer. Whatever the reason why it cannot be good, it is looked at for as long as one that could be.
    async fn check(
        &self,
        user: Result<Arc<BastionUser>, AccessError>,
        question: Factor,
        in_turn: bool,
        answer: Zeroizing<Vec<u8>>,
        attempt: &Attempt,
    ) -> Result<Arc<BastionUser>, AccessError> {
        let heard = self.auth.throttle.begin(attempt).await;
        let askable = user.as_ref().ok().filter(|_| heard && in_turn);
        let factors = &self.auth.second_factors;
        let checked = match (question, askable) {
            (Factor::Totp, Some(user)) => factors.code(user, &String::from_utf8_lossy(&answer)).await,
            (_, askable) => factors.password(askable.map(AsRef::as_ref), answer).await,
        };
        let user = user?;
        if !heard {
            return Err(AccessError::LockedOut);
        }
        if !in_turn {
            return Err(AccessError::OutOfTurn);
        }
        checked.map(|()| user)
    }

    /// The question that is due, where there is a user of whom to ask one.
    fn due(&self, user: &Result<Arc<BastionUser>, AccessError>) -> Option<Factor> {
        let due = user.as_ref().ok().and_then(|user| self.progress.due(&user.spec.authentication));
        due.filter(|due| *due != Factor::Publickey)
    }

    /// Whose failure it would be: the user's if they were asked, and else nobody's.
    fn attempt(&self, in_turn: bool) -> Attempt {
        let attempt = if in_turn { Attempt::by_user } else { Attempt::out_of_turn };
        attempt(self.user_name(), self.peer.ip())
    }

    fn ask(&mut self, question: Factor) -> Auth {
        self.question = Some(question);
        let prompt = if question == Factor::Totp { "One-time code: " } else { "Password: " };
        let prompts = vec![(Cow::Borrowed(prompt), false)];
        Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() }
    }

    /// A factor was shown: that is all, or the next one is due.
    fn show(&mut self, user: Arc<BastionUser>, factor: Factor, shown: Option<(Proof, KeyRestrictions)>) -> Auth {
        self.shown = shown.or_else(|| self.shown.take());
        if self.progress.show(factor, &user.spec.authentication) {
            let (proof, restrictions) = self.shown.clone().unwrap_or((Proof::Secrets, KeyRestrictions::ALL));
            self.done = Some(SignedIn { user, proof, restrictions });
            self.remember(None);
            return Auth::Accept;
        }
        match self.progress.due(&user.spec.authentication) {
            Some(question) if question != Factor::Publickey && factor != Factor::Publickey => self.ask(question),
            _ => Auth::Reject { proceed_with_methods: Some(self.offer()), partial_success: true },
        }
    }

    fn user_name(&self) -> &str {
        SignInName::user_of(&self.name)
    }

    fn user(&self) -> Result<Arc<BastionUser>, AccessError> {
        self.auth.directory.user(self.user_name())
    }

    /// The user, if a key is due.
    fn user_to_show_a_key(&self) -> Result<Arc<BastionUser>, AccessError> {
        let user = self.user()?;
        match self.progress.due(&user.spec.authentication) {
            Some(Factor::Publickey) => Ok(user),
            _ => Err(AccessError::OutOfTurn),
        }
    }

    /// The user whose key it is, and what a security key must say.
    fn user_with_key(&self, key: &PublicKey) -> Result<(Arc<BastionUser>, Presence), AccessError> {
        let user = self.user_to_show_a_key()?;
        let presence = proof::own_key(&user, key).ok_or(AccessError::UnknownKey)?;
        Ok((user, presence))
    }

    fn user_with_certificate(
        &self,
        certificate: &Certificate,
        flags: Option<SkFlags>,
    ) -> Result<(Arc<BastionUser>, KeyRestrictions), AccessError> {
        let user = self.user_to_show_a_key()?;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let authorities = proof::authorities(&user);
        let restrictions = certificate::check(certificate, flags, &user.name_any(), &authorities, self.peer.ip(), now)?;
        Ok((user, restrictions))
    }

    /// What was shown under another name does not count.
    fn bind(&mut self, name: &str) {
        if self.name != name {
            name.clone_into(&mut self.name);
            self.progress = Progress::default();
            self.shown = None;
            self.question = None;
        }
    }

    /// What the client may go on with. At the beginning that is the same for every name, whether it is anybody's or not.
    fn offer(&self) -> MethodSet {
        let due = |user: &Arc<BastionUser>| self.progress.due(&user.spec.authentication);
        let methods: &[MethodKind] = if self.progress.is_at_the_beginning() {
            if self.auth.directory.begins_with_passwords() {
                &[MethodKind::PublicKey, MethodKind::KeyboardInteractive]
            } else {
                &[MethodKind::PublicKey]
            }
        } else if self.user().ok().as_ref().and_then(due) == Some(Factor::Publickey) {
            &[MethodKind::PublicKey]
        } else {
            &[MethodKind::KeyboardInteractive]
        };
        methods.into()
    }

    fn offers_questions(&self) -> bool {
        self.offer().contains(&MethodKind::KeyboardInteractive)
    }

    /// One answer to everything that is refused, and the reason to the log.
    fn refuse(&self, reason: &AccessError) -> Auth {
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: reason.label() }).inc();
        // What somebody typed who is nobody may be anything, a password too.
        let user = if *reason == AccessError::UnknownUser { "" } else { self.user_name() };
        info!(user, client = %self.peer, %reason, "sign-in refused");
        if let Some(user) = self.auth.directory.known(self.user_name()) {
            self.remember(Some((user.object_ref(&()), reason.to_string())));
        }
        self.reject()
    }

    fn reject(&self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.offer()), partial_success: false }
    }
}
