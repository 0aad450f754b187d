//! The menu as a numbered list with a prompt, for terminals without cursor movement.

use std::fmt::Write;

use super::keys::Key;
use super::language::Language;
use super::model::{Action, Entry, connect};
use super::picker::Picker;
use super::text::width;
use crate::text::printable;

/// The most rows of the list that are written at once.
const MAX_ROWS: usize = 40;
/// The longest answer, in characters.
const MAX_ANSWER_LENGTH: usize = 64;

/// The list's state, and the output that has not been sent.
pub struct List {
    language: Language,
    entries: Vec<Entry>,
    targets: Picker,
    /// The target whose logins are listed, as an index into `entries`.
    chosen: Option<usize>,
    answer: String,
    has_entries: bool,
    output: String,
}

impl List {
    /// Returns a list without entries.
    pub fn new(user: &str, language: Language) -> Self {
        let output = format!("{}\r\n", language.title(user));
        let (entries, targets, answer) = (Vec::new(), Picker::default(), String::new());
        Self { language, entries, targets, chosen: None, answer, has_entries: false, output }
    }

    pub fn set_entries(&mut self, entries: Vec<Entry>, unchecked: usize) {
        self.has_entries = true;
        self.targets.set_candidates(entries.iter().map(Entry::search_text));
        self.entries = entries;
        if unchecked > 0 {
            let _ = write!(self.output, "{}\r\n", self.language.unchecked(unchecked));
        }
        self.write_list();
    }

    pub fn show_notice(&mut self, notice: &str) {
        let _ = write!(self.output, "{notice}\r\n");
        self.write_list();
    }

    pub fn handle_key(&mut self, key: Key) -> Option<Action> {
        match key {
            Key::Quit => return Some(Action::Quit),
            Key::Escape if self.chosen.take().is_none() => return Some(Action::Quit),
            Key::Escape | Key::Redraw => {
                self.output.push_str("\r\n");
                self.write_list();
            }
            Key::Char(c) if self.answer.chars().count() < MAX_ANSWER_LENGTH => {
                self.answer.push(c);
                self.output.push(c);
            }
            Key::Backspace => self.erase(1),
            Key::ClearLine => self.erase(MAX_ANSWER_LENGTH),
            Key::Enter if self.has_entries => return self.handle_answer(),
            _ => {}
        }
        None
    }

    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).into_bytes()
    }

    fn erase(&mut self, count: usize) {
        for _ in 0..count {
            let Some(c) = self.answer.pop() else { return };
            self.output.push_str(&"\u{8} \u{8}".repeat(width(c.encode_utf8(&mut [0; 4]))));
        }
    }

    /// Handles an answer: a number, a name, or part of a name. An empty answer shows the list again.
    fn handle_answer(&mut self) -> Option<Action> {
        let answer = std::mem::take(&mut self.answer);
        let answer = answer.trim();
        self.output.push_str("\r\n");
        if let Some(target) = self.chosen {
            let logins = &self.entries.get(target)?.logins;
            let named = logins.iter().position(|login| login == answer);
            if let Some(login) = named.or_else(|| parse_row(answer, logins.len())) {
                return connect(&self.entries, target, login);
            }
        } else {
            let named = self.entries.iter().position(|entry| entry.name == answer);
            let listed = self.targets.matches();
            let numbered = parse_row(answer, listed.len().min(MAX_ROWS)).and_then(|it| listed.get(it).copied());
            if let Some(target) = named.or(numbered) {
                return self.choose(target);
            }
            self.targets.set_query(answer);
            if let [only] = *self.targets.matches() {
                return self.choose(only);
            }
        }
        self.write_list();
        None
    }

    /// Returns the action that connects to a target with one login. Lists the logins of a target with several, and returns
    /// `None`.
    fn choose(&mut self, target: usize) -> Option<Action> {
        if self.entries.get(target)?.logins.len() == 1 {
            return connect(&self.entries, target, 0);
        }
        self.chosen = Some(target);
        self.write_list();
        None
    }

    fn write_list(&mut self) {
        let rows: Vec<String> = if let Some(entry) = self.chosen.and_then(|target| self.entries.get(target)) {
            let _ = write!(self.output, "{}\r\n", self.language.logins_title(&printable(&entry.name)));
            entry.logins.iter().map(|login| printable(login)).collect()
        } else {
            let entries = self.targets.matches().iter().filter_map(|index| self.entries.get(*index));
            entries.map(row).collect()
        };
        if rows.is_empty() {
            let _ = write!(self.output, "{}\r\n", self.language.no_match());
        }
        for (index, row) in rows.iter().take(MAX_ROWS).enumerate() {
            let _ = write!(self.output, "{:>3}) {row}\r\n", index + 1);
        }
        if let Some(more) = rows.len().checked_sub(MAX_ROWS).filter(|more| *more > 0) {
            let _ = write!(self.output, "{}\r\n", self.language.more(more));
        }
        let _ = write!(self.output, "{}{}", self.language.prompt(), self.answer);
    }
}

fn row(entry: &Entry) -> String {
    let (logins, about) = entry.details();
    format!("{}  {logins}  {about}", printable(&entry.name)).trim_end().to_owned()
}

/// Parses a row number from 1 to `count` into an index.
fn parse_row(answer: &str, count: usize) -> Option<usize> {
    answer.parse::<usize>().ok()?.checked_sub(1).filter(|index| *index < count)
}
