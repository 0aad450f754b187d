//! A list that is searched by typing and walked with the arrow keys.

use std::ops::Range;

use super::keys::Key;

/// As much as anybody types to find something.
const LONGEST_QUERY: usize = 64;

/// The state of such a list: what is searched for, what matches, and what is selected.
#[derive(Debug, Default)]
pub struct Picker {
    /// What is searched in, in lower case; it begins with the name.
    candidates: Vec<String>,
    query: String,
    /// Indices of candidates.
    matches: Vec<usize>,
    /// An index of matches.
    selected: usize,
    /// The first match in view.
    top: usize,
    /// How many are in view.
    height: usize,
}

impl Picker {
    /// Sets what there is to pick from.
    pub fn fill(&mut self, candidates: impl IntoIterator<Item = String>) {
        self.candidates = candidates.into_iter().map(|text| text.to_lowercase()).collect();
        self.search();
    }

    /// What is searched for.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Searches for something else.
    pub fn set_query(&mut self, query: &str) {
        self.query = query.chars().take(LONGEST_QUERY).collect();
        self.search();
    }

    /// What matches, the best first.
    pub fn matches(&self) -> &[usize] {
        &self.matches
    }

    /// The candidate that is selected; none where nothing matches.
    pub fn selected(&self) -> Option<usize> {
        self.matches.get(self.selected).copied()
    }

    /// The part of the matches that is in view, where there is room for `height` of them, and which of it is selected.
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

    /// Does what a key says.
    pub fn press(&mut self, key: Key) {
        let last = self.matches.len().saturating_sub(1);
        let page = self.height.max(1);
        match key {
            Key::Char(c) if self.query.chars().count() < LONGEST_QUERY => {
                self.query.push(c);
                self.search();
            }
            Key::Backspace => {
                self.query.pop();
                self.search();
            }
            Key::Wipe => self.set_query(""),
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(page),
            Key::PageDown => self.selected = (self.selected + page).min(last),
            Key::Home => self.selected = 0,
            Key::End => self.selected = last,
            Key::Char(_) | Key::Enter | Key::Redraw | Key::Escape | Key::Leave => {}
        }
    }

    /// Everything matches that holds every word; names that begin with the query come first.
    fn search(&mut self) {
        let query = self.query.trim().to_lowercase();
        let holds = |text: &str| query.split_whitespace().all(|word| text.contains(word));
        self.matches = (0..self.candidates.len()).filter(|index| holds(&self.candidates[*index])).collect();
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
        picker.fill(candidates.iter().map(ToString::to_string));
        picker
    }

    #[rstest]
    #[case("", &[0, 1, 2])]
    #[case("web", &[1, 0])]
    #[case("WEB root", &[1])]
    #[case("库", &[2])]
    #[case("nothing", &[])]
    fn typing_searches(#[case] query: &str, #[case] expected: &[usize]) {
        let mut picker = picker(&["db-1 behind the web", "web-1 root", "pg-1 数据库"]);
        query.chars().for_each(|c| picker.press(Key::Char(c)));
        assert_eq!(picker.matches(), expected);
        assert_eq!(picker.selected(), expected.first().copied());
    }

    #[test]
    fn the_view_follows_the_selection() {
        let names: Vec<String> = (0..20).map(|n| format!("web-{n:02}")).collect();
        let mut picker = picker(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(picker.view(5), (0..5, 0));
        picker.press(Key::PageDown);
        assert_eq!(picker.view(5), (1..6, 4));
        picker.press(Key::End);
        assert_eq!(picker.view(5), (15..20, 4));
        picker.press(Key::Up);
        assert_eq!(picker.view(5), (15..20, 3));
        assert_eq!(picker.view(3), (16..19, 2), "a smaller terminal still shows what is selected");
        picker.press(Key::Home);
        assert_eq!((picker.view(5), picker.selected()), ((0..5, 0), Some(0)));
        assert_eq!(picker.view(50), (0..20, 0));
        assert_eq!(picker.view(0).0.len(), 0);
    }

    fn any_key() -> impl Strategy<Value = Key> {
        use Key::{Backspace, Char, Down, End, Home, PageDown, PageUp, Up, Wipe};
        prop::sample::select(vec![Char('w'), Char('1'), Backspace, Wipe, Up, Down, PageUp, PageDown, Home, End])
    }

    proptest! {
        #[test]
        fn what_is_selected_matches_and_is_in_view(
            keys in prop::collection::vec((any_key(), 1_usize..8), 0..60),
            count in 0_usize..20,
        ) {
            let mut picker = Picker::default();
            picker.fill((0..count).map(|n| format!("web-{n}")));
            for (key, height) in keys {
                picker.press(key);
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
