//! The users and targets of the bastion, which watches keep in memory, and the rights between them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::access_cache::{AccessCache, AccessKey};
use super::access_error::AccessError;
use super::changes::{Change, ChangeReceiver, ChangeSender};
use super::refusal::Refusal;
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, Factor, Group, Validated};
use crate::cluster::{
    ConditionWriter, REQUEST_TIMEOUT, ReadableStore, Right, UnreadableReports, rbac_user, with_retries,
};
use crate::gateway::sign_in::{KeyRestrictions, Proof, SignInName, accepts_certificates};
use crate::gateway::ssh::ResolvedTarget;
use crate::tasks::Tasks;

/// How long the answer takes that there is no such target, at least. Reviews take a few milliseconds, more of them for a target
/// in many groups.
const NO_TARGET_TIME: Duration = Duration::from_millis(500);

/// The gateway's view of users, targets and rights.
pub struct Directory {
    namespace: String,
    users: ReadableStore<BastionUser>,
    targets: ReadableStore<BastionTarget>,
    changes: ChangeSender,
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
        let changes = ChangeSender::default();
        let users = keep(&client, namespace, reports, tasks, (changes.clone(), Change::User));
        let targets = keep(&client, namespace, reports, tasks, (changes.clone(), Change::Target));
        users.wait_until_ready().await?;
        targets.wait_until_ready().await?;
        let reviews = Api::namespaced(client, namespace);
        Ok(Self { namespace: namespace.to_owned(), users, targets, changes, reviews, cache: Mutex::default() })
    }

    /// Returns a receiver of later changes of users and targets.
    pub fn changes(&self) -> ChangeReceiver {
        self.changes.subscribe()
    }

    /// Returns the user of this name if the user may sign in now.
    ///
    /// # Errors
    /// Returns the reason for the log. Clients get the same answer for every reason.
    pub fn active_user(&self, name: &str) -> Result<Arc<BastionUser>, AccessError> {
        let user = self.find_user(name).ok_or(AccessError::UnknownUser)?;
        if user.spec.disabled {
            Err(AccessError::Disabled)
        } else if expiry(&user).is_some_and(|expires| expires <= Timestamp::now()) {
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

    /// Returns the earliest `spec.expires` of any user that is later than `after`.
    pub fn next_expiry(&self, after: Timestamp) -> Option<Timestamp> {
        self.users.state().iter().filter_map(|user| expiry(user)).filter(|expires| *expires > after).min()
    }

    /// Returns the names of the users whose `spec.expires` is later than `after` and not later than `until`.
    pub fn users_expired_within(&self, after: Timestamp, until: Timestamp) -> Vec<String> {
        let mut users = self.users.state();
        users.retain(|user| expiry(user).is_some_and(|expires| after < expires && expires <= until));
        users.iter().map(|user| user.name_any()).collect()
    }

    /// Returns whether any user authenticates with a password first.
    pub fn any_user_starts_with_password(&self) -> bool {
        self.users.find(|user| user.spec.authentication.first() == Some(&Factor::Password)).is_some()
    }

    /// Returns whether any user may sign in with a certificate.
    pub fn any_user_accepts_certificates(&self) -> bool {
        self.users.find(accepts_certificates).is_some()
    }

    /// Checks the facts that a grant rests on and that this gateway knows: the user, the key, the target, its login, and for a web
    /// terminal that the user may have one there. Asks nobody. Returns the current user and target.
    ///
    /// # Errors
    /// Returns why the grant no longer holds.
    pub fn check_facts(&self, grant: &Grant) -> Result<(Arc<BastionUser>, Arc<BastionTarget>), AccessError> {
        let user = self.active_user(&grant.user.name_any())?;
        grant.proof.check(&user)?;
        let target = self.targets.get(&grant.target.name_any(), &self.namespace).ok_or(AccessError::TargetDeleted)?;
        if !target.spec.logins.iter().any(|login| login.0 == grant.login) {
            return Err(AccessError::LoginRemoved);
        }
        if let Some(blocker) = grant.proof.blocker(&user, &target) {
            return Err(blocker.into());
        }
        Ok((user, target))
    }

    /// Checks that a grant still holds, with at most one review at a time. It holds while the API server does not answer, since
    /// people repair clusters through their bastion.
    ///
    /// # Errors
    /// Returns why the grant no longer holds.
    pub async fn check_right(&self, grant: &Grant) -> Result<(), AccessError> {
        let (user, target) = self.check_facts(grant)?;
        let mut is_known = true;
        for ConnectRight { resource, subresource, name } in connect_rights(&target, &grant.login) {
            match self.review(&user, resource, subresource, &name).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => is_known = false,
            }
        }
        if is_known { Err(AccessError::RightWithdrawn) } else { Ok(()) }
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
        let began = Instant::now();
        let Some(target) = self.targets.get(&target_name, &self.namespace) else {
            self.review_unknown_target(&user, &target_name, began).await?;
            return Err(Refusal::NoSuchTarget { target: target_name, exists: false });
        };
        let logins = target.spec.logins.iter().map(|login| login.0.clone());
        let login = name.login.or_else(|| logins.clone().next()).unwrap_or_default();
        // The right comes first: only users of the target may learn its logins.
        if !self.may_connect_cached(&user, &target, &login).await? {
            sleep_until(began + NO_TARGET_TIME).await;
            return Err(Refusal::NoSuchTarget { target: target_name, exists: true });
        }
        if !logins.clone().any(|allowed| allowed == login) {
            return Err(Refusal::LoginNotAllowed { login, target: target_name, logins: logins.collect() });
        }
        Ok(Grant { user, proof, restrictions, target, login })
    }

    /// Takes as long for a target that does not exist as the review of a target without a right does, so that the time does not
    /// tell which names exist.
    async fn review_unknown_target(&self, user: &BastionUser, name: &str, began: Instant) -> Result<(), Refusal> {
        self.review(user, "bastiontargets", None, name).await?;
        sleep_until(began + NO_TARGET_TIME).await;
        Ok(())
    }

    /// Returns whether the user may connect. A right that was granted within the last 10 s is not checked again.
    async fn may_connect_cached(
        &self,
        user: &BastionUser,
        target: &BastionTarget,
        login: &str,
    ) -> Result<bool, Refusal> {
        let key = AccessKey::new(user, target, login);
        if self.cache().contains(&key, Instant::now().into_std()) {
            return Ok(true);
        }
        let requested = Instant::now().into_std();
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
        let began = Instant::now();
        let found = self.targets.find(|target| {
            let has_address = target.spec.address.eq_ignore_ascii_case(host) && target.spec.port == i32::from(port);
            has_address || target.name_any() == host
        });
        let login = found.as_ref().and_then(|target| target.spec.logins.first()).map(|login| login.0.clone());
        if let Some((target, login)) = found.zip(login) {
            if self.may_connect(user, &target, &login).await.unwrap_or(false) {
                return Some(ResolvedTarget { target: target.name_any(), login });
            }
            sleep_until(began + NO_TARGET_TIME).await;
        } else {
            let _ = self.review_unknown_target(user, host, began).await;
        }
        None
    }

    /// Returns whether RBAC grants the user `connect` on the target, on its login, or on one of its groups.
    async fn may_connect(&self, user: &BastionUser, target: &BastionTarget, login: &str) -> Result<bool, Refusal> {
        let reviews = connect_rights(target, login).into_iter().map(async |right| {
            let ConnectRight { resource, subresource, name } = right;
            self.review(user, resource, subresource, &name).await
        });
        let answers = join_all(reviews).await;
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

/// Returns when a user expires.
fn expiry(user: &BastionUser) -> Option<Timestamp> {
    user.spec.expires.as_ref().map(|expires| expires.0)
}

/// A right that permits a connection.
struct ConnectRight<'a> {
    resource: &'static str,
    subresource: Option<&'a str>,
    name: String,
}

/// Returns the rights of which one is enough for this login: on the target, on the login, and on each group.
fn connect_rights<'a>(target: &BastionTarget, login: &'a str) -> Vec<ConnectRight<'a>> {
    let on_target = |subresource| ConnectRight { resource: "bastiontargets", subresource, name: target.name_any() };
    let on_group =
        |group: &Group| ConnectRight { resource: "bastiontargetgroups", subresource: None, name: group.0.clone() };
    [on_target(None), on_target(Some(login))].into_iter().chain(target.spec.groups.iter().map(on_group)).collect()
}

/// Keeps the objects of a kind in memory. Sends its changes, and writes the condition of unreadable objects.
fn keep<K>(
    client: &Client,
    namespace: &str,
    reports: &UnreadableReports,
    tasks: &Tasks,
    (changes, named): (ChangeSender, fn(String) -> Change),
) -> ReadableStore<K>
where
    K: Validated<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::namespaced(client.clone(), namespace);
    let conditions = ConditionWriter::start(tasks, api.clone(), "bastion-gateway");
    reports.keep(tasks, api, move |event| {
        if let Some(change) = Change::of(event, named) {
            changes.send(change);
        }
        conditions.observe(event);
    })
}

#[cfg(test)]
mod tests;
