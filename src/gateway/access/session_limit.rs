//! `maxSessions` of a user, over all gateways: the API server is asked, since it alone knows every session.

use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tracing::warn;

use super::refusal::Refusal;
use crate::api::{BastionSession, BastionUser};
use crate::cluster::{Guarded, REQUEST_TIMEOUT, RequestError, ask};
use crate::lifecycle::Cause;

/// Counts the sessions of users who have a limit.
#[derive(Clone)]
pub struct SessionLimit {
    sessions: Api<Guarded<BastionSession>>,
}

impl SessionLimit {
    /// Of the sessions that this API has.
    pub const fn new(sessions: Api<Guarded<BastionSession>>) -> Self {
        Self { sessions }
    }

    /// Whether the user may have one session more. Of several who ask at once all may hear yes; [`Self::surplus`] finds
    /// those who are too many.
    ///
    /// # Errors
    /// What the user reads.
    pub async fn room_for(&self, user: &BastionUser) -> Result<(), Refusal> {
        let Some(limit) = user.spec.max_sessions else { return Ok(()) };
        let active = self.active(&user.name_any()).await.ok_or(Refusal::RightsUnknown)?;
        if active.len() < count(limit) { Ok(()) } else { Err(Refusal::TooManySessions { limit }) }
    }

    /// Why a session that was just created must end, if it must: it is one too many.
    pub async fn surplus(&self, user: &BastionUser, created: &BastionSession) -> Option<Cause> {
        let limit = user.spec.max_sessions?;
        match self.active(&user.name_any()).await {
            Some(active) if is_surplus(created, &active, count(limit)) => {
                Some(Cause::AccessRevoked(Refusal::TooManySessions { limit }.to_string()))
            }
            Some(_) => None,
            None => Some(Cause::AccessRevoked(Refusal::RightsUnknown.to_string())),
        }
    }

    /// The user's Active sessions, as they are now. A session that cannot be read counts too: the API server selected it by
    /// user and phase.
    async fn active(&self, user: &str) -> Option<Vec<Guarded<BastionSession>>> {
        let selected = ListParams::default().fields(&format!("spec.user.name={user},status.phase=Active"));
        let counted = ask(REQUEST_TIMEOUT / 2, || self.sessions.list(&selected)).await;
        let failed = |error: &RequestError| warn!(user, %error, "the user's sessions could not be counted");
        counted.inspect_err(failed).ok().map(|sessions| sessions.items)
    }
}

/// Whether there were `limit` sessions before this one. The API server's own order of writes decides, which is the same for
/// whoever asks; start times are of several clocks, and one that is earlier may be seen later. A session that was written
/// to since (somebody has asked for its end) counts no more.
fn is_surplus(created: &BastionSession, active: &[Guarded<BastionSession>], limit: usize) -> bool {
    let number = |version: Option<String>| version.and_then(|version| version.parse::<u64>().ok());
    let own = number(created.resource_version());
    let before = |other: &&Guarded<BastionSession>| {
        other.uid() != created.uid() && (own.is_none() || number(other.resource_version()) < own)
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
        /// However many are created at once, and whatever each of them sees of those created after it, exactly as many stay
        /// as may.
        #[test]
        fn of_a_race_as_many_stay_as_may(
            number in 1..12u64,
            limit in 1..12usize,
            seen_later in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let all: Vec<_> = (1..=number).map(|at| session(at * 10)).collect();
            let listed: Vec<_> = all.iter().map(|session| Guarded(Ok(Arc::new(session.clone())))).collect();
            let stay = all.iter().enumerate().filter(|(at, own)| {
                // Who lists after its own creation sees all that were created before, and some of the others.
                let later = at + 1 + seen_later[*at].index(all.len() - at);
                !is_surplus(own, &listed[..later], limit)
            });
            prop_assert_eq!(stay.count(), limit.min(all.len()));
        }
    }
}
