//! The users and targets of the bastion, which watches keep in memory, and the rights between them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::warn;

use super::access_cache::{AccessCache, AccessKey};
use super::access_error::AccessError;
use super::refusal::Refusal;
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, Factor, Validated};
use crate::cluster::{
    ConditionWriter, REQUEST_TIMEOUT, ReadableStore, Right, UnreadableReports, rbac_user, with_retries,
};
use crate::gateway::sign_in::{KeyRestrictions, Proof, SignInName, accepts_certificates};
use crate::gateway::ssh::ResolvedTarget;
use crate::tasks::Tasks;

/// The gateway's view of users, targets and rights.
pub struct Directory {
    namespace: String,
    users: ReadableStore<BastionUser>,
    targets: ReadableStore<BastionTarget>,
    changed: Arc<Notify>,
    reviews: Api<LocalSubjectAccessReview>,
    cache: Mutex<AccessCache>,
}

/// The right of a user to connect to a target under a login.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user.
    pub user: Arc<BastionUser>,
    /// How the user authenticated.
    pub proof: Proof,
    /// The permissions of the key or certificate.
    pub restrictions: KeyRestrictions,
    /// The target.
    pub target: Arc<BastionTarget>,
    /// The login on the target.
    pub login: String,
}

impl Grant {
    /// Returns what distinguishes grants: the names of user, key, target and login.
    pub fn identity(&self) -> (String, String, String, String) {
        (self.user.name_any(), self.proof.identity(), self.target.name_any(), self.login.clone())
    }
}

impl Directory {
    /// Starts to watch the users and targets of `namespace`, and returns after the first list of both. An object that does not
    /// decode counts as absent, even if an earlier version did decode. Outdated data thus admits nobody, and sessions that rely on
    /// the object end.
    ///
    /// # Errors
    /// A watch has ended before its first list. This happens only while the program exits.
    pub async fn watch(
        client: Client,
        namespace: &str,
        reports: &UnreadableReports,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let users = keep(&client, namespace, reports, tasks, changed.clone());
        let targets = keep(&client, namespace, reports, tasks, changed.clone());
        users.wait_until_ready().await?;
        targets.wait_until_ready().await?;
        let reviews = Api::namespaced(client, namespace);
        Ok(Self { namespace: namespace.to_owned(), users, targets, changed, reviews, cache: Mutex::default() })
    }

    /// Waits until a user or a target has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the user of this name if the user may sign in now.
    ///
    /// # Errors
    /// Returns the reason for the log. Clients get the same answer for every reason.
    pub fn active_user(&self, name: &str) -> Result<Arc<BastionUser>, AccessError> {
        let user = self.find_user(name).ok_or(AccessError::UnknownUser)?;
        if user.spec.disabled {
            Err(AccessError::Disabled)
        } else if user.spec.expires.as_ref().is_some_and(|expires| expires.0 <= Timestamp::now()) {
            Err(AccessError::Expired)
        } else {
            Ok(user)
        }
    }

    /// Returns the user of this name, even if the user may not sign in.
    pub fn find_user(&self, name: &str) -> Option<Arc<BastionUser>> {
        self.users.get(name, &self.namespace)
    }

    /// Returns the sorted names of the users with this Kubernetes identity.
    pub fn users_of_subject(&self, subject: &str) -> Vec<String> {
        let users = self.users.state().into_iter().filter(|user| user.subject() == subject);
        let mut names: Vec<_> = users.map(|user| user.name_any()).collect();
        names.sort_unstable();
        names
    }

    /// Returns whether any user authenticates with a password first.
    pub fn any_user_starts_with_password(&self) -> bool {
        self.users.find(|user| user.spec.authentication.first() == Some(&Factor::Password)).is_some()
    }

    /// Returns whether any user may sign in with a certificate.
    pub fn any_user_accepts_certificates(&self) -> bool {
        self.users.find(accepts_certificates).is_some()
    }

    /// Checks that a grant still holds. It holds while the API server does not answer, since people repair clusters through
    /// their bastion.
    ///
    /// # Errors
    /// Returns why the grant no longer holds.
    pub async fn check_grant(&self, grant: &Grant) -> Result<(), AccessError> {
        let user = self.active_user(&grant.user.name_any())?;
        grant.proof.check(&user)?;
        let target = self.targets.get(&grant.target.name_any(), &self.namespace).ok_or(AccessError::TargetDeleted)?;
        if !target.spec.logins.iter().any(|login| login.0 == grant.login) {
            return Err(AccessError::LoginRemoved);
        }
        match self.may_connect(&user, &target, &grant.login).await {
            Ok(false) => Err(AccessError::RightWithdrawn),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Returns the current version of the target, or `target` itself if it was deleted.
    pub fn current_target(&self, target: &Arc<BastionTarget>) -> Arc<BastionTarget> {
        self.targets.get(&target.name_any(), &self.namespace).unwrap_or_else(|| target.clone())
    }

    /// Returns all targets that allow shells, sorted by name.
    pub fn targets(&self) -> Vec<Arc<BastionTarget>> {
        let mut targets = self.targets.state();
        targets.retain(|target| target.spec.allow.shell);
        targets.sort_by_cached_key(|target| target.name_any());
        targets
    }

    /// Returns the grant for the target and login in the sign-in name `text`.
    ///
    /// # Errors
    /// Returns the refusal that the user reads.
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
        // The right comes first: only users of the target may learn its logins.
        if !self.may_connect_cached(&user, &target, &login).await? {
            return Err(Refusal::NoSuchTarget { target: target_name, exists: true });
        }
        if !logins.clone().any(|allowed| allowed == login) {
            return Err(Refusal::LoginNotAllowed { login, target: target_name, logins: logins.collect() });
        }
        Ok(Grant { user, proof, restrictions, target, login })
    }

    /// Returns whether the user may connect. A right that was granted within the last 10 s is not checked again.
    async fn may_connect_cached(
        &self,
        user: &BastionUser,
        target: &BastionTarget,
        login: &str,
    ) -> Result<bool, Refusal> {
        let key = AccessKey::new(user, target, login);
        if self.cache().contains(&key, Instant::now()) {
            return Ok(true);
        }
        let requested = Instant::now();
        let is_allowed = self.may_connect(user, target, login).await?;
        if is_allowed {
            self.cache().insert(key, requested);
        }
        Ok(is_allowed)
    }

    fn cache(&self) -> MutexGuard<'_, AccessCache> {
        self.cache.lock()
    }

    /// Returns the target with this name, or with this address and port, if the user may connect to its first login.
    pub async fn resolve_host(&self, user: &BastionUser, host: &str, port: u16) -> Option<ResolvedTarget> {
        let target = self.targets.find(|target| {
            let has_address = target.spec.address.eq_ignore_ascii_case(host) && target.spec.port == i32::from(port);
            has_address || target.name_any() == host
        })?;
        let login = target.spec.logins.first()?.0.clone();
        let allowed = self.may_connect(user, &target, &login).await.unwrap_or(false);
        allowed.then(|| ResolvedTarget { target: target.name_any(), login })
    }

    /// Returns whether RBAC grants the user `connect` on the target, on its login, or on one of its groups.
    async fn may_connect(&self, user: &BastionUser, target: &BastionTarget, login: &str) -> Result<bool, Refusal> {
        let name = target.name_any();
        let on_target = self.review(user, "bastiontargets", None, &name);
        let on_login = self.review(user, "bastiontargets", Some(login), &name);
        let on_groups =
            target.spec.groups.iter().map(|group| self.review(user, "bastiontargetgroups", None, group.as_str()));
        let (on_target, on_login, on_groups) =
            futures::join!(on_target, on_login, futures::future::join_all(on_groups));
        let answers: Vec<_> = [on_target, on_login].into_iter().chain(on_groups).collect();
        // One granted right is enough. Without one, a review without an answer does not count as denied.
        if answers.iter().any(|answer| matches!(answer, Ok(true))) {
            return Ok(true);
        }
        answers.into_iter().collect::<Result<Vec<bool>, Refusal>>().map(|_| false)
    }

    /// Returns whether RBAC grants the user `connect` on one object. An empty name means all objects of the resource.
    ///
    /// # Errors
    /// Returns [`Refusal::RightsUnknown`] if the API server does not answer.
    pub async fn review(
        &self,
        user: &BastionUser,
        resource: &str,
        subresource: Option<&str>,
        name: &str,
    ) -> Result<bool, Refusal> {
        let right = Right { subresource, name: Some(name), ..Right::to(CONNECT_VERB, resource) };
        let review = right.review(&self.namespace, rbac_user(user));
        let params = PostParams::default();
        match with_retries(REQUEST_TIMEOUT / 2, || self.reviews.create(&params, &review)).await {
            Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
            Err(error) => {
                warn!(user = user.name_any(), target = name, %error, "the user's right could not be checked; it counts as unknown");
                Err(Refusal::RightsUnknown)
            }
        }
    }
}

/// Keeps the objects of a kind in memory. Notifies `changed` of each event, and writes the condition of unreadable objects.
fn keep<K>(
    client: &Client,
    namespace: &str,
    reports: &UnreadableReports,
    tasks: &Tasks,
    changed: Arc<Notify>,
) -> ReadableStore<K>
where
    K: Validated<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::namespaced(client.clone(), namespace);
    let conditions = ConditionWriter::start(tasks, api.clone(), "bastion-gateway");
    reports.keep(tasks, api, move |event| {
        changed.notify_one();
        conditions.observe(event);
    })
}

#[cfg(test)]
mod tests;
