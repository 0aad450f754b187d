//! Ends sessions whose access was revoked.
//!
//! What the gateway knows itself (users, keys, targets, logins) is checked first and apart: it needs no answer of the API
//! server, so that a disabled user does not wait for the reviews of other users' rights.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

use super::access_error::AccessError;
use super::directory::{Directory, Grant};
use crate::gateway::instance::{CurrentInstance, Instance};
use crate::gateway::session::Registry;
use crate::lifecycle::{ACCESS_CHECK_INTERVAL, Cause};

/// How often the facts are checked without a change, since users expire.
const FACTS_INTERVAL: Duration = Duration::from_secs(2);
/// How many grants are reviewed at once.
const REVIEW_CONCURRENCY: usize = 16;

/// Checks the access of all sessions until it is dropped, and ends those whose access was revoked.
pub async fn end_revoked_sessions(directory: &Directory, instance: &CurrentInstance) {
    tokio::join!(check_facts(directory, instance), check_rights(directory, instance));
}

/// Checks the facts at each change of a user or target, and every 2 s.
async fn check_facts(directory: &Directory, instance: &CurrentInstance) {
    let mut changes = directory.changes();
    loop {
        changed_within(&mut changes, FACTS_INTERVAL).await;
        let Some(instance) = instance.now() else { continue };
        for (grant, names) in grants(&instance) {
            if let Err(reason) = directory.check_facts(&grant) {
                revoke(&instance.registry, &names, &reason);
            }
            // A gateway may carry thousands of grants, and other tasks of this thread wait meanwhile.
            tokio::task::consume_budget().await;
        }
    }
}

/// Checks the rights, at each change of a user or target and every 30 s. Of changes during a check, one more check follows.
async fn check_rights(directory: &Directory, instance: &CurrentInstance) {
    let mut changes = directory.changes();
    loop {
        changed_within(&mut changes, ACCESS_CHECK_INTERVAL).await;
        let Some(instance) = instance.now() else { continue };
        let reviews =
            stream::iter(grants(&instance)).for_each_concurrent(REVIEW_CONCURRENCY, async |(grant, names)| {
                if let Err(reason) = directory.check_right(&grant).await {
                    revoke(&instance.registry, &names, &reason);
                }
            });
        reviews.await;
    }
}

/// Waits for a change of a user or target, at most for this time.
async fn changed_within(changes: &mut watch::Receiver<()>, time: Duration) {
    // The directory holds the sender in the tasks that keep its objects, so a closed channel means that the program exits.
    if let Ok(Err(_)) = timeout(time, changes.changed()).await {
        std::future::pending::<()>().await;
    }
}

/// Returns each combination of user, key, target and login once, with the names of its sessions.
fn grants(instance: &Arc<Instance>) -> Vec<(Grant, Vec<String>)> {
    let mut sessions: HashMap<_, (Grant, Vec<String>)> = HashMap::new();
    for (name, grant) in instance.registry.grants() {
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
