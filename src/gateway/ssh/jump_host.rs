//! Explains to users of `ssh -J GATEWAY HOST` that the gateway is not a jump host, and what to type.

use crate::gateway::sign_in::SignInName;

/// The SSH port. A local forward to this port is probably a jump (`ssh -J`).
pub const SSH_PORT: u16 = 22;

/// The most characters of a host name in the notice.
const MAX_HOST_SHOWN: usize = 64;

/// The target whose address is a given host name or IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// The target's name.
    pub target: String,
    /// One of the target's logins.
    pub login: String,
}

/// Returns the notice for a user whose sign-in name has no target. `resolved` is the target for `host`, if there is one.
pub fn without_target(user: &str, host: &str, resolved: Option<&ResolvedTarget>) -> String {
    if let Some(ResolvedTarget { target, login }) = resolved {
        return notice(&SignInName::new(user, Some(login), Some(target)).to_string());
    }
    let host: String = host.chars().take(MAX_HOST_SHOWN).collect();
    let notice = notice(&SignInName::new(user, Some("LOGIN"), Some("TARGET")).to_string());
    format!("{notice} (there is no target {host:?} that you may use)")
}

/// Returns the notice for a user whose sign-in name has a target.
pub fn with_target(sign_in_name: &str) -> String {
    let normalized = sign_in_name.parse::<SignInName>().map(|name| name.to_string());
    notice(normalized.as_deref().unwrap_or(sign_in_name))
}

fn notice(sign_in_name: &str) -> String {
    format!(
        "bastion: this is not a jump host; it signs in to targets itself. Without -J, type: ssh {sign_in_name}@GATEWAY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_names_the_command_to_type() {
        let resolved = ResolvedTarget { target: "web-1".to_owned(), login: "root".to_owned() };
        assert!(without_target("alice", "192.0.2.7", Some(&resolved)).ends_with("type: ssh alice+root@web-1@GATEWAY"));
        for typed in ["alice+web-1", "alice:web-1"] {
            assert!(with_target(typed).ends_with("type: ssh alice+web-1@GATEWAY"));
        }
        let unknown = without_target("alice", "web-9", None);
        assert!(unknown.ends_with("ssh alice+LOGIN@TARGET@GATEWAY (there is no target \"web-9\" that you may use)"));
    }

    #[test]
    fn the_notice_fits_into_a_channel_open_failure() {
        let unknown = without_target("alice", &"x".repeat(255), None);
        assert!(unknown.len() <= 255, "{}", unknown.len());
    }
}
