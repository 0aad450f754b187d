//! What consoles and pages send to the observers' port: pings, and the person on whose behalf a console asks, who has no name or
//! group of Kubernetes' own.

use bastion_operator::gateway::fuzzing::observers;

/// Reads it as a message of a page, and as a person.
pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && observers::is_message(text)
    {
        assert!(text.contains("ping"), "{text:?}");
    }
    observers::person(data);
}
