//! Looks again and again whether those who are in still may be: when a user or a target changes, and now and then
//! for RBAC, which tells nobody of its changes.

use std::collections::HashMap;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::access_error::AccessError;
use super::directory::{Directory, Grant};
use crate::gateway::instance::CurrentInstance;
use crate::gateway::session::Registry;
use crate::lifecycle::{ACCESS_LOOK_EVERY, Cause};

/// Ends sessions whose access was revoked, for as long as it is polled.
pub async fn end_revoked_sessions(directory: &Directory, instance: &CurrentInstance) {
    let mut next_look = Instant::now() + ACCESS_LOOK_EVERY;
    loop {
        tokio::select! {
            () = directory.changed() => {}
            () = sleep_until(next_look) => next_look = Instant::now() + ACCESS_LOOK_EVERY,
        }
        look(directory, instance).await;
    }
}

/// Asks once for each user, key, target and login, however many sessions they have.
async fn look(directory: &Directory, instance: &CurrentInstance) {
    let Some(instance) = instance.now() else { return };
    let mut sessions: HashMap<_, (Grant, Vec<String>)> = HashMap::new();
    for (name, grant) in instance.registry.grants() {
        sessions.entry(grant.identity()).or_insert_with(|| (grant, Vec::new())).1.push(name);
    }
    for (grant, names) in sessions.into_values() {
        if let Err(reason) = directory.still_granted(&grant).await {
            revoke(&instance.registry, &names, &reason);
        }
    }
}

fn revoke(registry: &Registry, names: &[String], reason: &AccessError) {
    for name in names {
        info!(session = name, %reason, "access revoked");
        registry.end(name, &Cause::AccessRevoked(reason.to_string()));
    }
}
