//! Writes sessions as CSV (RFC 4180).

use super::view::Session;
use crate::text::printable;

const COLUMNS: [&str; 23] = [
    "session_id",
    "name",
    "user",
    "subject",
    "groups",
    "target",
    "login",
    "protocol",
    "client_address",
    "client_port",
    "client_software",
    "gateway",
    "status",
    "reason",
    "message",
    "start_time",
    "end_time",
    "duration_seconds",
    "exit_code",
    "exit_signal",
    "bytes_in",
    "bytes_out",
    "terminated_by",
];

/// Returns the line with the column names.
pub fn header() -> String {
    format!("{}\n", COLUMNS.join(","))
}

/// Returns the line of a session.
pub fn line(session: &Session) -> String {
    // The conversion of strings and numbers cannot fail.
    let session = serde_json::to_value(session).unwrap_or_default();
    let fields = COLUMNS.map(|column| match &session[column] {
        serde_json::Value::String(text) => field(text),
        serde_json::Value::Null => String::new(),
        serde_json::Value::Array(groups) => {
            field(&groups.iter().filter_map(|group| group.as_str()).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    });
    format!("{}\n", fields.join(","))
}

/// The characters with which formulas of spreadsheets begin, in both of their widths. Tabs and line breaks become spaces before.
const FORMULA_STARTS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Quotes a field. Its text may be untrusted, so it is made printable, and a text that a spreadsheet would run as a formula gets
/// a leading apostrophe.
fn field(text: &str) -> String {
    let text = printable(text);
    let formula = text.starts_with(FORMULA_STARTS);
    let text = if formula { format!("'{text}") } else { text };
    if formula || text.contains(['"', ',']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::audit::SessionRecord;
    use crate::audit::samples::ended;

    #[test]
    fn a_session_has_a_field_for_each_column() {
        let line = line(&SessionRecord::of(&ended("a")).into());
        assert!(line.starts_with("a,alice-web-1-a,alice,bastion:alice,\"ops a \"\"b\"\"\",web-1,root,SSH,"), "{line}");
        assert_eq!(header().split(',').count(), COLUMNS.len());
    }

    #[rstest]
    #[case("plain", "plain")]
    #[case("a,b", "\"a,b\"")]
    #[case("=cmd()", "\"'=cmd()\"")]
    #[case("line\nbreak", "line break")]
    #[case("\t=cmd()", "\"'=cmd()\"")]
    #[case("\u{200b}=cmd()\u{9b}2J", "\"'=cmd()2J\"")]
    #[case("\r\n=cmd()", "\"'=cmd()\"")]
    #[case("\u{feff} \u{a0}+1", "\"'+1\"")]
    #[case("-1+1", "\"'-1+1\"")]
    #[case("@SUM(A1)", "\"'@SUM(A1)\"")]
    #[case("\u{ff1d}cmd()", "\"'\u{ff1d}cmd()\"")]
    #[case("a\",\"=cmd()", "\"a\"\",\"\"=cmd()\"")]
    #[case("a\r\n=cmd()", "a  =cmd()")]
    fn fields_are_quoted(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(field(text), expected);
    }
}
