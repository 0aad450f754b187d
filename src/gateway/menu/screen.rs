//! The menu on a terminal's alternate screen. Only changed lines are sent.

use std::fmt::Write;

use super::keys::Key;
use super::language::Language;
use super::model::{Action, Entry, Progress, connect};
use super::picker::Picker;
use super::text::{fit, truncate, width};
use crate::gateway::bridge::Size;
use crate::text::printable;

/// Switches to the alternate screen and clears it.
const OPEN: &str = "\x1b[?1049h\x1b[0m\x1b[H\x1b[2J";
/// Clears the screen, for terminals without an alternate one, and switches back.
pub const CLOSE: &[u8] = b"\x1b[0m\x1b[H\x1b[2J\x1b[?1049l";

/// The size that is assumed for a terminal that reports no size, as columns and rows.
const DEFAULT_SIZE: (usize, usize) = (80, 24);
/// The largest size that is used, as columns and rows.
const MAX_SIZE: (usize, usize) = (400, 200);
/// The maximum width of the column for names, if there are other columns.
const MAX_NAME_WIDTH: usize = 32;
/// The maximum width of the column for logins.
const MAX_LOGINS_WIDTH: usize = 20;
/// Terminals with fewer columns show only names.
const MIN_TABLE_WIDTH: usize = 36;

/// The menu's state, and the lines that the terminal shows.
pub struct Screen {
    user: String,
    language: Language,
    columns: usize,
    rows: usize,
    entries: Vec<Entry>,
    selection: Selection,
    progress: Option<Progress>,
    unchecked: usize,
    notice: Option<String>,
    /// The lines on the terminal. If it is `None`, the next output redraws the whole screen.
    shown: Option<Vec<Line>>,
    is_open: bool,
}

/// The selection so far.
#[derive(Default)]
struct Selection {
    targets: Picker,
    /// The target whose logins are listed, as an index into the entries.
    chosen: Option<usize>,
    logins: Picker,
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub selected: bool,
}

impl Screen {
    /// Returns a menu without entries.
    pub fn new(user: &str, language: Language, size: Size) -> Self {
        let mut screen = Self {
            user: user.to_owned(),
            language,
            columns: 0,
            rows: 0,
            entries: Vec::new(),
            selection: Selection::default(),
            progress: Some(Progress::default()),
            unchecked: 0,
            notice: None,
            shown: None,
            is_open: false,
        };
        screen.resize(size);
        screen
    }

    pub const fn set_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    pub fn set_entries(&mut self, entries: Vec<Entry>, unchecked: usize) {
        self.progress = None;
        self.unchecked = unchecked;
        self.selection.targets.set_candidates(entries.iter().map(Entry::search_text));
        self.entries = entries;
    }

    pub fn resize(&mut self, size: Size) {
        let clamp = |reported: u32, default, max| match usize::try_from(reported).unwrap_or(usize::MAX) {
            0 => default,
            reported => reported.min(max),
        };
        self.columns = clamp(size.columns, DEFAULT_SIZE.0, MAX_SIZE.0);
        self.rows = clamp(size.rows, DEFAULT_SIZE.1, MAX_SIZE.1);
        self.shown = None;
    }

    pub fn show_notice(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    pub fn handle_key(&mut self, key: Key) -> Option<Action> {
        self.notice = None;
        match (key, self.selection.chosen) {
            (Key::Quit, _) | (Key::Escape, None) => return Some(Action::Quit),
            (Key::Escape, Some(_)) => self.selection.chosen = None,
            (Key::Redraw, _) => self.shown = None,
            (Key::Enter, None) => return self.choose(),
            (Key::Enter, Some(target)) => {
                let login = self.selection.logins.selected()?;
                return connect(&self.entries, target, login);
            }
            (key, None) => self.selection.targets.handle_key(key),
            (key, Some(_)) => self.selection.logins.handle_key(key),
        }
        None
    }

    /// Returns the action that connects to a target with one login. Lists the logins of a target with several, and returns
    /// `None`.
    fn choose(&mut self) -> Option<Action> {
        let target = self.selection.targets.selected()?;
        let logins = &self.entries.get(target)?.logins;
        if logins.len() == 1 {
            return connect(&self.entries, target, 0);
        }
        self.selection.logins = Picker::default();
        self.selection.logins.set_candidates(logins.iter().cloned());
        self.selection.chosen = Some(target);
        None
    }

    /// Returns the bytes that show what has changed.
    pub fn output(&mut self) -> Vec<u8> {
        let (lines, cursor) = self.lines();
        let mut out = String::new();
        if !self.is_open {
            self.is_open = true;
            out.push_str(OPEN);
        } else if self.shown.is_none() {
            out.push_str("\x1b[0m\x1b[H\x1b[2J");
        }
        let shown = self.shown.take().unwrap_or_default();
        let blank = Line::default();
        for (row, line) in lines.iter().enumerate() {
            if line != shown.get(row).unwrap_or(&blank) {
                let (start, end) = if line.selected { ("\x1b[7m", "\x1b[0m") } else { ("", "") };
                let _ = write!(out, "\x1b[{};1H\x1b[K{start}{}{end}", row + 1, line.text);
            }
        }
        self.shown = Some(lines);
        let (row, column) = cursor;
        let _ = write!(out, "\x1b[{};{}H", row + 1, column + 1);
        out.into_bytes()
    }

    /// Returns the lines from top to bottom, and the cursor's row and column. The last column stays empty, because terminals
    /// differ in how they wrap there.
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
        let footer = (self.rows >= 4 || (self.rows >= 2 && self.notice.is_some())).then(|| self.footer(columns));
        let height = self.rows.saturating_sub(lines.len() + usize::from(footer.is_some()));
        let (mut rows, selected) = self.list(columns, height);
        rows.resize(height, String::new());
        let selected = selected.map(|row| row + lines.len());
        lines.extend(rows);
        lines.extend(footer);
        let line =
            |(row, text): (usize, String)| Line { text: truncate(&text, columns), selected: selected == Some(row) };
        (lines.into_iter().enumerate().map(line).collect(), (search_row, cursor))
    }

    fn title(&self) -> String {
        match self.selection.chosen.and_then(|target| self.entries.get(target)) {
            Some(entry) => self.language.logins_title(&printable(&entry.name)),
            None => self.language.title(&self.user),
        }
    }

    const fn picker(&self) -> &Picker {
        if self.selection.chosen.is_some() { &self.selection.logins } else { &self.selection.targets }
    }

    /// Returns the line with the query and the number of matches, and the cursor's column.
    fn search_line(&self, columns: usize) -> (String, usize) {
        let picker = self.picker();
        let all = self
            .selection
            .chosen
            .and_then(|target| self.entries.get(target))
            .map_or(self.entries.len(), |it| it.logins.len());
        let count = format!("  {}/{all}", picker.matches().len());
        let label = self.language.search();
        let label = if columns < MIN_TABLE_WIDTH { "> " } else { label };
        let room = columns.saturating_sub(width(label) + width(&count)).max(1);
        let query = tail(picker.query(), room);
        let cursor = width(label) + width(&query);
        let count = if self.progress.is_some() { "" } else { &count };
        (format!("{label}{}{count}", fit(&query, room)), cursor.min(columns))
    }

    /// Returns the visible rows of the list, and the selected one.
    fn list(&mut self, columns: usize, height: usize) -> (Vec<String>, Option<usize>) {
        let empty = |text: String| (vec![format!("  {text}")], None);
        if let Some(progress) = self.progress {
            return empty(self.language.checking(progress));
        }
        let picker =
            if self.selection.chosen.is_some() { &mut self.selection.logins } else { &mut self.selection.targets };
        let (view, selected) = picker.view(height);
        let Some(visible) = self.picker().matches().get(view).filter(|visible| !visible.is_empty()) else {
            return empty(self.language.no_match().to_owned());
        };
        let mark = |row: usize, text: String| format!("{} {text}", if row == selected { '>' } else { ' ' });
        let texts: Vec<String> = match self.selection.chosen.and_then(|target| self.entries.get(target)) {
            Some(entry) => {
                visible.iter().filter_map(|login| entry.logins.get(*login)).map(|it| printable(it)).collect()
            }
            None => self.rows_of(visible, columns.saturating_sub(2)),
        };
        (texts.into_iter().enumerate().map(|(row, text)| mark(row, text)).collect(), Some(selected))
    }

    /// Returns targets as rows of a table.
    fn rows_of(&self, visible: &[usize], columns: usize) -> Vec<String> {
        let entries = || visible.iter().filter_map(|index| self.entries.get(*index));
        let names: Vec<String> = entries().map(|entry| printable(&entry.name)).collect();
        if columns < MIN_TABLE_WIDTH {
            return names;
        }
        let details: Vec<(String, String)> = entries().map(Entry::details).collect();
        let widest = |max: usize, texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| width(text)).max().unwrap_or_default().min(max)
        };
        let name = widest(MAX_NAME_WIDTH.min(columns / 2), &mut names.iter());
        let logins = widest(MAX_LOGINS_WIDTH, &mut details.iter().map(|(logins, _)| logins));
        let row = |(text, (of_logins, about)): (&String, &(String, String))| {
            format!("{}  {}  {about}", fit(text, name), fit(of_logins, logins))
        };
        names.iter().zip(&details).map(row).collect()
    }

    /// Returns the last line: a notice, the number of unchecked targets, or key hints.
    fn footer(&self, columns: usize) -> String {
        if let Some(notice) = &self.notice {
            return notice.clone();
        }
        if self.unchecked > 0 && self.selection.chosen.is_none() {
            return self.language.unchecked(self.unchecked);
        }
        let hints = if self.selection.chosen.is_some() { self.language.logins_hints() } else { self.language.hints() };
        let fitting = hints.iter().find(|hint| width(hint) <= columns).or(hints.last());
        fitting.copied().unwrap_or_default().to_owned()
    }
}

/// Returns the end of the text that fits into this many columns.
fn tail(text: &str, columns: usize) -> String {
    let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]);
    let fitting = starts.map(|start| &text[start..]).find(|tail| width(tail) <= columns);
    fitting.unwrap_or_default().to_owned()
}
