//! What somebody reads who takes the gateway for a jump host (`ssh -J GATEWAY HOST`), which asks it for a TCP connection
//! where it would sign in by itself.

use crate::gateway::sign_in::SignInName;

/// The port by which a forward is taken for a jump.
pub const SSH_PORT: u16 = 22;

/// How much of a host's name is repeated.
const LONGEST_HOST: usize = 64;

/// A target that somebody means by a host's name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// The target.
    pub target: String,
    /// A login of it.
    pub login: String,
}

/// For a user who named no target: which one is it, as far as the host tells?
pub fn without_target(user: &str, host: &str, meant: Option<&ResolvedTarget>) -> String {
    if let Some(ResolvedTarget { target, login }) = meant {
        return instead(&SignInName::new(user, Some(login), Some(target)).to_string());
    }
    let host: String = host.chars().take(LONGEST_HOST).collect();
    let other = instead(&SignInName::new(user, Some("LOGIN"), Some("TARGET")).to_string());
    format!("{other} (there is no target {host:?} that you may use)")
}

/// Returns the words for a user who has a session, and so a sign-in name with a target.
pub fn with_target(sign_in_name: &str) -> String {
    let taught = sign_in_name.parse::<SignInName>().map(|name| name.to_string());
    instead(taught.as_deref().unwrap_or(sign_in_name))
}

fn instead(sign_in_name: &str) -> String {
    format!(
        "bastion: this is no jump host, it signs in to targets itself; without -J, type: ssh {sign_in_name}@GATEWAY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_reads_what_to_type() {
        let meant = ResolvedTarget { target: "web-1".to_owned(), login: "root".to_owned() };
        assert!(without_target("alice", "192.0.2.7", Some(&meant)).ends_with("type: ssh alice+root@web-1@GATEWAY"));
        for typed in ["alice+web-1", "alice:web-1"] {
            assert!(with_target(typed).ends_with("type: ssh alice+web-1@GATEWAY"));
        }
        let unknown = without_target("alice", "web-9", None);
        assert!(unknown.ends_with("ssh alice+LOGIN@TARGET@GATEWAY (there is no target \"web-9\" that you may use)"));
    }

    #[test]
    fn a_client_has_room_for_it() {
        let unknown = without_target("alice", &"x".repeat(255), None);
        assert!(unknown.len() <= 255, "{}", unknown.len());
    }
}
