//! The menu's data: the targets that it shows, and the decisions of the user.

use crate::text::printable;

/// A target that the user may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The target's name.
    pub name: String,
    /// The logins that the user may use on it; at least one.
    pub logins: Vec<String>,
    /// The target's groups.
    pub groups: Vec<String>,
    /// The target's description; may be empty.
    pub description: String,
}

impl Entry {
    /// Returns the text that is searched. It begins with the target's name.
    pub fn search_text(&self) -> String {
        let Self { name, logins, groups, description } = self;
        format!("{name} {} {} {description}", logins.join(" "), groups.join(" "))
    }

    /// Returns the columns beside the name: the logins, and the description with the groups.
    pub fn details(&self) -> (String, String) {
        let logins = printable(&self.logins.join(", "));
        let mut about = printable(&self.description);
        if !self.groups.is_empty() {
            let space = if about.is_empty() { "" } else { " " };
            about = format!("{about}{space}[{}]", printable(&self.groups.join(", ")));
        }
        (logins, about)
    }
}

/// The progress of the rights check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of targets that were checked.
    pub done: usize,
    /// The number of all targets.
    pub total: usize,
}

/// The user's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to a target.
    Connect(Choice),
    /// Leave without a session.
    Quit,
}

/// A target, and a login on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The target's name.
    pub target: String,
    /// The login.
    pub login: String,
}

/// Returns the action that connects to a target with one of its logins, both given by their index.
pub fn connect(entries: &[Entry], target: usize, login: usize) -> Option<Action> {
    let entry = entries.get(target)?;
    let login = entry.logins.get(login)?.clone();
    Some(Action::Connect(Choice { target: entry.name.clone(), login }))
}
