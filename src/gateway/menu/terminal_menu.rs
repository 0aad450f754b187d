//! The menu on a user's terminal. It takes the bytes from the terminal, and returns actions and bytes for the terminal.

use super::keys::{Key, KeyDecoder};
use super::language::Language;
use super::list::List;
use super::model::{Action, Entry, Progress};
use super::screen::{self, Screen};
use crate::gateway::bridge::Size;
use crate::text::printable;

/// A menu on a user's terminal. After each call, [`Menu::output`] returns the bytes to send.
pub struct Menu {
    keys: KeyDecoder,
    view: View,
    language: Language,
}

enum View {
    /// Uses the whole screen.
    Screen(Screen),
    /// Writes line by line, for terminals without cursor movement.
    List(List),
}

impl Menu {
    /// Returns a menu without targets, for a terminal of type `term` (`$TERM`).
    pub fn new(user: &str, term: &str, size: Size, language: Language) -> Self {
        let user = printable(user);
        let view = if is_dumb(term) {
            View::List(List::new(&user, language))
        } else {
            View::Screen(Screen::new(&user, language, size))
        };
        Self { keys: KeyDecoder::default(), view, language }
    }

    /// Returns the menu's language.
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Shows the progress of the rights check.
    pub fn set_progress(&mut self, progress: Progress) {
        if let View::Screen(screen) = &mut self.view {
            screen.set_progress(progress);
        }
    }

    /// Shows the targets. `unchecked` is the number of other targets whose rights could not be checked.
    pub fn set_entries(&mut self, entries: Vec<Entry>, unchecked: usize) {
        match &mut self.view {
            View::Screen(screen) => screen.set_entries(entries, unchecked),
            View::List(list) => list.set_entries(entries, unchecked),
        }
    }

    /// Adapts to a new size of the terminal.
    pub fn resize(&mut self, size: Size) {
        if let View::Screen(screen) = &mut self.view {
            screen.resize(size);
        }
    }

    /// Shows why the last choice failed. The user may choose again.
    pub fn show_notice(&mut self, notice: &str) {
        let notice = printable(notice);
        match &mut self.view {
            View::Screen(screen) => screen.show_notice(notice),
            View::List(list) => list.show_notice(&notice),
        }
    }

    /// Handles a byte from the terminal. Returns the user's action, if the byte completes one.
    pub fn input(&mut self, byte: u8) -> Option<Action> {
        let key = self.keys.advance(byte)?;
        self.handle_key(key)
    }

    /// Returns whether the last bytes may be the start of a longer sequence.
    pub const fn is_in_sequence(&self) -> bool {
        self.keys.is_in_sequence()
    }

    /// Ends an incomplete escape sequence after a pause in the input. Returns the user's action, if there is one.
    pub fn end_sequence(&mut self) -> Option<Action> {
        let key = self.keys.end_sequence()?;
        self.handle_key(key)
    }

    fn handle_key(&mut self, key: Key) -> Option<Action> {
        match &mut self.view {
            View::Screen(screen) => screen.handle_key(key),
            View::List(list) => list.handle_key(key),
        }
    }

    /// Returns the bytes that show what has changed.
    pub fn output(&mut self) -> Vec<u8> {
        match &mut self.view {
            View::Screen(screen) => screen.output(),
            View::List(list) => list.output(),
        }
    }

    /// Returns the bytes that restore the terminal.
    pub fn close(&self) -> &'static [u8] {
        match &self.view {
            View::Screen(_) => screen::CLOSE,
            View::List(_) => b"\r\n",
        }
    }
}

/// Returns whether a terminal cannot move its cursor.
fn is_dumb(term: &str) -> bool {
    matches!(term, "" | "dumb" | "unknown" | "network" | "dialup") || term.starts_with("dumb-")
}
