//! Sign-in names: what can be taken apart and put together again is the same name.

use bastion_operator::gateway::SignInName;

/// Takes it apart.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let user = SignInName::user_of(text);
    let Ok(name) = text.parse::<SignInName>() else { return };
    assert_eq!(name.user, user);
    let SignInName { user, login, target } = &name;
    let printed = match (login, target) {
        (None, None) => user.clone(),
        (None, Some(target)) => format!("{user}:{target}"),
        (Some(login), Some(target)) => format!("{user}:{login}@{target}"),
        (Some(_), None) => panic!("a login without a target"),
    };
    assert_eq!(printed, text);
    assert_eq!(printed.parse(), Ok(name));
}
