//! The users of the bastion, kept in memory by a watch, and who of them stands for a Kubernetes user.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use super::failure::Failure;
use crate::api::BastionUser;
use crate::cluster::{ReadableStore, UnreadableReports};
use crate::http::AuthError;

/// How long a request waits for the first list of users.
const PATIENCE: Duration = Duration::from_secs(5);

/// The users of the bastion.
#[derive(Clone)]
pub struct UserIndex(ReadableStore<BastionUser>);

/// Who stands for a Kubernetes user.
#[derive(Clone, Debug)]
pub enum Stands {
    /// This user.
    One(Arc<BastionUser>),
    /// No user.
    Nobody,
    /// More than one, of whom the person may be any.
    Several,
}

impl UserIndex {
    /// Starts watching those of `namespace`.
    pub fn watch(client: Client, namespace: &str, reports: &UnreadableReports) -> Self {
        Self(reports.keep(Api::namespaced(client, namespace), || ()))
    }

    /// Those who may sign in now, by name.
    ///
    /// # Errors
    /// When the API server has not listed them yet.
    pub async fn who_may_sign_in(&self) -> Result<Vec<Arc<BastionUser>>, Failure> {
        let now = Timestamp::now();
        let mut users = self.all().await?;
        users.retain(|user| may_sign_in(user, now));
        users.sort_by_cached_key(|user| user.name_any());
        Ok(users)
    }

    /// Who stands for this Kubernetes user.
    ///
    /// # Errors
    /// When the API server has not listed them yet.
    pub async fn standing_for(&self, subject: &str) -> Result<Stands, Failure> {
        let mut users = self.all().await?;
        users.retain(|user| user.subject() == subject);
        Ok(match (users.pop(), users.is_empty()) {
            (None, _) => Stands::Nobody,
            (Some(user), true) => Stands::One(user),
            (Some(_), false) => Stands::Several,
        })
    }

    async fn all(&self) -> Result<Vec<Arc<BastionUser>>, Failure> {
        match timeout(PATIENCE, self.0.wait_until_ready()).await {
            Ok(Ok(())) => Ok(self.0.state()),
            Ok(Err(_)) | Err(_) => Err(AuthError::Cluster("the users have not been listed yet".to_owned()).into()),
        }
    }
}

impl Stands {
    /// Why the person can have no session, if so.
    pub fn lack(&self, subject: &str, now: Timestamp) -> Option<String> {
        match self {
            Self::One(user) if may_sign_in(user, now) => None,
            Self::One(user) => Some(format!("BastionUser {} is disabled or has expired", user.name_any())),
            Self::Nobody => {
                Some(format!("no BastionUser stands for {subject}; one whose spec.subject it is lets you in"))
            }
            Self::Several => {
                Some(format!("several BastionUsers stand for {subject}; give each a spec.subject of its own"))
            }
        }
    }

    /// The user, if there is one alone.
    pub fn one(&self) -> Option<&Arc<BastionUser>> {
        match self {
            Self::One(user) => Some(user),
            Self::Nobody | Self::Several => None,
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

    fn user(spec: Value) -> Stands {
        let mut user = json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser"});
        user["metadata"] = json!({"name": "alice"});
        user["spec"] = spec;
        Stands::One(Arc::new(serde_json::from_value(user).unwrap()))
    }

    #[rstest]
    #[case::in_order(user(json!({})), None)]
    #[case::for_long(user(json!({"expires": "2026-01-02T00:00:00Z"})), None)]
    #[case::expired(user(json!({"expires": "2026-01-01T00:00:00Z"})), Some("has expired"))]
    #[case::disabled(user(json!({"disabled": true})), Some("alice is disabled"))]
    #[case::nobody(Stands::Nobody, Some("no BastionUser stands for me"))]
    #[case::several(Stands::Several, Some("several BastionUsers"))]
    fn who_can_have_no_session_is_told_why(#[case] stands: Stands, #[case] words: Option<&str>) {
        let lack = stands.lack("me", "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(lack.is_some(), words.is_some(), "{lack:?}");
        assert!(lack.unwrap_or_default().contains(words.unwrap_or_default()));
    }
}
