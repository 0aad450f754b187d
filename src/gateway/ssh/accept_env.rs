//! Patterns for the environment variables that are passed to targets, like `AcceptEnv` of sshd.

use std::str::FromStr;

/// A pattern for variable names: a name, or a prefix followed by `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptEnv {
    /// Matches this name.
    Name(String),
    /// Matches names that begin with this prefix.
    Prefix(String),
}

impl AcceptEnv {
    /// Returns whether a variable of this name is passed on.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Name(accepted) => name == accepted,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// The error for a text that is not a pattern for variable names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a variable name, or a prefix followed by *, such as LC_*")]
pub struct AcceptEnvError;

impl FromStr for AcceptEnv {
    type Err = AcceptEnvError;

    fn from_str(text: &str) -> Result<Self, AcceptEnvError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(AcceptEnvError);
        }
        Ok(if name.len() < text.len() { Self::Prefix(name.to_owned()) } else { Self::Name(name.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("LANG", "LANG", true)]
    #[case("LANG", "LANGUAGE", false)]
    #[case("LC_*", "LC_ALL", true)]
    #[case("LC_*", "LD_PRELOAD", false)]
    fn a_pattern_accepts_matching_names(#[case] pattern: &str, #[case] name: &str, #[case] accepted: bool) {
        assert_eq!(pattern.parse::<AcceptEnv>().unwrap().accepts(name), accepted);
    }

    #[rstest]
    #[case("")]
    #[case("*")]
    #[case("L*NG")]
    #[case("A=B")]
    fn other_text_is_not_a_pattern(#[case] pattern: &str) {
        assert!(pattern.parse::<AcceptEnv>().unwrap_err().to_string().contains("LC_*"));
    }
}
