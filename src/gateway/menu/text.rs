//! Text that others wrote, made fit for one line of a terminal.

use unicode_width::UnicodeWidthChar;

/// What stands for the rest of a text that was cut off.
const REST: char = '…';

/// The text without anything that could steer a terminal or mislead its reader: no control characters, and none that
/// turn the direction of writing or cannot be seen.
pub fn plain(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_unseen(*c)).collect();
    plain.trim().to_owned()
}

/// How many columns of a terminal the text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The text, cut to this many columns.
pub fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let Some(room) = most.checked_sub(1) else { return String::new() };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += columns(*c);
        taken <= room
    };
    text.chars().take_while(fits).chain([REST]).collect()
}

/// The text, cut or filled up to exactly this many columns.
pub fn fit(text: &str, exactly: usize) -> String {
    let mut cut = cut(text, exactly);
    let missing = exactly.saturating_sub(width(&cut));
    cut.extend(std::iter::repeat_n(' ', missing));
    cut
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Control characters, and the format characters of Unicode as far as they take no room: marks and overrides of the
/// direction, joiners, variation selectors, tags.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("web-1", "web-1")]
    #[case("two\nlines\tand tabs ", "two lines and tabs")]
    #[case("\u{1b}[31mred\u{7}\u{9b}2J", "[31mred2J")]
    #[case("user\u{202e}txt.exe", "usertxt.exe")]
    #[case("数据库 主库", "数据库 主库")]
    fn what_could_steer_a_terminal_is_left_out(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(plain(text), expected);
    }

    #[rstest]
    #[case("web", 5, "web  ")]
    #[case("web-1", 5, "web-1")]
    #[case("web-12", 5, "web-…")]
    #[case("数据库", 6, "数据库")]
    #[case("数据库", 5, "数据…")]
    #[case("数据库", 4, "数… ")]
    #[case("数据库", 1, "…")]
    #[case("数据库", 0, "")]
    fn wide_characters_take_two_columns(#[case] text: &str, #[case] columns: usize, #[case] expected: &str) {
        assert_eq!(fit(text, columns), expected);
    }

    proptest! {
        #[test]
        fn whatever_is_fitted_fits(text in "\\PC{0,40}", columns in 0_usize..50) {
            prop_assert_eq!(width(&fit(&text, columns)), columns);
        }

        #[test]
        fn nothing_steers(text in any::<String>()) {
            let plain = plain(&text);
            prop_assert!(!plain.chars().any(char::is_control), "{plain:?}");
        }
    }
}
