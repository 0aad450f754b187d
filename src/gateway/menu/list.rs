//! The menu as a numbered list with a question below it, for terminals that can do no more than write line by line.

use std::fmt::Write;

use super::keys::Key;
use super::picker::Picker;
use super::text::width;
use super::words::Language;
use super::{Action, Choice, Entry, candidate, details};
use crate::text::printable;

/// How much of a long list is written at once.
const AT_ONCE: usize = 40;
/// As much as anybody types in answer.
const LONGEST_ANSWER: usize = 64;

/// The menu's state, and what the terminal has yet to be sent.
pub struct List {
    language: Language,
    entries: Vec<Entry>,
    targets: Picker,
    /// The target whose logins are to choose from, an index of the entries.
    chosen: Option<usize>,
    answer: String,
    filled: bool,
    out: String,
}

impl List {
    /// An empty menu.
    pub fn new(user: &str, language: Language) -> Self {
        let out = format!("{}\r\n", language.title(user));
        let (entries, targets, answer) = (Vec::new(), Picker::default(), String::new());
        Self { language, entries, targets, chosen: None, answer, filled: false, out }
    }

    pub fn fill(&mut self, entries: Vec<Entry>, unchecked: usize) {
        self.filled = true;
        self.targets.fill(entries.iter().map(candidate));
        self.entries = entries;
        if unchecked > 0 {
            let _ = write!(self.out, "{}\r\n", self.language.unchecked(unchecked));
        }
        self.write_list();
    }

    pub fn say(&mut self, notice: &str) {
        let _ = write!(self.out, "{notice}\r\n");
        self.write_list();
    }

    pub fn press(&mut self, key: Key) -> Option<Action> {
        match key {
            Key::Leave => return Some(Action::Leave),
            Key::Escape if self.chosen.take().is_none() => return Some(Action::Leave),
            Key::Escape | Key::Redraw => {
                self.out.push_str("\r\n");
                self.write_list();
            }
            Key::Char(c) if self.answer.chars().count() < LONGEST_ANSWER => {
                self.answer.push(c);
                self.out.push(c);
            }
            Key::Backspace => self.erase(1),
            Key::Wipe => self.erase(LONGEST_ANSWER),
            Key::Enter if self.filled => return self.answered(),
            _ => {}
        }
        None
    }

    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out).into_bytes()
    }

    fn erase(&mut self, most: usize) {
        for _ in 0..most {
            let Some(c) = self.answer.pop() else { return };
            self.out.push_str(&"\u{8} \u{8}".repeat(width(c.encode_utf8(&mut [0; 4]))));
        }
    }

    /// A number, a name, or a part of one; nothing shows the list again.
    fn answered(&mut self) -> Option<Action> {
        let answer = std::mem::take(&mut self.answer);
        let answer = answer.trim();
        self.out.push_str("\r\n");
        if let Some(target) = self.chosen {
            let logins = &self.entries.get(target)?.logins;
            let named = logins.iter().position(|login| login == answer);
            if let Some(login) = named.or_else(|| number(answer, logins.len())) {
                return self.connect(target, login);
            }
        } else {
            let named = self.entries.iter().position(|entry| entry.name == answer);
            let listed = self.targets.matches();
            let numbered = number(answer, listed.len().min(AT_ONCE)).and_then(|it| listed.get(it).copied());
            if let Some(target) = named.or(numbered) {
                return self.take(target);
            }
            self.targets.set_query(answer);
            if let [only] = *self.targets.matches() {
                return self.take(only);
            }
        }
        self.write_list();
        None
    }

    /// A target with one login is connected to; of several logins, one is to choose.
    fn take(&mut self, target: usize) -> Option<Action> {
        if self.entries.get(target)?.logins.len() == 1 {
            return self.connect(target, 0);
        }
        self.chosen = Some(target);
        self.write_list();
        None
    }

    fn connect(&self, target: usize, login: usize) -> Option<Action> {
        let entry = self.entries.get(target)?;
        let login = entry.logins.get(login)?.clone();
        Some(Action::Connect(Choice { target: entry.name.clone(), login }))
    }

    fn write_list(&mut self) {
        let rows: Vec<String> = if let Some(entry) = self.chosen.and_then(|target| self.entries.get(target)) {
            let _ = write!(self.out, "{}\r\n", self.language.logins_title(&printable(&entry.name)));
            entry.logins.iter().map(|login| printable(login)).collect()
        } else {
            let entries = self.targets.matches().iter().filter_map(|index| self.entries.get(*index));
            entries.map(row).collect()
        };
        if rows.is_empty() {
            let _ = write!(self.out, "{}\r\n", self.language.no_match());
        }
        for (index, row) in rows.iter().take(AT_ONCE).enumerate() {
            let _ = write!(self.out, "{:>3}) {row}\r\n", index + 1);
        }
        if let Some(more) = rows.len().checked_sub(AT_ONCE).filter(|more| *more > 0) {
            let _ = write!(self.out, "{}\r\n", self.language.more(more));
        }
        let _ = write!(self.out, "{}{}", self.language.prompt(), self.answer);
    }
}

fn row(entry: &Entry) -> String {
    let (logins, about) = details(entry);
    format!("{}  {logins}  {about}", printable(&entry.name)).trim_end().to_owned()
}

/// The index that a number from 1 on means, of so many.
fn number(answer: &str, count: usize) -> Option<usize> {
    answer.parse::<usize>().ok()?.checked_sub(1).filter(|index| *index < count)
}
