//! String types of the API, each with a schema that checks its form.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// CEL: the string has no control character (C0, DEL, C1), line separator, bidirectional override, U+FFFE or U+FFFF.
///
/// A terminal that prints such a character would obey it, or show a misleading text. `kubectl get -o yaml` fails for a whole
/// list if one object has DEL, C1, U+FFFE or U+FFFF in it.
pub const ONE_LINE: &str = r"!self.matches(r'[\x00-\x1f\x7f-\x9f\x{2028}-\x{202e}\x{2066}-\x{2069}\x{fffe}\x{ffff}]')";
/// The message for a string that breaks [`ONE_LINE`].
pub const ONE_LINE_MESSAGE: &str =
    "must be one line of text, without control characters or characters that change the direction of writing";

/// A regular expression for an RFC 3339 time with a valid offset. It does not check that the day and time exist.
macro_rules! time_pattern {
    () => {
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    };
}
pub(super) use time_pattern;

/// CEL: the string is a time that the programs can parse. The API server's own check of `date-time` accepts offsets such as
/// +99:00 and the last days of 9999, which the programs cannot represent.
pub const TIME: &str =
    concat!("self.matches('^", time_pattern!(), "$') && timestamp(self) < timestamp('9999-12-30T00:00:00Z')");
/// The message for a string that breaks [`TIME`].
pub const TIME_MESSAGE: &str =
    "must be a time such as 2026-01-31T10:00:00Z or 2026-01-31T12:00:00+02:00, before 9999-12-30";
/// The maximum length of a string with the rule [`TIME`], in characters. Every valid time is shorter.
pub const MAX_TIME_LENGTH: i64 = 64;

/// Returns the `x-kubernetes-validations` of a string that must satisfy [`ONE_LINE`].
pub fn one_line() -> Value {
    json!([{ "rule": ONE_LINE, "message": ONE_LINE_MESSAGE }])
}

/// Defines a string type whose schema carries the rule [`ONE_LINE`] and, where one is given, another CEL rule.
macro_rules! ruled_string {
    ($(#[$doc:meta])* $name:ident, max $max:literal $(, rule $rule:literal, message $message:literal)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": $max,
                    "x-kubernetes-validations": [
                        { "rule": ONE_LINE, "message": ONE_LINE_MESSAGE },
                        $({ "rule": $rule, "message": $message },)?
                    ],
                })
            }
        }
    };
}

ruled_string!(
    /// An OpenSSH public key: its type, the key in base64, and a comment, which is ignored.
    KeyLine, max 4096,
    rule "self.matches('^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh.com|sk-ecdsa-sha2-nistp256@openssh.com) [A-Za-z0-9+/]+=*( [^\\\\n]*)?$')",
    message "must be one line of an OpenSSH public key without options, such as: ssh-ed25519 AAAAC3Nz... comment"
);

ruled_string!(
    /// A host key in the form of [`KeyLine`], or `@cert-authority ` and the key of an authority that signs host keys.
    HostKeyLine, max 4096,
    rule "self.matches('^(@cert-authority )?(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh.com|sk-ecdsa-sha2-nistp256@openssh.com) [A-Za-z0-9+/]+=*( [^\\\\n]*)?$')",
    message "must be one line of an OpenSSH public key without options or host name, such as: ssh-ed25519 AAAAC3Nz... comment, or @cert-authority and such a line for an authority that signs host keys"
);

ruled_string!(
    /// A line of a user's keys: an OpenSSH public key, or `cert-authority` and the key of an authority that signs certificates.
    UserKeyLine, max 4096,
    rule r#"self.matches(r'^((cert-authority(,(principals="([^"\\\s,]|\\+[^"\\\s,])+(,([^"\\\s,]|\\+[^"\\\s,])+)*"|command="([^"\\\n]|\\+[^"\\\n]|\\+")+"|no-pty|no-port-forwarding|no-agent-forwarding|no-touch-required|verify-required))* )?(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh.com|sk-ecdsa-sha2-nistp256@openssh.com)|(no-touch-required|verify-required)(,(no-touch-required|verify-required))? (sk-ssh-ed25519@openssh.com|sk-ecdsa-sha2-nistp256@openssh.com)) [A-Za-z0-9+/]+=*( [^\n]*)?$')"#,
    message "must be one line of an OpenSSH public key, such as: ssh-ed25519 AAAAC3Nz... comment; only cert-authority may stand before it, with the options principals=\"a,b\", command=\"...\", no-pty, no-port-forwarding, no-agent-forwarding, no-touch-required and verify-required, as in: cert-authority,principals=\"ops\" ssh-ed25519 AAAAC3Nz...; before a key of type sk-..., no-touch-required and verify-required may stand alone"
);

ruled_string!(
    /// The name of a group in Kubernetes RBAC.
    Group, max 253,
    rule "self.size() > 0 && !self.startsWith('system:')",
    message "must not be empty or begin with 'system:', which Kubernetes keeps for itself"
);

ruled_string!(
    /// A login name on a target.
    Login, max 64,
    rule "self.matches('^[^-:@\\\\s][^:@\\\\s]*$')",
    message "must be a login name: no white space, ':' or '@', and no '-' at its beginning"
);

ruled_string!(
    /// One line of text for people.
    Line, max 256
);
