//! What a player needs of recordings: which there are, of which pieces, and where in them a word is shown.

use serde::Deserialize;
use vte::{Params, Parser, Perform};

use super::Failure;
use super::store::{Store, Stored};

/// No more places are found.
const MOST_MATCHES: usize = 200;
/// No more of a line is looked at, or shown.
const LONGEST_LINE: usize = 1024;

/// A recording that is in the store, or as much of it as is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecording {
    /// Counted from 1 in its session.
    pub number: u32,
    /// Whether it was stored to its end.
    pub complete: bool,
    /// In their order.
    pub pieces: Vec<StoredSegment>,
}

/// A piece that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The object's name in the recording's folder.
    pub name: String,
    /// Milliseconds from the recording's beginning to its own.
    pub at: u64,
    /// The terminal's width as it begins.
    pub columns: u32,
    /// The terminal's height as it begins.
    pub rows: u32,
    /// How long its text is.
    pub bytes: u64,
}

/// The recordings in a session's folder.
///
/// # Errors
/// When the store does not say.
pub async fn recordings(store: &Store, folder: &str) -> Result<Vec<StoredRecording>, Failure> {
    Ok(sorted_out(&store.list(folder).await?))
}

/// Sorts out what is in a session's folder.
fn sorted_out(objects: &[Stored]) -> Vec<StoredRecording> {
    let mut found: Vec<StoredRecording> = vec![];
    for Stored { path, bytes } in objects {
        let Some((number, name)) = path.split_once('/') else { continue };
        let Ok(number) = number.parse() else { continue };
        let place = found.iter().position(|recording| recording.number == number).unwrap_or_else(|| {
            found.push(StoredRecording { number, complete: false, pieces: vec![] });
            found.len() - 1
        });
        if name == "manifest.json" {
            found[place].complete = true;
        }
        found[place].pieces.extend(piece(name, *bytes));
    }
    for recording in &mut found {
        recording.pieces.sort_by(|one, other| one.name.cmp(&other.name));
    }
    found.sort_by_key(|recording| recording.number);
    found
}

/// A piece by its name, `<number>-<milliseconds>-<columns>x<rows>.cast`.
fn piece(name: &str, bytes: u64) -> Option<StoredSegment> {
    let mut parts = name.strip_suffix(".cast")?.split('-');
    let (_, at, size, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let (columns, rows) = size.split_once('x')?;
    let (at, columns, rows) = (at.parse().ok()?, columns.parse().ok()?, rows.parse().ok()?);
    Some(StoredSegment { name: name.to_owned(), at, columns, rows, bytes })
}

/// A place in a recording where a word is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// The line that it is in.
    pub line: String,
}

/// A search for a word, whatever its case, in what a terminal has shown.
pub struct Search {
    word: String,
    parser: Parser,
    screen: Lines,
    at: u64,
    found: Vec<Match>,
}

impl Search {
    /// For this word.
    pub fn new(word: &str) -> Self {
        Self { word: word.to_lowercase(), parser: Parser::new(), screen: Lines::default(), at: 0, found: vec![] }
    }

    /// Reads on in a piece that begins at this time. Whether there may be more to find.
    pub fn read(&mut self, at: u64, text: &[u8]) -> bool {
        self.at = at;
        for line in text.split(|byte| *byte == b'\n') {
            // The header is none, and what is damaged is left out.
            if let Ok(Event(interval, code, data)) = serde_json::from_slice(line) {
                self.event(interval, code, &data);
            }
        }
        self.found.len() < MOST_MATCHES
    }

    /// What was found, in the order of time.
    pub fn found(mut self) -> Vec<Match> {
        self.found.truncate(MOST_MATCHES);
        self.found
    }

    fn event(&mut self, interval: f64, code: char, data: &str) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "of hours at most, and never below zero"
        )]
        let milliseconds = (interval * 1000.0).round() as u64;
        self.at = self.at.saturating_add(milliseconds);
        if code != 'o' {
            return;
        }
        self.parser.advance(&mut self.screen, data.as_bytes());
        self.screen.look();
        for line in std::mem::take(&mut self.screen.seen) {
            if line.to_lowercase().contains(&self.word) {
                self.found.push(Match { at: self.at, line });
            }
        }
    }
}

/// An event of asciicast.
#[derive(Deserialize)]
struct Event<'a>(f64, char, #[serde(borrow)] std::borrow::Cow<'a, str>);

/// What is written, in lines. It is no screen: whatever moves the cursor to elsewhere begins a line.
#[derive(Default)]
struct Lines {
    line: String,
    /// How much of the line has been looked at before.
    looked: usize,
    /// The cursor is at the line's beginning.
    returned: bool,
    seen: Vec<String>,
}

impl Lines {
    /// Hands over the line that is being written, as far as it is, if anything was added to it.
    fn look(&mut self) {
        if self.line.len() > self.looked {
            self.looked = self.line.len();
            self.seen.push(self.line.clone());
        }
    }

    fn end(&mut self) {
        self.look();
        self.line.clear();
        (self.looked, self.returned) = (0, false);
    }
}

impl Perform for Lines {
    fn print(&mut self, character: char) {
        if std::mem::take(&mut self.returned) {
            self.end();
        }
        if self.line.len() < LONGEST_LINE {
            self.line.push(character);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end(),
            b'\r' => self.returned = true,
            b'\t' => self.print(' '),
            0x08 => drop(self.line.pop()),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, _: &Params, _: &[u8], _: bool, action: char) {
        if matches!(action, 'H' | 'f' | 'A' | 'B' | 'E' | 'F' | 'd' | 'J') {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(path: &str, bytes: u64) -> Stored {
        Stored { path: path.to_owned(), bytes }
    }

    #[test]
    fn a_folder_is_sorted_out() {
        let found = sorted_out(&[
            stored("2/00000000-0000000000-132x50.cast", 90),
            stored("1/00000001-0000000000-80x24.cast", 200),
            stored("1/00000000-0000000000-80x24.cast", 100),
            stored("1/manifest.json", 300),
            stored("1/00000002-0000003000-100x30.cast", 400),
            stored("1/notes.txt", 1),
            stored("readme", 1),
        ]);
        assert_eq!(found.iter().map(|it| (it.number, it.complete)).collect::<Vec<_>>(), [(1, true), (2, false)]);
        let pieces: Vec<_> = found[0].pieces.iter().map(|it| (it.at, it.columns, it.rows, it.bytes)).collect();
        assert_eq!(pieces, [(0, 80, 24, 100), (0, 80, 24, 200), (3000, 100, 30, 400)]);
    }

    fn search(word: &str, pieces: &[(u64, &str)]) -> Vec<(u64, String)> {
        let mut search = Search::new(word);
        for (at, text) in pieces {
            search.read(*at, text.as_bytes());
        }
        search.found().into_iter().map(|found| (found.at, found.line)).collect()
    }

    #[test]
    fn a_word_is_found_as_it_is_shown() {
        let text = concat!(
            "{\"version\":3}\n",
            "[1.000,\"o\",\"$ \"]\n[0.500,\"o\",\"ec\"]\n[0.250,\"o\",\"ho \\u001b[1mPass\\u001b[0mword\"]\n",
            "[1.000,\"o\",\"\\r\\n\"]\n[1.000,\"i\",\"password\"]\n[1.000,\"m\",\"password\"]\n",
        );
        assert_eq!(search("PASSword", &[(0, text)]), [(1750, "$ echo Password".to_owned())]);
        let next = "[0.100,\"o\",\"no\\r\\npassword:\\u001b[2;1Hpassword\\rdone\"]\n";
        let found = search("password", &[(0, text), (9000, next)]);
        let expected = [(1750, "$ echo Password"), (9100, "password:"), (9100, "password")];
        assert_eq!(found, expected.map(|(at, line)| (at, line.to_owned())));
    }

    #[test]
    fn what_is_damaged_is_left_out_and_there_is_an_end() {
        assert_eq!(search("x", &[(0, "[1.0,\"o\"\n[]\n\nnothing\n[0.010,\"o\",\"x\"]")]), [(10, "x".to_owned())]);
        let many = "[0.001,\"o\",\"x\\r\\n\"]\n".repeat(1000);
        let mut search = Search::new("x");
        assert!(!search.read(0, many.as_bytes()));
        assert_eq!(search.found().len(), MOST_MATCHES);
        let mut endless = Search::new("y");
        endless.read(0, format!("[0.0,\"o\",\"{}y\"]", "x".repeat(10_000)).as_bytes());
        assert_eq!(endless.found(), []);
    }
}
