//! Keeps the BastionUsers in memory and finds them by their Kubernetes user name.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use super::api_error::ApiError;
use crate::api::BastionUser;
use crate::cluster::{ReadableStore, UnreadableReports};
use crate::http::AuthError;
use crate::tasks::Tasks;

/// How long a request waits for the first list of users.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// A cache of the BastionUsers of a namespace, kept up to date by a watch.
#[derive(Clone)]
pub struct UserIndex(ReadableStore<BastionUser>);

/// The BastionUsers of one Kubernetes user.
#[derive(Clone, Debug)]
pub enum UserMatch {
    /// Exactly one BastionUser.
    One(Arc<BastionUser>),
    /// No BastionUser.
    None,
    /// Several BastionUsers, so that none can be chosen.
    Several,
}

impl UserIndex {
    /// Starts a watch of the BastionUsers in `namespace`.
    pub fn watch(client: Client, namespace: &str, reports: &UnreadableReports, tasks: &Tasks) -> Self {
        Self(reports.keep(tasks, Api::namespaced(client, namespace), |_| ()))
    }

    /// Returns the users who may sign in now, by name.
    ///
    /// # Errors
    /// When the API server has not listed the users yet.
    pub async fn active_users(&self) -> Result<Vec<Arc<BastionUser>>, ApiError> {
        let now = Timestamp::now();
        let mut users = self.all().await?;
        users.retain(|user| may_sign_in(user, now));
        users.sort_by_cached_key(|user| user.name_any());
        Ok(users)
    }

    /// Finds the BastionUser of a Kubernetes user.
    ///
    /// # Errors
    /// When the API server has not listed the users yet.
    pub async fn find(&self, subject: &str) -> Result<UserMatch, ApiError> {
        let mut users = self.all().await?;
        users.retain(|user| user.subject() == subject);
        Ok(match (users.pop(), users.is_empty()) {
            (None, _) => UserMatch::None,
            (Some(user), true) => UserMatch::One(user),
            (Some(_), false) => UserMatch::Several,
        })
    }

    async fn all(&self) -> Result<Vec<Arc<BastionUser>>, ApiError> {
        match timeout(LIST_TIMEOUT, self.0.wait_until_ready()).await {
            Ok(Ok(())) => Ok(self.0.state()),
            Ok(Err(_)) | Err(_) => Err(AuthError::api_server("the users have not been listed yet".to_owned()).into()),
        }
    }
}

impl UserMatch {
    /// Returns why the Kubernetes user cannot open sessions; `None` if nothing prevents it.
    pub fn connect_blocker(&self, subject: &str, now: Timestamp) -> Option<String> {
        match self {
            Self::One(user) if may_sign_in(user, now) => None,
            Self::One(user) => Some(format!("BastionUser {} is disabled or has expired", user.name_any())),
            Self::None => Some(format!("no BastionUser has spec.subject {subject}; create one to open sessions")),
            Self::Several => {
                Some(format!("several BastionUsers have spec.subject {subject}; give each a spec.subject of its own"))
            }
        }
    }

    /// Returns the BastionUser if there is exactly one.
    pub fn unique(&self) -> Option<&Arc<BastionUser>> {
        match self {
            Self::One(user) => Some(user),
            Self::None | Self::Several => None,
        }
    }
}

fn may_sign_in(user: &BastionUser, now: Timestamp) -> bool {
    !user.spec.disabled && user.spec.expires.as_ref().is_none_or(|expires| expires.0 > now)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn user(spec: Value) -> UserMatch {
        let mut user = json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser"});
        user["metadata"] = json!({"name": "alice"});
        user["spec"] = spec;
        UserMatch::One(Arc::new(serde_json::from_value(user).unwrap()))
    }

    #[rstest]
    #[case::active(user(json!({})), None)]
    #[case::expires_later(user(json!({"expires": "2026-01-02T00:00:00Z"})), None)]
    #[case::expired(user(json!({"expires": "2026-01-01T00:00:00Z"})), Some("has expired"))]
    #[case::disabled(user(json!({"disabled": true})), Some("alice is disabled"))]
    #[case::none(UserMatch::None, Some("no BastionUser has spec.subject me"))]
    #[case::several(UserMatch::Several, Some("several BastionUsers"))]
    fn the_blocker_says_why_a_user_cannot_connect(#[case] found: UserMatch, #[case] words: Option<&str>) {
        let blocker = found.connect_blocker("me", "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(blocker.is_some(), words.is_some(), "{blocker:?}");
        assert!(blocker.unwrap_or_default().contains(words.unwrap_or_default()));
    }
}
