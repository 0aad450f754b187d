//! Measures and truncates text in columns of a terminal.

use unicode_width::UnicodeWidthChar;

/// Ends a truncated text.
const ELLIPSIS: char = '…';

/// Returns the number of columns that the text occupies.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Truncates the text to at most this many columns.
pub fn truncate(text: &str, max_columns: usize) -> String {
    if width(text) <= max_columns {
        return text.to_owned();
    }
    let Some(room) = max_columns.checked_sub(1) else { return String::new() };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += char_width(*c);
        taken <= room
    };
    text.chars().take_while(fits).chain([ELLIPSIS]).collect()
}

/// Truncates the text, or pads it with spaces, to exactly this many columns.
pub fn fit(text: &str, columns: usize) -> String {
    let mut fitted = truncate(text, columns);
    let missing = columns.saturating_sub(width(&fitted));
    fitted.extend(std::iter::repeat_n(' ', missing));
    fitted
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

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
        fn fitted_text_has_the_given_width(text in "\\PC{0,40}", columns in 0_usize..50) {
            prop_assert_eq!(width(&fit(&text, columns)), columns);
        }
    }
}
