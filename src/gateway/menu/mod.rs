//! The menu of `ssh alice@gateway`: the targets that alice may use, to search, choose from and connect to. Pure, but for
//! `rights`, which asks what there is to show.

mod keys;
mod list;
mod pending_users;
mod picker;
mod rights;
mod screen;
pub mod target_selection;
mod text;
mod words;

pub use pending_users::PendingUsers;

use super::bridge::Size;
use crate::text::printable;
pub use keys::Key;
use keys::Keys;
use list::List;
use screen::Screen;
pub use words::Language;

/// A target that the user may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The logins that the user may use on it; at least one.
    pub logins: Vec<String>,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// What it is.
    pub description: String,
}

/// How far the checking of rights is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Targets that were checked.
    pub done: usize,
    /// All targets.
    pub total: usize,
}

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To connect.
    Connect(Choice),
    /// To leave.
    Leave,
}

/// A target, and a login on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The target's name.
    pub target: String,
    /// The login.
    pub login: String,
}

/// A menu on a user's terminal. What it has to show is in what [`Menu::output`] returns.
pub struct Menu {
    keys: Keys,
    face: Face,
    language: Language,
}

/// How a menu shows itself.
enum Face {
    /// On the whole screen.
    Screen(Screen),
    /// Line by line, where a terminal can do no more.
    List(List),
}

impl Menu {
    /// A menu for `user` on a terminal of this kind and size. It has no targets yet.
    pub fn new(user: &str, term: &str, size: Size, language: Language) -> Self {
        let user = printable(user);
        let face = if is_dumb(term) {
            Face::List(List::new(&user, language))
        } else {
            Face::Screen(Screen::new(&user, language, size))
        };
        Self { keys: Keys::default(), face, language }
    }

    /// The menu's language.
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Shows how far the checking of rights is.
    pub fn checking(&mut self, progress: Progress) {
        if let Face::Screen(screen) = &mut self.face {
            screen.checking(progress);
        }
    }

    /// Shows what there is to choose from. Of `unchecked` more targets it is not known whether the user may use them.
    pub fn fill(&mut self, entries: Vec<Entry>, unchecked: usize) {
        match &mut self.face {
            Face::Screen(screen) => screen.fill(entries, unchecked),
            Face::List(list) => list.fill(entries, unchecked),
        }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, size: Size) {
        if let Face::Screen(screen) = &mut self.face {
            screen.resize(size);
        }
    }

    /// Says why the choice came to nothing; the user may choose again.
    pub fn say(&mut self, notice: &str) {
        let notice = printable(notice);
        match &mut self.face {
            Face::Screen(screen) => screen.say(notice),
            Face::List(list) => list.say(&notice),
        }
    }

    /// Takes a byte from the terminal.
    pub fn read(&mut self, byte: u8) -> Option<Action> {
        let key = self.keys.read(byte)?;
        self.press(key)
    }

    /// Whether the last byte may be the beginning of something longer.
    pub const fn is_open(&self) -> bool {
        self.keys.is_open()
    }

    /// Nothing longer has come for a while.
    pub fn settle(&mut self) -> Option<Action> {
        let key = self.keys.settle()?;
        self.press(key)
    }

    fn press(&mut self, key: Key) -> Option<Action> {
        match &mut self.face {
            Face::Screen(screen) => screen.press(key),
            Face::List(list) => list.press(key),
        }
    }

    /// What the terminal must be sent to show what has changed.
    pub fn output(&mut self) -> Vec<u8> {
        match &mut self.face {
            Face::Screen(screen) => screen.output(),
            Face::List(list) => list.output(),
        }
    }

    /// What the terminal must be sent to be as it was.
    pub fn close(&self) -> &'static [u8] {
        match &self.face {
            Face::Screen(_) => screen::CLOSE,
            Face::List(_) => b"\r\n",
        }
    }
}

/// Whether a terminal can do no more than write line by line.
fn is_dumb(term: &str) -> bool {
    matches!(term, "" | "dumb" | "unknown" | "network" | "dialup") || term.starts_with("dumb-")
}

/// What an entry is found by: its name first.
fn candidate(entry: &Entry) -> String {
    let Entry { name, logins, groups, description } = entry;
    format!("{name} {} {} {description}", logins.join(" "), groups.join(" "))
}

/// What the menu tells of an entry beside its name: its logins, what it is, and its groups.
fn details(entry: &Entry) -> (String, String) {
    let logins = printable(&entry.logins.join(", "));
    let mut about = printable(&entry.description);
    if !entry.groups.is_empty() {
        let space = if about.is_empty() { "" } else { " " };
        about = format!("{about}{space}[{}]", printable(&entry.groups.join(", ")));
    }
    (logins, about)
}

#[cfg(test)]
mod tests;
