//! The users and targets of the bastion, kept in memory by watches, and the question whether one may reach the other.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use super::jump::Meant;
use super::refusal::Refusal;
use super::sign_in_name::SignInName;
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, GROUP};
use crate::cluster::{REQUEST_TIMEOUT, watch};

/// What the gateway knows of users and targets.
pub struct Directory {
    namespace: String,
    users: Store<BastionUser>,
    targets: Store<BastionTarget>,
    changed: Arc<Notify>,
    reviews: Api<LocalSubjectAccessReview>,
}

/// A user who may reach a target under a login.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user.
    pub user: Arc<BastionUser>,
    /// The key that the user signed in with.
    pub key: PublicKey,
    /// The target.
    pub target: Arc<BastionTarget>,
    /// The login on the target.
    pub login: String,
}

impl Grant {
    /// What tells one grant from another.
    pub fn identity(&self) -> (String, String, String, String) {
        let fingerprint = self.key.fingerprint(HashAlg::Sha256).to_string();
        (self.user.name_any(), fingerprint, self.target.name_any(), self.login.clone())
    }
}

/// Why somebody may not sign in, or not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAccess {
    /// There is no such user.
    #[error("there is no such user")]
    UnknownUser,
    /// `spec.disabled`
    #[error("the user is disabled")]
    Disabled,
    /// `spec.expires`
    #[error("the user has expired")]
    Expired,
    /// `spec.publicKeys`
    #[error("the key is not one of the user's")]
    UnknownKey,
    /// The target was deleted.
    #[error("the target is no longer there")]
    NoTarget,
    /// `spec.logins`
    #[error("the login is no longer among the target's")]
    NoLogin,
    /// RBAC says no.
    #[error("the right to connect was withdrawn")]
    NoRight,
}

impl Directory {
    /// Starts watching the users and targets of `namespace`, and returns once both are known.
    ///
    /// # Errors
    /// When a watch ends before its first list, which happens at the end of the program only.
    pub async fn watch(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let users = keep(Api::namespaced(client.clone(), namespace), changed.clone());
        let targets = keep(Api::namespaced(client.clone(), namespace), changed.clone());
        users.wait_until_ready().await?;
        targets.wait_until_ready().await?;
        let reviews = Api::namespaced(client, namespace);
        Ok(Self { namespace: namespace.to_owned(), users, targets, changed, reviews })
    }

    /// Waits until a user or a target has changed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The user of this name, if they have this key and may sign in now.
    ///
    /// # Errors
    /// Why not, which is for the log: strangers get one answer to everything.
    pub fn user_with_key(&self, name: &str, key: &PublicKey) -> Result<Arc<BastionUser>, NoAccess> {
        let user = self.users.get(&ObjectRef::new(name).within(&self.namespace)).ok_or(NoAccess::UnknownUser)?;
        if user.spec.disabled {
            Err(NoAccess::Disabled)
        } else if user.spec.expires.as_ref().is_some_and(|expires| expires.0 <= Timestamp::now()) {
            Err(NoAccess::Expired)
        } else if !user.spec.public_keys.iter().any(|line| same_key(line.as_str(), key)) {
            Err(NoAccess::UnknownKey)
        } else {
            Ok(user)
        }
    }

    /// Whether what was granted would be granted still. Where the API server cannot be asked, it is: people repair
    /// clusters through their bastion.
    ///
    /// # Errors
    /// Why not.
    pub async fn still_granted(&self, grant: &Grant) -> Result<(), NoAccess> {
        let user = self.user_with_key(&grant.user.name_any(), &grant.key)?;
        let target = ObjectRef::new(&grant.target.name_any()).within(&self.namespace);
        let target = self.targets.get(&target).ok_or(NoAccess::NoTarget)?;
        if !target.spec.logins.iter().any(|login| login.0 == grant.login) {
            return Err(NoAccess::NoLogin);
        }
        match self.may_connect(&user, &target, &grant.login).await {
            Ok(false) => Err(NoAccess::NoRight),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// The target as it is now; as it was where it is no longer there.
    pub fn present(&self, target: &Arc<BastionTarget>) -> Arc<BastionTarget> {
        let name = ObjectRef::new(&target.name_any()).within(&self.namespace);
        self.targets.get(&name).unwrap_or_else(|| target.clone())
    }

    /// What `user` may have under the sign-in name `text`.
    ///
    /// # Errors
    /// The refusal that the user is to read.
    pub async fn grant(&self, user: Arc<BastionUser>, key: PublicKey, text: &str) -> Result<Grant, Refusal> {
        let name: SignInName = text.parse()?;
        let Some(target_name) = name.target else {
            return Err(Refusal::NoTarget { user: name.user });
        };
        let target = self.targets.get(&ObjectRef::new(&target_name).within(&self.namespace));
        let Some(target) = target else {
            return Err(Refusal::NoSuchTarget { target: target_name, exists: false });
        };
        let logins = target.spec.logins.iter().map(|login| login.0.clone());
        let login = name.login.or_else(|| logins.clone().next()).unwrap_or_default();
        // The right first: the target's logins are for those to know who may use it.
        if !self.may_connect(&user, &target, &login).await? {
            return Err(Refusal::NoSuchTarget { target: target_name, exists: true });
        }
        if !logins.clone().any(|allowed| allowed == login) {
            return Err(Refusal::LoginNotAllowed { login, target: target_name, logins: logins.collect() });
        }
        Ok(Grant { user, key, target, login })
    }

    /// The target that is meant by the name or address of a host, if the user may connect to it.
    pub async fn meant(&self, user: &BastionUser, host: &str, port: u16) -> Option<Meant> {
        let target = self.targets.find(|target| {
            let of_address = target.spec.address.eq_ignore_ascii_case(host) && target.spec.port == i32::from(port);
            of_address || target.name_any() == host
        })?;
        let login = target.spec.logins.first()?.0.clone();
        let allowed = self.may_connect(user, &target, &login).await.unwrap_or(false);
        allowed.then(|| Meant { target: target.name_any(), login })
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

    async fn review(
        &self,
        user: &BastionUser,
        resource: &str,
        subresource: Option<&str>,
        name: &str,
    ) -> Result<bool, Refusal> {
        let review = LocalSubjectAccessReview {
            metadata: kube::api::ObjectMeta { namespace: Some(self.namespace.clone()), ..Default::default() },
            spec: SubjectAccessReviewSpec {
                user: Some(user.subject()),
                groups: Some(user.spec.groups.iter().map(|group| group.0.clone()).collect()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    name: Some(name.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    verb: Some(CONNECT_VERB.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            status: None,
        };
        let answer = timeout(REQUEST_TIMEOUT / 2, self.reviews.create(&PostParams::default(), &review)).await;
        let error = match answer {
            Ok(Ok(review)) => return Ok(review.status.is_some_and(|status| status.allowed)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server did not answer".to_owned(),
        };
        warn!(user = user.name_any(), target = name, error, "rights could not be checked");
        Err(Refusal::RightsUnknown)
    }
}

/// A store that a task keeps up to date for as long as the program runs.
fn keep<K>(api: Api<K>, changed: Arc<Notify>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let events = reflector(writer, watch(api, watcher::Config::default()).map(Ok));
    tokio::spawn(events.for_each(move |_| {
        changed.notify_one();
        std::future::ready(())
    }));
    reader
}

fn same_key(line: &str, key: &PublicKey) -> bool {
    PublicKey::from_openssh(line).is_ok_and(|own| own.key_data() == key.key_data())
}
