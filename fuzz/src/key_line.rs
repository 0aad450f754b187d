//! Lines of `spec.publicKeys`: what the schema lets through in front of a good key is read, and a key that is read is the
//! same when it is written and read again.

use std::sync::LazyLock;

use bastion_operator::api::UserKeyLine;
use bastion_operator::gateway::fuzzing::KeyLine;
use regex::Regex;
use russh::keys::ssh_key::PublicKey;
use schemars::{JsonSchema, SchemaGenerator};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The schema's rule, which is one regular expression; CEL's are RE2's, and so nearly Rust's.
static SCHEMA: LazyLock<Regex> = LazyLock::new(|| {
    let schema = UserKeyLine::json_schema(&mut SchemaGenerator::default()).to_value();
    let rule = schema["x-kubernetes-validations"][0]["rule"].as_str().expect("a rule");
    let pattern = rule.strip_prefix("self.matches(r'").and_then(|rule| rule.strip_suffix("')")).expect("a pattern");
    Regex::new(pattern).expect("a regular expression")
});

/// Reads it as it is, and in front of a good key.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    read(text);
    let line = format!("{text}{KEY}");
    let read = read(&line);
    // A key of its own comes first, and the schema does not look into keys.
    let has_key = ["ssh-", "ecdsa-"].iter().any(|kind| text.contains(kind));
    assert!(read || has_key || !SCHEMA.is_match(&line), "the schema lets through what is no line: {line:?}");
}

/// Whether it is a line.
fn read(line: &str) -> bool {
    let key = match KeyLine::parse(line) {
        None => return false,
        Some(KeyLine::Own(key, _)) => key,
        Some(KeyLine::Authority(authority)) => authority.key,
    };
    let written = key.to_openssh().expect("a key that was read can be written");
    assert_eq!(PublicKey::from_openssh(&written).expect("and read again").key_data(), key.key_data());
    true
}
