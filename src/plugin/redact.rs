//! Removes possible secrets from a report, as a precaution. The bastion itself writes no secrets to the objects and logs that a
//! report reads.

use serde_json::Value;

/// The text that replaces a removed secret.
const PLACEHOLDER: &str = "(left out)";
/// An annotation with a copy of the whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The prefixes of environment variables whose values are shown. The bastion's own variables hold no secrets.
const SHOWN_PREFIXES: [&str; 3] = ["BASTION_", "POD_", "RUST_LOG"];

/// Removes possible secrets from an object.
pub fn object(value: &mut Value) {
    match value {
        Value::String(input) => *input = text(input),
        Value::Array(items) => items.iter_mut().for_each(object),
        Value::Object(fields) => {
            fields.remove(LAST_APPLIED);
            if let Some(Value::Array(variables)) = fields.get_mut("env") {
                variables.iter_mut().for_each(variable);
            }
            fields.values_mut().for_each(object);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn variable(variable: &mut Value) {
    let shown =
        variable["name"].as_str().is_some_and(|name| SHOWN_PREFIXES.iter().any(|begin| name.starts_with(begin)));
    if let Some(value) = variable.get_mut("value").filter(|_| !shown) {
        *value = PLACEHOLDER.into();
    }
}

/// Returns a text without passwords in URLs, bearer tokens and private keys.
pub fn text(text: &str) -> String {
    redact_private_keys(&redact_tokens(&redact_passwords(text)))
}

/// Replaces the text between `://` and `@` of a URL.
fn redact_passwords(mut text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    while let Some((before, rest)) = text.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let end = rest.find(|it: char| it.is_whitespace() || "/\"'<>\\?#".contains(it)).unwrap_or(rest.len());
        text = rest;
        if let Some(at) = rest[..end].rfind('@') {
            kept.push_str(PLACEHOLDER);
            text = &rest[at..];
        }
    }
    kept + text
}

/// Replaces the token after `Bearer `.
fn redact_tokens(mut text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    while let Some((before, rest)) = text.split_once("Bearer ") {
        kept.push_str(before);
        kept.push_str("Bearer ");
        kept.push_str(PLACEHOLDER);
        let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && !"-._~+/=".contains(it)).unwrap_or(rest.len());
        text = &rest[end..];
    }
    kept + text
}

/// Replaces the body of a private key. If its last line is missing, replaces the rest of the text.
fn redact_private_keys(mut text: &str) -> String {
    const BEGIN: &str = "PRIVATE KEY-----";
    let mut kept = String::with_capacity(text.len());
    while let Some((before, rest)) = text.split_once(BEGIN) {
        kept.push_str(before);
        kept.push_str(BEGIN);
        kept.push_str(PLACEHOLDER);
        text = rest.find("-----END ").map_or("", |end| &rest[end..]);
        if let Some((end, rest)) = text.split_once(BEGIN) {
            kept.push_str(end);
            kept.push_str(BEGIN);
            text = rest;
        }
    }
    kept + text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("redis://u:p@redis:6379/0 is down", "redis://(left out)@redis:6379/0 is down")]
    #[case("mysql://root:a@b@db/x, s3://k:s@h", "mysql://(left out)@db/x, s3://(left out)@h")]
    #[case("https://host/path@2 and a@b", "https://host/path@2 and a@b")]
    #[case("authorization: Bearer abc.def-1, x", "authorization: Bearer (left out), x")]
    #[case(
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nrest",
        "-----BEGIN PRIVATE KEY-----(left out)-----END PRIVATE KEY-----\nrest"
    )]
    #[case("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "-----BEGIN OPENSSH PRIVATE KEY-----(left out)")]
    #[case("nothing", "nothing")]
    fn secrets_are_replaced(#[case] input: &str, #[case] expected: &str) {
        assert_eq!(text(input), expected);
    }

    #[test]
    fn only_known_variables_of_a_pod_are_shown() {
        let env = json!([{"name": "BASTION_RETENTION", "value": "10m"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let annotations = json!({LAST_APPLIED: "all of it", "a": "b"});
        let mut pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"env": env}]}});
        object(&mut pod);
        assert_eq!(pod["metadata"]["annotations"], json!({"a": "b"}));
        let env = &pod["spec"]["containers"][0]["env"];
        assert_eq!(env[0]["value"], "10m");
        assert_eq!(env[1]["value"], "(left out)");
        assert_eq!(env[2]["valueFrom"]["secretKeyRef"]["name"], "s");
    }

    proptest! {
        #[test]
        fn any_text_can_be_redacted(input in ".*(://|@|Bearer |PRIVATE KEY-----|-----END |.){0,8}.*") {
            text(&input);
        }
    }
}
