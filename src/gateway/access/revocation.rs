//! Ends sessions whose access was revoked. It checks after each change of a user or target, and periodically for RBAC.

use std::collections::HashMap;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::access_error::AccessError;
use super::directory::{Directory, Grant};
use crate::gateway::instance::CurrentInstance;
use crate::gateway::session::Registry;
use crate::lifecycle::{ACCESS_CHECK_INTERVAL, Cause};

/// Checks the access of all sessions until it is dropped, and ends those whose access was revoked.
pub async fn end_revoked_sessions(directory: &Directory, instance: &CurrentInstance) {
    let mut next_check = Instant::now() + ACCESS_CHECK_INTERVAL;
    loop {
        tokio::select! {
            () = directory.changed() => {}
            () = sleep_until(next_check) => next_check = Instant::now() + ACCESS_CHECK_INTERVAL,
        }
        check(directory, instance).await;
    }
}

/// Checks each combination of user, key, target and login once, for all its sessions.
async fn check(directory: &Directory, instance: &CurrentInstance) {
    let Some(instance) = instance.now() else { return };
    let mut sessions: HashMap<_, (Grant, Vec<String>)> = HashMap::new();
    for (name, grant) in instance.registry.grants() {
        sessions.entry(grant.identity()).or_insert_with(|| (grant, Vec::new())).1.push(name);
    }
    for (grant, names) in sessions.into_values() {
        if let Err(reason) = directory.check_grant(&grant).await {
            revoke(&instance.registry, &names, &reason);
        }
    }
}

fn revoke(registry: &Registry, names: &[String], reason: &AccessError) {
    for name in names {
        info!(session = name, %reason, "access revoked; the session ends");
        registry.end(name, &Cause::AccessRevoked(reason.to_string()));
    }
}
