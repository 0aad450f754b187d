//! The menu on the whole screen of a terminal. It uses the alternate screen, so that what was on the terminal before is
//! there again when it closes, and of what it shows it sends what has changed.

use std::fmt::Write;

use super::keys::Key;
use super::picker::Picker;
use super::text::{cut, fit, width};
use super::words::Language;
use super::{Action, Choice, Entry, Progress, candidate, details};
use crate::gateway::bridge::Size;
use crate::text::printable;

/// Opens the alternate screen and wipes it.
const OPEN: &str = "\x1b[?1049h\x1b[0m\x1b[H\x1b[2J";
/// Wipes the screen, for terminals that have no alternate one, and leaves it.
pub const CLOSE: &[u8] = b"\x1b[0m\x1b[H\x1b[2J\x1b[?1049l";

/// Where a terminal does not say its size, it is taken for one of this.
const USUAL: (usize, usize) = (80, 24);
/// No terminal is taken to be larger.
const LARGEST: (usize, usize) = (400, 200);
/// The name of a target gets no more than this, where there is more to tell of it.
const NAME_COLUMNS: usize = 32;
/// Its logins get no more than this.
const LOGIN_COLUMNS: usize = 20;
/// With fewer columns only names are shown.
const NARROW: usize = 36;

/// The menu's state and what of it the terminal shows.
pub struct Screen {
    user: String,
    language: Language,
    columns: usize,
    rows: usize,
    entries: Vec<Entry>,
    targets: Picker,
    /// The target whose logins are to choose from, an index of the entries.
    chosen: Option<usize>,
    logins: Picker,
    progress: Option<Progress>,
    unchecked: usize,
    notice: Option<String>,
    /// What the terminal shows; nothing before it was drawn, or when all of it must be drawn anew.
    shown: Option<Vec<Line>>,
    opened: bool,
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub selected: bool,
}

impl Screen {
    /// An empty menu.
    pub fn new(user: &str, language: Language, size: Size) -> Self {
        let mut screen = Self {
            user: user.to_owned(),
            language,
            columns: 0,
            rows: 0,
            entries: Vec::new(),
            targets: Picker::default(),
            chosen: None,
            logins: Picker::default(),
            progress: Some(Progress::default()),
            unchecked: 0,
            notice: None,
            shown: None,
            opened: false,
        };
        screen.resize(size);
        screen
    }

    pub const fn checking(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    pub fn fill(&mut self, entries: Vec<Entry>, unchecked: usize) {
        self.progress = None;
        self.unchecked = unchecked;
        self.targets.fill(entries.iter().map(candidate));
        self.entries = entries;
    }

    pub fn resize(&mut self, size: Size) {
        let within = |given: u32, usual, largest| match usize::try_from(given).unwrap_or(usize::MAX) {
            0 => usual,
            given => given.min(largest),
        };
        self.columns = within(size.columns, USUAL.0, LARGEST.0);
        self.rows = within(size.rows, USUAL.1, LARGEST.1);
        self.shown = None;
    }

    pub fn say(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    pub fn press(&mut self, key: Key) -> Option<Action> {
        self.notice = None;
        match (key, self.chosen) {
            (Key::Leave, _) | (Key::Escape, None) => return Some(Action::Leave),
            (Key::Escape, Some(_)) => self.chosen = None,
            (Key::Redraw, _) => self.shown = None,
            (Key::Enter, None) => return self.enter(),
            (Key::Enter, Some(target)) => {
                let login = self.logins.selected()?;
                return self.connect(target, login);
            }
            (key, None) => self.targets.press(key),
            (key, Some(_)) => self.logins.press(key),
        }
        None
    }

    /// A target with one login is connected to; of several logins, one is to choose.
    fn enter(&mut self) -> Option<Action> {
        let target = self.targets.selected()?;
        let logins = &self.entries.get(target)?.logins;
        if logins.len() == 1 {
            return self.connect(target, 0);
        }
        self.logins = Picker::default();
        self.logins.fill(logins.iter().cloned());
        self.chosen = Some(target);
        None
    }

    fn connect(&self, target: usize, login: usize) -> Option<Action> {
        let entry = self.entries.get(target)?;
        let login = entry.logins.get(login)?.clone();
        Some(Action::Connect(Choice { target: entry.name.clone(), login }))
    }

    /// What the terminal must be sent.
    pub fn output(&mut self) -> Vec<u8> {
        let (lines, cursor) = self.lines();
        let mut out = String::new();
        if !self.opened {
            self.opened = true;
            out.push_str(OPEN);
        } else if self.shown.is_none() {
            out.push_str("\x1b[0m\x1b[H\x1b[2J");
        }
        let shown = self.shown.take().unwrap_or_default();
        let blank = Line::default();
        for (row, line) in lines.iter().enumerate() {
            if line != shown.get(row).unwrap_or(&blank) {
                let (begin, end) = if line.selected { ("\x1b[7m", "\x1b[0m") } else { ("", "") };
                let _ = write!(out, "\x1b[{};1H\x1b[K{begin}{}{end}", row + 1, line.text);
            }
        }
        self.shown = Some(lines);
        let (row, column) = cursor;
        let _ = write!(out, "\x1b[{};{}H", row + 1, column + 1);
        out.into_bytes()
    }

    /// The lines of the screen from top to bottom, and row and column of the cursor. The last column stays empty: what
    /// terminals do behind it differs.
    fn lines(&mut self) -> (Vec<Line>, (usize, usize)) {
        let columns = self.columns.saturating_sub(1);
        let mut lines = Vec::with_capacity(self.rows);
        if self.rows >= 6 {
            lines.push(self.title());
        }
        let (search, cursor) = self.search_line(columns);
        let search_row = lines.len();
        lines.push(search);
        if self.rows >= 8 {
            lines.push(String::new());
        }
        let foot = (self.rows >= 4 || (self.rows >= 2 && self.notice.is_some())).then(|| self.foot(columns));
        let height = self.rows.saturating_sub(lines.len() + usize::from(foot.is_some()));
        let (mut rows, selected) = self.list(columns, height);
        rows.resize(height, String::new());
        let selected = selected.map(|row| row + lines.len());
        lines.extend(rows);
        lines.extend(foot);
        let line = |(row, text): (usize, String)| Line { text: cut(&text, columns), selected: selected == Some(row) };
        (lines.into_iter().enumerate().map(line).collect(), (search_row, cursor))
    }

    fn title(&self) -> String {
        match self.chosen.and_then(|target| self.entries.get(target)) {
            Some(entry) => self.language.logins_title(&printable(&entry.name)),
            None => self.language.title(&self.user),
        }
    }

    const fn picker(&self) -> &Picker {
        if self.chosen.is_some() { &self.logins } else { &self.targets }
    }

    /// What is searched for, how many match, and the column behind the former.
    fn search_line(&self, columns: usize) -> (String, usize) {
        let picker = self.picker();
        let all =
            self.chosen.and_then(|target| self.entries.get(target)).map_or(self.entries.len(), |it| it.logins.len());
        let count = format!("  {}/{all}", picker.matches().len());
        let label = self.language.search();
        let label = if columns < NARROW { "> " } else { label };
        let room = columns.saturating_sub(width(label) + width(&count)).max(1);
        let typed = tail(picker.query(), room);
        let cursor = width(label) + width(&typed);
        let count = if self.progress.is_some() { "" } else { &count };
        (format!("{label}{}{count}", fit(&typed, room)), cursor.min(columns))
    }

    /// The part of the list that is in view, and which row of it is selected.
    fn list(&mut self, columns: usize, height: usize) -> (Vec<String>, Option<usize>) {
        let empty = |text: String| (vec![format!("  {text}")], None);
        if let Some(progress) = self.progress {
            return empty(self.language.checking(progress));
        }
        let picker = if self.chosen.is_some() { &mut self.logins } else { &mut self.targets };
        let (view, selected) = picker.view(height);
        let Some(visible) = self.picker().matches().get(view).filter(|visible| !visible.is_empty()) else {
            return empty(self.language.no_match().to_owned());
        };
        let mark = |row: usize, text: String| format!("{} {text}", if row == selected { '>' } else { ' ' });
        let texts: Vec<String> = match self.chosen.and_then(|target| self.entries.get(target)) {
            Some(entry) => {
                visible.iter().filter_map(|login| entry.logins.get(*login)).map(|it| printable(it)).collect()
            }
            None => self.rows_of(visible, columns.saturating_sub(2)),
        };
        (texts.into_iter().enumerate().map(|(row, text)| mark(row, text)).collect(), Some(selected))
    }

    /// Targets as rows of a table.
    fn rows_of(&self, visible: &[usize], columns: usize) -> Vec<String> {
        let entries = || visible.iter().filter_map(|index| self.entries.get(*index));
        let names: Vec<String> = entries().map(|entry| printable(&entry.name)).collect();
        if columns < NARROW {
            return names;
        }
        let details: Vec<(String, String)> = entries().map(details).collect();
        let widest = |most: usize, texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| width(text)).max().unwrap_or_default().min(most)
        };
        let name = widest(NAME_COLUMNS.min(columns / 2), &mut names.iter());
        let logins = widest(LOGIN_COLUMNS, &mut details.iter().map(|(logins, _)| logins));
        let row = |(text, (of_logins, about)): (&String, &(String, String))| {
            format!("{}  {}  {about}", fit(text, name), fit(of_logins, logins))
        };
        names.iter().zip(&details).map(row).collect()
    }

    /// The last line: what went wrong, or is missing, or what the keys do.
    fn foot(&self, columns: usize) -> String {
        if let Some(notice) = &self.notice {
            return notice.clone();
        }
        if self.unchecked > 0 && self.chosen.is_none() {
            return self.language.unchecked(self.unchecked);
        }
        let hints = if self.chosen.is_some() { self.language.logins_hints() } else { self.language.hints() };
        let fitting = hints.iter().find(|hint| width(hint) <= columns).or(hints.last());
        fitting.copied().unwrap_or_default().to_owned()
    }
}

/// The end of the text, as much of it as fits.
fn tail(text: &str, columns: usize) -> String {
    let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]);
    let fitting = starts.map(|start| &text[start..]).find(|tail| width(tail) <= columns);
    fitting.unwrap_or_default().to_owned()
}
