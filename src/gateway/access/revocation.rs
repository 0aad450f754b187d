//! Ends sessions whose access was revoked.
//!
//! What the gateway knows itself (users, keys, targets, logins) is checked first and apart: it needs no answer of the API
//! server, so that a disabled user does not wait for the reviews of other users' rights. A change of a user or target leads to
//! a check of the sessions that rest on it. A session checks its grant itself once it is registered, so that no change between
//! its admission and its registration is missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::info;

use super::access_error::AccessError;
use super::changes::Touched;
use super::directory::{Directory, Grant};
use crate::gateway::instance::{CurrentInstance, Instance};
use crate::gateway::session::Registry;
use crate::lifecycle::{ACCESS_CHECK_INTERVAL, Cause};

/// The longest time until the next expiry is computed again, since the system's clock may be set.
const MAX_EXPIRY_WAIT: Duration = Duration::from_secs(30);
/// How many grants are reviewed at once.
const REVIEW_CONCURRENCY: usize = 16;

/// Checks the access of all sessions until it is dropped, and ends those whose access was revoked.
pub async fn end_revoked_sessions(directory: &Directory, instance: &CurrentInstance) {
    tokio::join!(check_facts(directory, instance), check_rights(directory, instance));
}

/// Checks the facts of sessions whose user or target changes or whose user expires.
async fn check_facts(directory: &Directory, instance: &CurrentInstance) {
    let (mut changes, mut checked) = (directory.changes(), Timestamp::now());
    loop {
        let mut touched = tokio::select! {
            touched = changes.next() => touched,
            () = sleep(expiry_wait(directory.next_expiry(checked), Timestamp::now())) => Touched::default(),
        };
        let now = Timestamp::now();
        touched.add_users(directory.users_expired_within(checked, now));
        checked = now;
        let Some(instance) = instance.now() else { continue };
        for (grant, names) in grants(&instance, &touched) {
            if let Err(reason) = directory.check_facts(&grant) {
                revoke(&instance.registry, &names, &reason);
            }
            // A gateway may carry thousands of grants, and other tasks of this thread wait meanwhile.
            tokio::task::consume_budget().await;
        }
    }
}

/// Checks the rights of sessions whose user or target changes, and those of all sessions every 30 s, since RBAC may change.
/// Changes during a check lead to another check.
async fn check_rights(directory: &Directory, instance: &CurrentInstance) {
    let mut changes = directory.changes();
    let mut rounds = interval(ACCESS_CHECK_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let touched = tokio::select! {
            biased;
            _ = rounds.tick() => Touched::all(),
            touched = changes.next() => touched,
        };
        let Some(instance) = instance.now() else { continue };
        let reviews = stream::iter(grants(&instance, &touched)).for_each_concurrent(
            REVIEW_CONCURRENCY,
            async |(grant, names)| {
                if let Err(reason) = directory.check_right(&grant).await {
                    revoke(&instance.registry, &names, &reason);
                }
            },
        );
        reviews.await;
    }
}

/// Returns how long to wait for the next expiry of a user. It may have passed since it was computed.
fn expiry_wait(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    wait.unwrap_or(MAX_EXPIRY_WAIT).min(MAX_EXPIRY_WAIT)
}

/// Returns each combination of user, key, target and login once, with the names of its sessions, as far as they are touched.
fn grants(instance: &Arc<Instance>, touched: &Touched) -> Vec<(Grant, Vec<String>)> {
    let mut sessions: HashMap<_, (Grant, Vec<String>)> = HashMap::new();
    for (name, grant) in instance.registry.grants(|grant| touched.includes(&grant.user, &grant.target)) {
        sessions.entry(grant.identity()).or_insert_with(|| (grant, Vec::new())).1.push(name);
    }
    sessions.into_values().collect()
}

fn revoke(registry: &Registry, names: &[String], reason: &AccessError) {
    for name in names {
        info!(session = name, %reason, "access revoked; the session ends");
        registry.end(name, &Cause::AccessRevoked(reason.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_user_expires(None, 30_000)]
    #[case::soon(Some("2026-01-01T10:00:00.5Z"), 500)]
    #[case::late(Some("2027-01-01T00:00:00Z"), 30_000)]
    #[case::at_once(Some("2026-01-01T10:00:00Z"), 0)]
    #[case::passed_meanwhile(Some("2026-01-01T09:59:59Z"), 0)]
    fn an_expiry_is_waited_for(#[case] next: Option<&str>, #[case] milliseconds: u64) {
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        let next = next.map(|text| text.parse().unwrap());
        assert_eq!(expiry_wait(next, now), Duration::from_millis(milliseconds));
    }
}
