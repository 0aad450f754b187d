//! Builds the BastionSession object of a new session.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::client::ClientSide;
use crate::api::{AUDIT_FINALIZER, BastionSession, BastionSessionSpec, Client, Gateway, Limits, User};
use crate::gateway::access::Grant;
use crate::gateway::instance::Instance;
use crate::leases::random_name;
use crate::recording::{SessionInfo, SessionRecording};
use crate::text::printable_up_to;

/// The longest `spec.client.software` that the schema accepts, in characters.
const MAX_SOFTWARE_CHARS: usize = 255;

/// Returns the description of the session for its recordings.
pub fn about(namespace: &str, name: &str, grant: &Grant, client: &ClientSide) -> SessionInfo {
    SessionInfo {
        namespace: namespace.to_owned(),
        session: name.to_owned(),
        user: grant.user.name_any(),
        target: grant.target.name_any(),
        login: grant.login.clone(),
        client: client.address(),
    }
}

/// Returns the object of a new session, with the audit finalizer.
pub fn object(
    name: &str,
    grant: &Grant,
    client: &ClientSide,
    instance: &Instance,
    recording: &SessionRecording,
    start: Timestamp,
) -> BastionSession {
    let Grant { user, target, login, .. } = grant;
    let mut session = BastionSession::new(
        name,
        BastionSessionSpec {
            user: User { name: user.name_any(), subject: user.subject(), groups: user.spec.groups.clone() },
            target: target.name_any(),
            login: login.clone(),
            protocol: client.protocol(),
            client: Client {
                address: client.address(),
                port: i32::from(client.peer.port()),
                software: Some(printable_up_to(&client.software, MAX_SOFTWARE_CHARS)),
            },
            gateway: Gateway { name: instance.pod.clone(), instance: instance.id.clone() },
            start_time: MicroTime(start),
            limits: Limits::stricter(target.spec.limits, user.spec.limits),
            recording: recording.plan(),
            termination: None,
        },
    );
    session.metadata = ObjectMeta { finalizers: Some(vec![AUDIT_FINALIZER.to_owned()]), ..session.metadata };
    session
}

/// Returns a new object name, `<user>-<target>-<random>`, of at most 253 characters.
pub fn session_name(grant: &Grant) -> Arc<str> {
    name_of(&grant.user.name_any(), &grant.target.name_any()).into()
}

fn name_of(user: &str, target: &str) -> String {
    let prefix: String = format!("{user}-{target}").chars().take(240).collect();
    format!("{}-{}", prefix.trim_end_matches(['-', '.']), random_name(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_at_most_253_characters_long() {
        let name = name_of("alice", "web-1");
        assert!(name.starts_with("alice-web-1-"), "{name}");
        assert_ne!(name, name_of("alice", "web-1"));
        let long = name_of(&"u".repeat(63), &"t".repeat(253));
        assert!(long.len() <= 253, "{}", long.len());
    }
}
