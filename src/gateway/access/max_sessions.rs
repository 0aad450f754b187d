//! `maxSessions` of a user, over all gateways. The API server counts the sessions, since no gateway knows all of them.

use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tracing::warn;

use super::refusal::Refusal;
use crate::api::{BastionSession, BastionUser};
use crate::cluster::{Guarded, REQUEST_TIMEOUT, RequestError, with_retries};
use crate::lifecycle::Cause;

/// Checks the number of Active sessions of users who have a limit.
#[derive(Clone)]
pub struct SessionLimit {
    sessions: Api<Guarded<BastionSession>>,
}

impl SessionLimit {
    /// Creates a limit for the sessions in the namespace of `sessions`.
    pub const fn new(sessions: Api<Guarded<BastionSession>>) -> Self {
        Self { sessions }
    }

    /// Checks that the user may have one more session. Concurrent sign-ins may all pass; [`Self::excess`] then ends the sessions
    /// beyond the limit.
    ///
    /// # Errors
    /// Returns the refusal that the user reads.
    pub async fn check(&self, user: &BastionUser) -> Result<(), Refusal> {
        let Some(limit) = user.spec.max_sessions else { return Ok(()) };
        let active = self.active(&user.name_any()).await.ok_or(Refusal::RightsUnknown)?;
        if active.len() < count(limit) { Ok(()) } else { Err(Refusal::TooManySessions { limit }) }
    }

    /// Returns why a session that was just created must end, if it exceeds the limit.
    pub async fn excess(&self, user: &BastionUser, created: &BastionSession) -> Option<Cause> {
        let limit = user.spec.max_sessions?;
        match self.active(&user.name_any()).await {
            Some(active) if is_excess(created, &active, count(limit)) => {
                Some(Cause::AccessRevoked(Refusal::TooManySessions { limit }.to_string()))
            }
            Some(_) => None,
            None => Some(Cause::AccessRevoked(Refusal::RightsUnknown.to_string())),
        }
    }

    /// Lists the user's Active sessions. A session that does not decode counts too: the API server selected it by user and
    /// phase. Returns `None` if the API server does not answer.
    async fn active(&self, user: &str) -> Option<Vec<Guarded<BastionSession>>> {
        let selected = ListParams::default().fields(&format!("spec.user.name={user},status.phase=Active"));
        let counted = with_retries(REQUEST_TIMEOUT / 2, || self.sessions.list(&selected)).await;
        let failed = |error: &RequestError| warn!(user, %error, "the user's sessions could not be counted; the user gets no session");
        counted.inspect_err(failed).ok().map(|sessions| sessions.items)
    }
}

/// Returns whether `limit` sessions were created before this one. The resource version decides, since all gateways see the same
/// order; start times come from different clocks. A session that was written to since does not count: its end was requested.
fn is_excess(created: &BastionSession, active: &[Guarded<BastionSession>], limit: usize) -> bool {
    let parse = |version: Option<String>| version.and_then(|version| version.parse::<u64>().ok());
    let own = parse(created.resource_version());
    let before = |other: &&Guarded<BastionSession>| {
        other.uid() != created.uid() && (own.is_none() || parse(other.resource_version()) < own)
    };
    active.iter().filter(before).count() >= limit
}

fn count(limit: i32) -> usize {
    usize::try_from(limit).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn session(version: u64) -> BastionSession {
        serde_json::from_value(json!({
            "apiVersion": "bastion.dev/v1alpha1", "kind": "BastionSession",
            "metadata": { "name": format!("alice-web-1-{version}"), "uid": version.to_string(), "resourceVersion": version.to_string() },
            "spec": {
                "user": { "name": "alice", "subject": "bastion:alice" }, "target": "web-1", "login": "root", "protocol": "SSH",
                "client": { "address": "192.0.2.7", "port": 40000 },
                "gateway": { "name": "gateway-0", "instance": "gateway-0-abcdefghij" },
                "startTime": "2026-01-01T10:00:00.000000Z",
            },
        }))
        .unwrap()
    }

    proptest! {
        /// Any number of sessions is created at once. Each sees all earlier sessions and some of the later ones. Exactly as many
        /// as the limit allows remain.
        #[test]
        fn a_race_leaves_as_many_sessions_as_the_limit(
            number in 1..12u64,
            limit in 1..12usize,
            seen_later in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let all: Vec<_> = (1..=number).map(|at| session(at * 10)).collect();
            let listed: Vec<_> = all.iter().map(|session| Guarded(Ok(Arc::new(session.clone())))).collect();
            let remaining = all.iter().enumerate().filter(|(at, own)| {
                // A list after the own creation has all earlier sessions, and some of the later ones.
                let later = at + 1 + seen_later[*at].index(all.len() - at);
                !is_excess(own, &listed[..later], limit)
            });
            prop_assert_eq!(remaining.count(), limit.min(all.len()));
        }
    }
}
