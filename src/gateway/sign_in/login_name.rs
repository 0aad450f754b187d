//! Parses sign-in names: user, login and target in one SSH user name, as in `ssh alice+root@web-1@gateway`.
//!
//! The first `+` or `:` ends the user, and the last `@` after it starts the target. Users and targets are names of
//! Kubernetes objects, which contain none of these characters. A login contains no `:` or `@`, but may contain a `+`. Each
//! sign-in name can therefore be read in only one way. The documentation uses `+`, because scp, sftp, rsync and git take a `:`
//! for the end of the host.

use std::fmt;
use std::str::FromStr;

/// The length in bytes to which a sign-in name is cut. Every valid name is shorter: a user has at most 63 characters, a
/// login 64 and a target 253. A client may send a name of 256 KiB, which must not fill logs and Events.
const MAX_LENGTH: usize = 640;

/// The characters that end the user in a sign-in name.
const SEPARATORS: [char; 2] = ['+', ':'];

/// A parsed sign-in name. `Display` formats it with `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInName {
    /// The name of the BastionUser.
    pub user: String,
    /// The login on the target. The default is the target's first login.
    pub login: Option<String>,
    /// The name of the BastionTarget. Without it, the user chooses one in the menu.
    pub target: Option<String>,
}

/// A sign-in name cannot be parsed. The text tells the user what to type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInNameError {
    /// The user before the separator is empty.
    #[error("the sign-in name has no user before the separator; write user+target or user+login@target")]
    NoUser,
    /// The user contains characters that object names do not.
    #[error("the user's name may contain only lower-case letters, digits, '-' and '.'")]
    BadUser,
    /// An `@` has no separator before it.
    #[error("the sign-in name has no '+'; write user+target or user+login@target")]
    NoSeparator,
    /// The login before the `@` is empty.
    #[error("the sign-in name has no login before the '@'; omit the '@' to use the target's first login")]
    NoLogin,
    /// The login contains forbidden characters.
    #[error("the login must not contain ':', '@' or white space")]
    BadLogin,
    /// The target after the separator or the `@` is empty.
    #[error("the sign-in name has no target at its end; write user+target or user+login@target")]
    NoTarget,
    /// The target contains characters that object names do not.
    #[error("the target's name may contain only lower-case letters, digits, '-' and '.'")]
    BadTarget,
}

impl SignInName {
    /// Returns the sign-in name of a user, with an optional login and target.
    pub fn new(user: impl Into<String>, login: Option<&str>, target: Option<&str>) -> Self {
        Self { user: user.into(), login: login.map(str::to_owned), target: target.map(str::to_owned) }
    }

    /// Returns the name, cut to at most 640 bytes at the boundary of a character.
    pub fn cut(text: &str) -> &str {
        &text[..text.floor_char_boundary(MAX_LENGTH)]
    }

    /// Returns the user in a name. The rest of the name may be malformed, so that the user can authenticate and then read
    /// what is wrong.
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
    type Err = SignInNameError;

    fn from_str(text: &str) -> Result<Self, SignInNameError> {
        let (user, rest) = match text.split_once(SEPARATORS) {
            Some((user, rest)) => (user, Some(rest)),
            None if text.contains('@') => return Err(SignInNameError::NoSeparator),
            None => (text, None),
        };
        if user.is_empty() {
            return Err(SignInNameError::NoUser);
        }
        if !is_object_name(user) {
            return Err(SignInNameError::BadUser);
        }
        let Some(rest) = rest else {
            return Ok(Self { user: user.to_owned(), login: None, target: None });
        };
        let (login, target) = match rest.rsplit_once('@') {
            Some((login, target)) => (Some(login), target),
            None => (None, rest),
        };
        match login {
            Some("") => return Err(SignInNameError::NoLogin),
            Some(login) if login.contains([':', '@']) || login.contains(char::is_whitespace) => {
                return Err(SignInNameError::BadLogin);
            }
            _ => {}
        }
        if target.is_empty() {
            return Err(SignInNameError::NoTarget);
        }
        if !is_object_name(target) {
            return Err(SignInNameError::BadTarget);
        }
        Ok(Self { user: user.to_owned(), login: login.map(str::to_owned), target: Some(target.to_owned()) })
    }
}

/// Returns whether a Kubernetes object could have this name: at most 253 characters, as in DNS subdomains (RFC 1123).
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
    #[case("", Err(SignInNameError::NoUser))]
    #[case(":web-1", Err(SignInNameError::NoUser))]
    #[case("+web-1", Err(SignInNameError::NoUser))]
    #[case("Alice+web-1", Err(SignInNameError::BadUser))]
    #[case("root@web-1", Err(SignInNameError::NoSeparator))]
    #[case("root@web-1+alice", Err(SignInNameError::BadUser))]
    #[case("alice:", Err(SignInNameError::NoTarget))]
    #[case("alice+", Err(SignInNameError::NoTarget))]
    #[case("alice+root@", Err(SignInNameError::NoTarget))]
    #[case("alice+@web-1", Err(SignInNameError::NoLogin))]
    #[case("alice+a@b@web-1", Err(SignInNameError::BadLogin))]
    #[case("alice:ro:ot@web-1", Err(SignInNameError::BadLogin))]
    #[case("alice+ro:ot@web-1", Err(SignInNameError::BadLogin))]
    #[case("alice+ro ot@web-1", Err(SignInNameError::BadLogin))]
    #[case("alice+root@Web_1", Err(SignInNameError::BadTarget))]
    #[case("alice+web-1+root", Err(SignInNameError::BadTarget))]
    #[case("alice:web-1\n", Err(SignInNameError::BadTarget))]
    fn a_sign_in_name_is_parsed(#[case] text: &str, #[case] expected: Result<SignInName, SignInNameError>) {
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
        fn no_text_makes_the_parser_panic(text in "[a-z+:@]{0,12}|.*") {
            let _ = text.parse::<SignInName>();
            let _ = SignInName::user_of(&text);
        }
    }
}
