//! Parses the lines of a user's `spec.publicKeys`: the user's keys, and certificate authorities.

use russh::keys::ssh_key::PublicKey;

use super::key_restrictions::KeyRestrictions;
use super::presence::PresenceRequirement;

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLine {
    /// A key that the user signs in with, and what its signatures must assert.
    Own(PublicKey, PresenceRequirement),
    /// `cert-authority`: a key whose certificates the user may sign in with.
    Authority(Authority),
}

/// A certificate authority that one user trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The key that signs certificates.
    pub key: PublicKey,
    /// `principals="a,b"`: a certificate must name one of these. Without the option, it must name the user.
    pub principals: Option<Vec<String>>,
    /// Limits what the certificates permit.
    pub restrictions: KeyRestrictions,
    /// The required assertions of signatures, in addition to the certificate's own requirement.
    pub presence: PresenceRequirement,
}

impl KeyLine {
    /// Parses a line. Returns `None` for a line that the schema accepts but that contains no key or an unknown option.
    pub fn parse(line: &str) -> Option<Self> {
        let Some(rest) = line.strip_prefix("cert-authority") else { return Self::parse_own(line) };
        let (options, key) = split_options(rest)?;
        let key = PublicKey::from_openssh(key).ok()?;
        let mut authority = Authority {
            key,
            principals: None,
            restrictions: KeyRestrictions::UNRESTRICTED,
            presence: PresenceRequirement::DEFAULT,
        };
        for option in options.iter().filter(|option| !option.is_empty()) {
            authority.apply(option)?;
        }
        Some(Self::Authority(authority))
    }

    fn parse_own(line: &str) -> Option<Self> {
        let mut presence = PresenceRequirement::DEFAULT;
        if let Ok(key) = PublicKey::from_openssh(line) {
            return Some(Self::Own(key, presence));
        }
        let (options, key) = split_options(line)?;
        let all_known = options.iter().all(|option| presence.apply(option));
        PublicKey::from_openssh(key).ok().filter(|_| all_known).map(|key| Self::Own(key, presence))
    }
}

impl Authority {
    /// Applies an option. Returns `None` for an unknown option, which invalidates the whole line.
    fn apply(&mut self, option: &str) -> Option<()> {
        match option.split_once('=') {
            Some(("principals", names)) => self.principals = Some(names.split(',').map(str::to_owned).collect()),
            Some(("command", command)) => self.restrictions.command = Some(command.to_owned()),
            None if option == "no-pty" => self.restrictions.pty = false,
            None if option == "no-port-forwarding" => self.restrictions.port_forwarding = false,
            None if option == "no-agent-forwarding" => self.restrictions.agent_forwarding = false,
            None if self.presence.apply(option) => {}
            _ => return None,
        }
        Some(())
    }
}

/// Splits a line at the first space outside quotation marks. Returns the comma-separated options without their quotation
/// marks, and the rest of the line.
fn split_options(text: &str) -> Option<(Vec<String>, &str)> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let escapes = character == '\\' && characters.peek().is_some_and(|(_, next)| *next == '"');
        match character {
            ' ' if !quoted => return Some((options, text.get(at + 1..)?)),
            ',' if !quoted => options.push(String::new()),
            '"' => quoted = !quoted,
            _ => {
                let unescaped =
                    if escapes { characters.next().map_or(character, |(_, quote)| quote) } else { character };
                options.last_mut()?.push(unescaped);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn authority(line: &str) -> Authority {
        match KeyLine::parse(line) {
            Some(KeyLine::Authority(authority)) => authority,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_key_or_an_authority() {
        assert!(matches!(
            KeyLine::parse(&format!("{KEY} alice@example.com")),
            Some(KeyLine::Own(_, PresenceRequirement::DEFAULT))
        ));
        let plain = authority(&format!("cert-authority {KEY} the CA"));
        assert_eq!((plain.principals, plain.restrictions), (None, KeyRestrictions::UNRESTRICTED));
    }

    #[test]
    fn options_are_applied() {
        let line = format!(r#"cert-authority,principals="alice,ops",command="say \"a, b\" c",no-pty {KEY}"#);
        let restrictions =
            KeyRestrictions { command: Some(r#"say "a, b" c"#.into()), pty: false, ..KeyRestrictions::UNRESTRICTED };
        let read = authority(&line);
        assert_eq!((read.principals, read.restrictions), (Some(vec!["alice".into(), "ops".into()]), restrictions));
        let line = format!("cert-authority,no-port-forwarding,no-agent-forwarding {KEY}");
        let restrictions =
            KeyRestrictions { port_forwarding: false, agent_forwarding: false, ..KeyRestrictions::UNRESTRICTED };
        assert_eq!(authority(&line).restrictions, restrictions);
    }

    #[rstest]
    #[case("no-touch-required", PresenceRequirement { touch: false, verification: false })]
    #[case("verify-required", PresenceRequirement { touch: true, verification: true })]
    #[case("verify-required,no-touch-required", PresenceRequirement { touch: false, verification: true })]
    fn options_set_the_presence_requirement(#[case] options: &str, #[case] expected: PresenceRequirement) {
        let own = KeyLine::parse(&format!("{options} {KEY} a comment"));
        assert!(matches!(own, Some(KeyLine::Own(_, presence)) if presence == expected), "{own:?}");
        assert_eq!(authority(&format!("cert-authority,no-pty,{options} {KEY}")).presence, expected);
    }

    #[rstest]
    #[case("")]
    #[case("cert-authority")]
    #[case("cert-authority ssh-ed25519 AAAA")]
    #[case(r#"cert-authority,principals="alice ssh-ed25519 AAAA"#)]
    #[case("ssh-ed25519 AAAA")]
    fn a_malformed_line_is_ignored(#[case] line: &str) {
        assert_eq!(KeyLine::parse(line), None);
    }

    #[test]
    fn a_line_with_an_unknown_option_is_ignored() {
        assert_eq!(KeyLine::parse(&format!("cert-authority,from=\"10.0.0.0/8\" {KEY}")), None);
        assert_eq!(KeyLine::parse(&format!("cert-authorityX {KEY}")), None);
        assert_eq!(KeyLine::parse(&format!("verify-required,no-pty {KEY}")), None);
        assert_eq!(KeyLine::parse(&format!("command=\"true\" {KEY}")), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(options in ".{0,60}") {
            let _ = KeyLine::parse(&options);
            let _ = KeyLine::parse(&format!("cert-authority{options} {KEY}"));
        }
    }
}
