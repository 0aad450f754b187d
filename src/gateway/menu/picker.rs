//! A list with a search field and a selected row.

use std::ops::Range;

use super::keys::Key;

/// The longest query, in characters.
const MAX_QUERY_LENGTH: usize = 64;

/// The state of the list: the query, the matches, and the selection.
#[derive(Debug, Default)]
pub struct Picker {
    /// The texts to search, in lower case. Each begins with the name.
    candidates: Vec<String>,
    query: String,
    /// The matching candidates, as indices; the best come first.
    matches: Vec<usize>,
    /// The selected match, as an index into `matches`.
    selected: usize,
    /// The first visible match, as an index into `matches`.
    top: usize,
    /// The number of visible rows.
    height: usize,
}

impl Picker {
    /// Sets the candidates.
    pub fn set_candidates(&mut self, candidates: impl IntoIterator<Item = String>) {
        self.candidates = candidates.into_iter().map(|text| text.to_lowercase()).collect();
        self.search();
    }

    /// Returns the query.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Sets the query, truncated to [`MAX_QUERY_LENGTH`].
    pub fn set_query(&mut self, query: &str) {
        self.query = query.chars().take(MAX_QUERY_LENGTH).collect();
        self.search();
    }

    /// Returns the matching candidates as indices; the best come first.
    pub fn matches(&self) -> &[usize] {
        &self.matches
    }

    /// Returns the selected candidate, or `None` without matches.
    pub fn selected(&self) -> Option<usize> {
        self.matches.get(self.selected).copied()
    }

    /// Scrolls to the selection in a view of `height` rows. Returns the visible range of matches, and the selected row in it.
    pub fn view(&mut self, height: usize) -> (Range<usize>, usize) {
        self.height = height;
        if height == 0 {
            return (0..0, 0);
        }
        let last_top = self.matches.len().saturating_sub(height);
        let least = (self.selected + 1).saturating_sub(height);
        self.top = self.top.clamp(least, self.selected).min(last_top);
        let end = (self.top + height).min(self.matches.len());
        (self.top..end, self.selected.saturating_sub(self.top))
    }

    /// Handles a key.
    pub fn handle_key(&mut self, key: Key) {
        let last = self.matches.len().saturating_sub(1);
        let page = self.height.max(1);
        match key {
            Key::Char(c) if self.query.chars().count() < MAX_QUERY_LENGTH => {
                self.query.push(c);
                self.search();
            }
            Key::Backspace => {
                self.query.pop();
                self.search();
            }
            Key::ClearLine => self.set_query(""),
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(page),
            Key::PageDown => self.selected = (self.selected + page).min(last),
            Key::Home => self.selected = 0,
            Key::End => self.selected = last,
            Key::Char(_) | Key::Enter | Key::Redraw | Key::Escape | Key::Quit => {}
        }
    }

    /// Finds the candidates that contain every word of the query. Those that begin with the query come first.
    fn search(&mut self) {
        let query = self.query.trim().to_lowercase();
        let contains_all = |text: &str| query.split_whitespace().all(|word| text.contains(word));
        self.matches = (0..self.candidates.len()).filter(|index| contains_all(&self.candidates[*index])).collect();
        self.matches.sort_by_key(|index| !self.candidates[*index].starts_with(&query));
        (self.selected, self.top) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn picker(candidates: &[&str]) -> Picker {
        let mut picker = Picker::default();
        picker.set_candidates(candidates.iter().map(ToString::to_string));
        picker
    }

    #[rstest]
    #[case("", &[0, 1, 2])]
    #[case("web", &[1, 0])]
    #[case("WEB root", &[1])]
    #[case("库", &[2])]
    #[case("nothing", &[])]
    fn typing_filters_the_matches(#[case] query: &str, #[case] expected: &[usize]) {
        let mut picker = picker(&["db-1 behind the web", "web-1 root", "pg-1 数据库"]);
        query.chars().for_each(|c| picker.handle_key(Key::Char(c)));
        assert_eq!(picker.matches(), expected);
        assert_eq!(picker.selected(), expected.first().copied());
    }

    #[test]
    fn the_view_scrolls_to_the_selection() {
        let names: Vec<String> = (0..20).map(|n| format!("web-{n:02}")).collect();
        let mut picker = picker(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(picker.view(5), (0..5, 0));
        picker.handle_key(Key::PageDown);
        assert_eq!(picker.view(5), (1..6, 4));
        picker.handle_key(Key::End);
        assert_eq!(picker.view(5), (15..20, 4));
        picker.handle_key(Key::Up);
        assert_eq!(picker.view(5), (15..20, 3));
        assert_eq!(picker.view(3), (16..19, 2), "the selection stays visible on a smaller terminal");
        picker.handle_key(Key::Home);
        assert_eq!((picker.view(5), picker.selected()), ((0..5, 0), Some(0)));
        assert_eq!(picker.view(50), (0..20, 0));
        assert_eq!(picker.view(0).0.len(), 0);
    }

    fn any_key() -> impl Strategy<Value = Key> {
        use Key::{Backspace, Char, ClearLine, Down, End, Home, PageDown, PageUp, Up};
        prop::sample::select(vec![Char('w'), Char('1'), Backspace, ClearLine, Up, Down, PageUp, PageDown, Home, End])
    }

    proptest! {
        #[test]
        fn the_selection_matches_and_is_visible(
            keys in prop::collection::vec((any_key(), 1_usize..8), 0..60),
            count in 0_usize..20,
        ) {
            let mut picker = Picker::default();
            picker.set_candidates((0..count).map(|n| format!("web-{n}")));
            for (key, height) in keys {
                picker.handle_key(key);
                let (view, row) = picker.view(height);
                prop_assert!(view.len() <= height && view.end <= picker.matches().len());
                match picker.selected() {
                    Some(selected) => prop_assert_eq!(picker.matches()[view][row], selected),
                    None => prop_assert!(picker.matches().is_empty()),
                }
            }
        }
    }
}
