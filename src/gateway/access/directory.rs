//! The users and targets of the bastion, kept in memory by watches, and the question whether one may reach the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::Notify;
use tracing::warn;

use super::access_cache::{AccessCache, AccessKey};
use super::access_error::AccessError;
use super::refusal::Refusal;
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, Factor};
use crate::cluster::{REQUEST_TIMEOUT, ReadableStore, Right, UnreadableReports, ask, asks_as};
use crate::gateway::sign_in::{KeyRestrictions, Proof, SignInName, takes_certificates};
use crate::gateway::ssh::ResolvedTarget;

/// What the gateway knows of users and targets.
pub struct Directory {
    namespace: String,
    users: ReadableStore<BastionUser>,
    targets: ReadableStore<BastionTarget>,
    changed: Arc<Notify>,
    reviews: Api<LocalSubjectAccessReview>,
    allowed: Mutex<AccessCache>,
}

/// A user who may reach a target under a login.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user.
    pub user: Arc<BastionUser>,
    /// What the user signed in with.
    pub proof: Proof,
    /// What that permits.
    pub restrictions: KeyRestrictions,
    /// The target.
    pub target: Arc<BastionTarget>,
    /// The login on the target.
    pub login: String,
}

impl Grant {
    /// What tells one grant from another.
    pub fn identity(&self) -> (String, String, String, String) {
        (self.user.name_any(), self.proof.identity(), self.target.name_any(), self.login.clone())
    }
}

impl Directory {
    /// Starts watching the users and targets of `namespace`, and returns once both are known. An object that cannot be
    /// read counts as absent, even if an earlier version could be read: nobody signs in by outdated data, and sessions
    /// that rest on it end.
    ///
    /// # Errors
    /// When a watch ends before its first list, which happens at the end of the program only.
    pub async fn watch(client: Client, namespace: &str, reports: &UnreadableReports) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let notify = || {
            let changed = changed.clone();
            move || changed.notify_one()
        };
        let users = reports.keep(Api::namespaced(client.clone(), namespace), notify());
        let targets = reports.keep(Api::namespaced(client.clone(), namespace), notify());
        users.wait_until_ready().await?;
        targets.wait_until_ready().await?;
        let reviews = Api::namespaced(client, namespace);
        Ok(Self { namespace: namespace.to_owned(), users, targets, changed, reviews, allowed: Mutex::default() })
    }

    /// Waits until a user or a target has changed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The user of this name, if they may sign in now.
    ///
    /// # Errors
    /// Why not, which is for the log: strangers get one answer to everything.
    pub fn user(&self, name: &str) -> Result<Arc<BastionUser>, AccessError> {
        let user = self.known(name).ok_or(AccessError::UnknownUser)?;
        if user.spec.disabled {
            Err(AccessError::Disabled)
        } else if user.spec.expires.as_ref().is_some_and(|expires| expires.0 <= Timestamp::now()) {
            Err(AccessError::Expired)
        } else {
            Ok(user)
        }
    }

    /// The user of this name, who may not be one who may sign in.
    pub fn known(&self, name: &str) -> Option<Arc<BastionUser>> {
        self.users.get(name, &self.namespace)
    }

    /// The users of the bastion who stand for a Kubernetes user, by name.
    pub fn standing_for(&self, subject: &str) -> Vec<String> {
        let users = self.users.state().into_iter().filter(|user| user.subject() == subject);
        let mut names: Vec<_> = users.map(|user| user.name_any()).collect();
        names.sort_unstable();
        names
    }

    /// Whether anybody signs in with a password in place of a key.
    pub fn begins_with_passwords(&self) -> bool {
        self.users.state().iter().any(|user| user.spec.authentication.first() == Some(&Factor::Password))
    }

    /// Whether anybody may sign in with a certificate.
    pub fn takes_certificates(&self) -> bool {
        self.users.state().iter().any(|user| takes_certificates(user))
    }

    /// Whether what was granted would be granted still. Where the API server cannot be asked, it is: people repair
    /// clusters through their bastion.
    ///
    /// # Errors
    /// Why not.
    pub async fn still_granted(&self, grant: &Grant) -> Result<(), AccessError> {
        let user = self.user(&grant.user.name_any())?;
        grant.proof.still_good(&user)?;
        let target = self.targets.get(&grant.target.name_any(), &self.namespace).ok_or(AccessError::NoTarget)?;
        if !target.spec.logins.iter().any(|login| login.0 == grant.login) {
            return Err(AccessError::NoLogin);
        }
        match self.may_connect(&user, &target, &grant.login).await {
            Ok(false) => Err(AccessError::NoRight),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// The target as it is now; as it was where it is no longer there.
    pub fn present(&self, target: &Arc<BastionTarget>) -> Arc<BastionTarget> {
        self.targets.get(&target.name_any(), &self.namespace).unwrap_or_else(|| target.clone())
    }

    /// All targets that have shells, by name.
    pub fn targets(&self) -> Vec<Arc<BastionTarget>> {
        let mut targets = self.targets.state();
        targets.retain(|target| target.spec.allow.shell);
        targets.sort_by_cached_key(|target| target.name_any());
        targets
    }

    /// What `user` may have under the sign-in name `text`.
    ///
    /// # Errors
    /// The refusal that the user is to read.
    pub async fn grant(
        &self,
        user: Arc<BastionUser>,
        proof: Proof,
        restrictions: KeyRestrictions,
        text: &str,
    ) -> Result<Grant, Refusal> {
        let name: SignInName = text.parse()?;
        let Some(target_name) = name.target else {
            return Err(Refusal::NoTarget { user: name.user });
        };
        let target = self.targets.get(&target_name, &self.namespace);
        let Some(target) = target else {
            return Err(Refusal::NoSuchTarget { target: target_name, exists: false });
        };
        let logins = target.spec.logins.iter().map(|login| login.0.clone());
        let login = name.login.or_else(|| logins.clone().next()).unwrap_or_default();
        // The right first: the target's logins are for those to know who may use it.
        if !self.may_connect_of_late(&user, &target, &login).await? {
            return Err(Refusal::NoSuchTarget { target: target_name, exists: true });
        }
        if !logins.clone().any(|allowed| allowed == login) {
            return Err(Refusal::LoginNotAllowed { login, target: target_name, logins: logins.collect() });
        }
        Ok(Grant { user, proof, restrictions, target, login })
    }

    /// The same as [`Self::may_connect`], but for a right that was found within the last ten seconds.
    async fn may_connect_of_late(
        &self,
        user: &BastionUser,
        target: &BastionTarget,
        login: &str,
    ) -> Result<bool, Refusal> {
        let question = AccessKey::new(user, target, login);
        if self.allowed().holds(&question, Instant::now()) {
            return Ok(true);
        }
        let asked = Instant::now();
        let may = self.may_connect(user, target, login).await?;
        if may {
            self.allowed().remember(question, asked);
        }
        Ok(may)
    }

    fn allowed(&self) -> std::sync::MutexGuard<'_, AccessCache> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target that is meant by the name or address of a host, if the user may connect to it.
    pub async fn meant(&self, user: &BastionUser, host: &str, port: u16) -> Option<ResolvedTarget> {
        let target = self.targets.state().into_iter().find(|target| {
            let of_address = target.spec.address.eq_ignore_ascii_case(host) && target.spec.port == i32::from(port);
            of_address || target.name_any() == host
        })?;
        let login = target.spec.logins.first()?.0.clone();
        let allowed = self.may_connect(user, &target, &login).await.unwrap_or(false);
        allowed.then(|| ResolvedTarget { target: target.name_any(), login })
    }

    /// Whether RBAC lets the user `connect`: on the target, on its login, or on one of its groups.
    async fn may_connect(&self, user: &BastionUser, target: &BastionTarget, login: &str) -> Result<bool, Refusal> {
        let name = target.name_any();
        let on_target = self.review(user, "bastiontargets", None, &name);
        let on_login = self.review(user, "bastiontargets", Some(login), &name);
        let on_groups =
            target.spec.groups.iter().map(|group| self.review(user, "bastiontargetgroups", None, group.as_str()));
        let (on_target, on_login, on_groups) =
            futures::join!(on_target, on_login, futures::future::join_all(on_groups));
        let answers: Vec<_> = [on_target, on_login].into_iter().chain(on_groups).collect();
        // One clear yes is enough; without one, an answer that did not come is not a no.
        if answers.iter().any(|answer| matches!(answer, Ok(true))) {
            return Ok(true);
        }
        answers.into_iter().collect::<Result<Vec<bool>, Refusal>>().map(|_| false)
    }

    /// Whether RBAC lets the user `connect` to one thing; to all of its kind, where it has no name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn review(
        &self,
        user: &BastionUser,
        resource: &str,
        subresource: Option<&str>,
        name: &str,
    ) -> Result<bool, Refusal> {
        let right = Right { subresource, name: Some(name), ..Right::to(CONNECT_VERB, resource) };
        let review = right.review(&self.namespace, asks_as(user));
        let params = PostParams::default();
        match ask(REQUEST_TIMEOUT / 2, || self.reviews.create(&params, &review)).await {
            Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
            Err(error) => {
                warn!(user = user.name_any(), target = name, %error, "rights could not be checked");
                Err(Refusal::RightsUnknown)
            }
        }
    }
}
