//! Whether a user may open web terminals on a target. There the cluster authenticates the user, and no key is shown, so the
//! restrictions of keys would not hold.

use super::key_line::KeyLine;
use crate::api::{BastionTarget, BastionUser};

/// Why a user may open no web terminal on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebTerminalBlocker {
    /// `spec.allow.web` of the target is false.
    #[error("this target allows no web terminals (spec.allow.web); connect with an SSH client")]
    Target,
    /// A line of `spec.publicKeys` of the user has restrictions, and the target does not set `spec.allow.web`.
    #[error(
        "your keys have restrictions that a web terminal cannot enforce (verify-required, command= or no-pty); connect with an \
         SSH client"
    )]
    Keys,
    /// A line of `spec.publicKeys` of the user cannot be parsed, so that its restrictions are unknown, and the target does not set
    /// `spec.allow.web`.
    #[error(
        "one of your keys (spec.publicKeys) cannot be read, and may have restrictions that a web terminal cannot enforce; connect \
         with an SSH client, or ask an administrator of the bastion to correct the line"
    )]
    UnreadableKey,
}

impl WebTerminalBlocker {
    /// Returns what keeps the user from web terminals on the target; `None` if nothing does.
    pub fn of(user: &BastionUser, target: &BastionTarget) -> Option<Self> {
        match target.spec.allow.web {
            Some(true) => None,
            Some(false) => Some(Self::Target),
            None => user.spec.public_keys.iter().find_map(|line| Self::of_key(line.as_str())),
        }
    }

    /// Returns the blocker for a line with restrictions that a web terminal would not enforce. Forwards are not among them: a web
    /// terminal has none. What a certificate itself restricts is not known here.
    fn of_key(line: &str) -> Option<Self> {
        let is_restricted = match KeyLine::parse(line) {
            Some(KeyLine::Own(_, presence)) => presence.verification,
            Some(KeyLine::Authority(authority)) => {
                let restrictions = &authority.restrictions;
                authority.presence.verification || restrictions.command.is_some() || !restrictions.pty
            }
            None => return Some(Self::UnreadableKey),
        };
        is_restricted.then_some(Self::Keys)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[rstest]
    #[case::no_keys(None, None, None)]
    #[case::a_key(Some(""), None, None)]
    #[case::no_forwards(Some("cert-authority,no-port-forwarding,no-agent-forwarding "), None, None)]
    #[case::no_touch(Some("cert-authority,no-touch-required "), None, None)]
    #[case::verify_required(Some("cert-authority,verify-required "), None, Some(WebTerminalBlocker::Keys))]
    #[case::command(Some("cert-authority,command=\"id\" "), None, Some(WebTerminalBlocker::Keys))]
    #[case::no_pty(Some("cert-authority,no-pty "), None, Some(WebTerminalBlocker::Keys))]
    #[case::an_option_of_a_later_version(
        Some("cert-authority,source-address=\"10.0.0.0/8\" "),
        None,
        Some(WebTerminalBlocker::UnreadableKey)
    )]
    #[case::an_option_of_the_wrong_kind_of_line(Some("command=\"id\" "), None, Some(WebTerminalBlocker::UnreadableKey))]
    #[case::unreadable_and_permitted_by_the_target(Some("command=\"id\" "), Some(true), None)]
    #[case::permitted_by_the_target(Some("cert-authority,no-pty "), Some(true), None)]
    #[case::forbidden_by_the_target(Some(""), Some(false), Some(WebTerminalBlocker::Target))]
    fn restrictions_of_keys_keep_a_user_from_web_terminals(
        #[case] options: Option<&str>,
        #[case] web: Option<bool>,
        #[case] expected: Option<WebTerminalBlocker>,
    ) {
        let keys: Vec<String> = options.into_iter().map(|options| format!("{options}{KEY}")).collect();
        let object = |kind: &str, spec| json!({"apiVersion": "bastion.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        let user = serde_json::from_value(object("BastionUser", json!({"publicKeys": keys}))).unwrap();
        let allow = web.map_or_else(|| json!({}), |web| json!({"web": web}));
        let target = json!({
            "address": "192.0.2.1", "hostKeys": [], "logins": ["root"], "credentials": {"privateKey": {"name": "key"}}, "allow": allow,
        });
        let target = serde_json::from_value(object("BastionTarget", target)).unwrap();
        assert_eq!(WebTerminalBlocker::of(&user, &target), expected);
    }

    #[test]
    fn a_security_key_that_must_verify_its_user_is_restricted() {
        let key = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABHNzaDo=";
        assert_eq!(WebTerminalBlocker::of_key(key), None);
        assert_eq!(WebTerminalBlocker::of_key(&format!("verify-required {key}")), Some(WebTerminalBlocker::Keys));
    }
}
