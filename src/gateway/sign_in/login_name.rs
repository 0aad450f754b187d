//! The user name that clients send: user, login and target in one, as in `ssh alice+root@web-1@gateway`.
//!
//! The first `+` or `:` ends the user, and the last `@` after it begins the target. Users and targets are names of
//! Kubernetes objects, which hold none of these characters, and a login holds no `:` or `@`. So a login may hold a `+`,
//! and each name has one reading. The documentation uses `+`, because scp, sftp, rsync and git read a `:` as the end of
//! the host.

use std::fmt;
use std::str::FromStr;

/// What ends the user in a sign-in name.
const SEPARATORS: [char; 2] = ['+', ':'];

/// A parsed sign-in name. `Display` formats it with `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInName {
    /// The BastionUser.
    pub user: String,
    /// The login on the target; the target's first where none is given.
    pub login: Option<String>,
    /// The BastionTarget, where one is named.
    pub target: Option<String>,
}

/// Why a sign-in name cannot be taken apart. The text says what to type instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No user before the separator.
    #[error("the sign-in name begins with no user; write user+target or user+login@target")]
    NoUser,
    /// Characters that no user's name has.
    #[error("the user's name may hold lower-case letters, digits, '-' and '.' only")]
    BadUser,
    /// An `@` without a separator before it.
    #[error("the sign-in name has no '+'; write user+target or user+login@target")]
    NoSeparator,
    /// Nothing before the `@`.
    #[error("the sign-in name has no login before the '@'; leave out the '@' to take the target's first login")]
    NoLogin,
    /// Characters that no login has.
    #[error("the login may hold no ':', '@' or white space")]
    BadLogin,
    /// Nothing behind the separator or the `@`.
    #[error("the sign-in name ends with no target; write user+target or user+login@target")]
    NoTarget,
    /// Characters that no target's name has.
    #[error("the target's name may hold lower-case letters, digits, '-' and '.' only")]
    BadTarget,
}

impl SignInName {
    /// Returns the sign-in name of a user, with a target and a login where they are given.
    pub fn new(user: impl Into<String>, login: Option<&str>, target: Option<&str>) -> Self {
        Self { user: user.into(), login: login.map(str::to_owned), target: target.map(str::to_owned) }
    }

    /// The user in a name that may be malformed behind it, so that the user can be told what is wrong after they
    /// have shown who they are.
    pub fn user_of(text: &str) -> &str {
        text.split(['+', ':', '@']).next().unwrap_or_default()
    }
}

impl fmt::Display for SignInName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, login, target } = self;
        match (login, target) {
            (_, None) => formatter.write_str(user),
            (None, Some(target)) => write!(formatter, "{user}+{target}"),
            (Some(login), Some(target)) => write!(formatter, "{user}+{login}@{target}"),
        }
    }
}

impl FromStr for SignInName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (user, rest) = match text.split_once(SEPARATORS) {
            Some((user, rest)) => (user, Some(rest)),
            None if text.contains('@') => return Err(Malformed::NoSeparator),
            None => (text, None),
        };
        if user.is_empty() {
            return Err(Malformed::NoUser);
        }
        if !is_object_name(user) {
            return Err(Malformed::BadUser);
        }
        let Some(rest) = rest else {
            return Ok(Self { user: user.to_owned(), login: None, target: None });
        };
        let (login, target) = match rest.rsplit_once('@') {
            Some((login, target)) => (Some(login), target),
            None => (None, rest),
        };
        match login {
            Some("") => return Err(Malformed::NoLogin),
            Some(login) if login.contains([':', '@']) || login.contains(char::is_whitespace) => {
                return Err(Malformed::BadLogin);
            }
            _ => {}
        }
        if target.is_empty() {
            return Err(Malformed::NoTarget);
        }
        if !is_object_name(target) {
            return Err(Malformed::BadTarget);
        }
        Ok(Self { user: user.to_owned(), login: login.map(str::to_owned), target: Some(target.to_owned()) })
    }
}

/// Whether Kubernetes could have an object of this name.
fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("alice", Ok(SignInName::new("alice", None, None)))]
    #[case("alice+web-1", Ok(SignInName::new("alice", None, Some("web-1"))))]
    #[case("alice:web-1", Ok(SignInName::new("alice", None, Some("web-1"))))]
    #[case("alice+root@web-1", Ok(SignInName::new("alice", Some("root"), Some("web-1"))))]
    #[case("alice:root@web-1", Ok(SignInName::new("alice", Some("root"), Some("web-1"))))]
    #[case("alice+CORP\\bob@web-1.dc2", Ok(SignInName::new("alice", Some("CORP\\bob"), Some("web-1.dc2"))))]
    #[case("alice+ro+ot@web-1", Ok(SignInName::new("alice", Some("ro+ot"), Some("web-1"))))]
    #[case("alice:+root@web-1", Ok(SignInName::new("alice", Some("+root"), Some("web-1"))))]
    #[case("", Err(Malformed::NoUser))]
    #[case(":web-1", Err(Malformed::NoUser))]
    #[case("+web-1", Err(Malformed::NoUser))]
    #[case("Alice+web-1", Err(Malformed::BadUser))]
    #[case("root@web-1", Err(Malformed::NoSeparator))]
    #[case("root@web-1+alice", Err(Malformed::BadUser))]
    #[case("alice:", Err(Malformed::NoTarget))]
    #[case("alice+", Err(Malformed::NoTarget))]
    #[case("alice+root@", Err(Malformed::NoTarget))]
    #[case("alice+@web-1", Err(Malformed::NoLogin))]
    #[case("alice+a@b@web-1", Err(Malformed::BadLogin))]
    #[case("alice:ro:ot@web-1", Err(Malformed::BadLogin))]
    #[case("alice+ro:ot@web-1", Err(Malformed::BadLogin))]
    #[case("alice+ro ot@web-1", Err(Malformed::BadLogin))]
    #[case("alice+root@Web_1", Err(Malformed::BadTarget))]
    #[case("alice+web-1+root", Err(Malformed::BadTarget))]
    #[case("alice:web-1\n", Err(Malformed::BadTarget))]
    fn is_taken_apart(#[case] text: &str, #[case] expected: Result<SignInName, Malformed>) {
        assert_eq!(text.parse(), expected);
    }

    proptest! {
        #[test]
        fn a_formatted_name_is_parsed_with_either_separator(
            separator in "[+:]",
            user in "[a-z0-9][a-z0-9.-]{0,20}",
            login in proptest::option::of("[^:@\\s]{1,20}"),
            target in "[a-z0-9][a-z0-9.-]{0,20}",
        ) {
            let text = match &login {
                Some(login) => format!("{user}{separator}{login}@{target}"),
                None => format!("{user}{separator}{target}"),
            };
            let name = SignInName::new(&user, login.as_deref(), Some(&target));
            prop_assert_eq!(text.parse(), Ok(name.clone()));
            prop_assert_eq!(SignInName::user_of(&text), &user);
            prop_assert_eq!(name.to_string(), text.replacen(&separator, "+", 1));
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[a-z+:@]{0,12}|.*") {
            let _ = text.parse::<SignInName>();
            let _ = SignInName::user_of(&text);
        }
    }
}
