//! Makes untrusted text safe for terminals, log lines and table cells.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns the text as one line that cannot control a terminal or mislead its reader. Each white-space character becomes a
/// space. Control characters (C0, DEL, C1) and invisible characters are removed.
pub fn printable(text: &str) -> String {
    let printable: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_invisible(*c)).collect();
    printable.trim().to_owned()
}

/// Returns the text as [`printable`] does, cut to at most `max` characters. The API server counts lengths in characters too.
pub fn printable_up_to(text: &str, max: usize) -> String {
    let mut printable = printable(text);
    if let Some((at, _)) = printable.char_indices().nth(max) {
        printable.truncate(at);
    }
    printable
}

/// Returns whether the character is invisible: a control character, or a Unicode character without width, such as a
/// bidirectional override, a joiner, a variation selector, a tag or a noncharacter.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns JSON text with each invisible character above U+007E as `\u` escapes of its UTF-16 code units (RFC 8259, section 7).
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| c >= '\u{7f}' && is_invisible(c);
    if !json.contains(is_escaped) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A write to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("web-1", "web-1")]
    #[case::empty("", "")]
    #[case::lines("two\nlines\tand tabs ", "two lines and tabs")]
    #[case::line_separators("a\u{2028}b\u{2029}c\u{85}d", "a b c d")]
    #[case::colour("\u{1b}[31mred\u{7}\u{9b}2J", "[31mred2J")]
    #[case::clipboard("\u{1b}]52;c;cm0gLXJmIC8=\u{7}x", "]52;c;cm0gLXJmIC8=x")]
    #[case::deleted("a\u{7f}b\0c", "abc")]
    #[case::overrides("user\u{202e}txt.exe\u{2066}", "usertxt.exe")]
    #[case::invisible("a\u{200b}b\u{feff}c", "abc")]
    #[case::chinese("数据库 主库", "数据库 主库")]
    fn characters_that_control_a_terminal_are_removed(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(printable(text), expected);
    }

    /// Returns whether YAML 1.1 allows the character (section 5.1). `kubectl get -o yaml` first parses each object as YAML.
    fn is_printable_in_yaml(c: char) -> bool {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
            | '\u{10000}'..)
    }

    #[test]
    fn no_printable_text_breaks_yaml() {
        let broken =
            ('\0'..=char::MAX).find(|c| !is_printable_in_yaml(*c) && printable(&format!("a{c}b")).contains(*c));
        assert_eq!(broken, None);
    }

    #[rstest]
    #[case::plain(r#"{"a":"b"}"#, r#"{"a":"b"}"#)]
    #[case::c1("\"\u{9b}2J\"", r#""\u009b2J""#)]
    #[case::beyond_the_first_plane("\"\u{e0041}\"", r#""\udb40\udc41""#)]
    fn json_is_escaped(#[case] json: &str, #[case] expected: &str) {
        assert_eq!(escape_json(json), expected);
    }

    #[rstest]
    #[case("abc", 3, "abc")]
    #[case("abcd", 3, "abc")]
    #[case("因因因", 2, "因因")]
    #[case("\u{1b}[31m", 4, "[31m")]
    #[case("abc", 0, "")]
    fn text_is_cut_by_characters(#[case] text: &str, #[case] max: usize, #[case] expected: &str) {
        assert_eq!(printable_up_to(text, max), expected);
    }

    proptest! {
        #[test]
        fn printable_text_has_no_invisible_character(text in any::<String>()) {
            let printable = printable(&text);
            prop_assert!(!printable.chars().any(is_invisible), "{printable:?}");
            prop_assert_eq!(super::printable(&printable), printable);
        }
    }
}
