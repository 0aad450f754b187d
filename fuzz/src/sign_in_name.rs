//! Checks that a parsed sign-in name is formatted as the same name, with `+` as its separator.

use bastion_operator::gateway::SignInName;

/// Takes it apart.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let user = SignInName::user_of(text);
    let Ok(name) = text.parse::<SignInName>() else { return };
    assert_eq!(name.user, user);
    assert!(name.login.is_none() || name.target.is_some(), "a login without a target");
    let printed = name.to_string();
    let separator_at = user.len();
    assert_eq!(printed.get(..separator_at), text.get(..separator_at));
    assert_eq!(printed.get(separator_at + 1..), text.get(separator_at + 1..));
    assert_eq!(printed.parse(), Ok(name));
}
