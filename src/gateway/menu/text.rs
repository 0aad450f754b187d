//! Text, measured and cut in the columns of a terminal.

use unicode_width::UnicodeWidthChar;

/// What stands for the rest of a text that was cut off.
const REST: char = '…';

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
        fn whatever_is_fitted_fits(text in "\\PC{0,40}", columns in 0_usize..50) {
            prop_assert_eq!(width(&fit(&text, columns)), columns);
        }
    }
}
