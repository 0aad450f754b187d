//! Which of the variables that a client sends are passed to targets, as `AcceptEnv` has it for sshd.

use std::str::FromStr;

/// The name of a variable, or with a `*` behind it the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptEnv {
    /// A name.
    Name(String),
    /// What names begin with.
    Beginning(String),
}

impl AcceptEnv {
    /// Whether a variable of this name is passed on.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => name == own,
            Self::Beginning(beginning) => name.starts_with(beginning.as_str()),
        }
    }
}

impl FromStr for AcceptEnv {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(usual) {
            return Err("must be the name of a variable, with a * behind it if the name goes on: LC_*".to_owned());
        }
        Ok(if name.len() < text.len() { Self::Beginning(name.to_owned()) } else { Self::Name(name.to_owned()) })
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
    fn passes_what_is_listed(#[case] pattern: &str, #[case] name: &str, #[case] passes: bool) {
        assert_eq!(pattern.parse::<AcceptEnv>().unwrap().accepts(name), passes);
    }

    #[rstest]
    #[case("")]
    #[case("*")]
    #[case("L*NG")]
    #[case("A=B")]
    fn takes_nothing_else(#[case] pattern: &str) {
        assert!(pattern.parse::<AcceptEnv>().unwrap_err().contains("LC_*"));
    }
}
