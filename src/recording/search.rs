//! Searches the displayed text of a recording.

use serde::Deserialize;
use vte::{Params, Parser, Perform};

/// The most matches of one search.
const MAX_MATCHES: usize = 200;
/// The bytes of a line that are searched and shown.
const MAX_LINE: usize = 1024;
/// The longest control sequence, in bytes. What follows in a longer one is text: the parser would keep all of it.
const MAX_SEQUENCE: usize = 64 * 1024;
/// The bytes that are parsed at once.
const PARSED_AT_ONCE: usize = 4 * 1024;

/// A match in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The time, in milliseconds from the start of the recording.
    pub at: u64,
    /// The line that contains the word.
    pub line: String,
}

/// A case-insensitive search for a word.
pub struct Search {
    word: String,
    parser: Parser,
    /// The bytes that the parser has taken since it last called a method of the screen.
    undispatched: usize,
    screen: Lines,
    /// The time of the last event, in milliseconds.
    at: u64,
    matches: Vec<Match>,
}

impl Search {
    /// Returns a search for this word.
    pub fn new(word: &str) -> Self {
        let (parser, screen) = (Parser::new(), Lines::default());
        Self { word: word.to_lowercase(), parser, undispatched: 0, screen, at: 0, matches: vec![] }
    }

    /// Searches the next segment, which starts at `at` milliseconds. Returns whether there may be more matches.
    pub fn read(&mut self, at: u64, text: &[u8]) -> bool {
        self.at = at;
        for line in text.split(|byte| *byte == b'\n') {
            // The header is not an event. Damaged lines are skipped.
            if let Ok(Event(interval, code, data)) = serde_json::from_slice(line) {
                self.event(interval, code, &data);
            }
        }
        self.matches.len() < MAX_MATCHES
    }

    /// Returns the matches in the order of time.
    pub fn found(mut self) -> Vec<Match> {
        self.matches.truncate(MAX_MATCHES);
        self.matches
    }

    fn event(&mut self, interval: f64, code: char, data: &str) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an interval is at most hours, and not negative"
        )]
        let milliseconds = (interval * 1000.0).round() as u64;
        self.at = self.at.saturating_add(milliseconds);
        if code != 'o' {
            return;
        }
        self.parse(data.as_bytes());
        self.screen.flush();
        for line in std::mem::take(&mut self.screen.finished) {
            if line.to_lowercase().contains(&self.word) {
                self.matches.push(Match { at: self.at, line });
            }
        }
    }

    /// Parses output, and gives up a control sequence that is too long.
    fn parse(&mut self, output: &[u8]) {
        for piece in output.chunks(PARSED_AT_ONCE) {
            self.parser.advance(&mut self.screen, piece);
            let dispatched = std::mem::take(&mut self.screen.dispatched);
            self.undispatched = if dispatched { 0 } else { self.undispatched + piece.len() };
            if self.undispatched > MAX_SEQUENCE {
                (self.parser, self.undispatched) = (Parser::new(), 0);
            }
        }
    }
}

/// An event of asciicast: interval in seconds, code and data.
#[derive(Deserialize)]
struct Event<'a>(f64, char, #[serde(borrow)] std::borrow::Cow<'a, str>);

/// Collects output as lines. It does not emulate a screen: a cursor movement to another line begins a new line.
#[derive(Default)]
struct Lines {
    line: String,
    /// The length of the line when it was flushed last.
    flushed: usize,
    /// Whether the cursor is at the start of the line.
    returned: bool,
    /// The lines to search.
    finished: Vec<String>,
    /// Whether the parser has called a method since the last piece.
    dispatched: bool,
}

impl Lines {
    /// Adds the current line to the lines to search, if it has grown since the last flush.
    fn flush(&mut self) {
        if self.line.len() > self.flushed {
            self.flushed = self.line.len();
            self.finished.push(self.line.clone());
        }
    }

    fn end_line(&mut self) {
        self.flush();
        self.line.clear();
        (self.flushed, self.returned) = (0, false);
    }
}

impl Perform for Lines {
    fn print(&mut self, character: char) {
        self.dispatched = true;
        if std::mem::take(&mut self.returned) {
            self.end_line();
        }
        if self.line.len() < MAX_LINE {
            self.line.push(character);
        }
    }

    fn execute(&mut self, byte: u8) {
        self.dispatched = true;
        match byte {
            b'\n' => self.end_line(),
            b'\r' => self.returned = true,
            b'\t' => self.print(' '),
            0x08 => drop(self.line.pop()),
            _ => {}
        }
    }

    fn put(&mut self, _: u8) {
        self.dispatched = true;
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.dispatched = true;
    }

    fn csi_dispatch(&mut self, _: &Params, _: &[u8], _: bool, action: char) {
        self.dispatched = true;
        if matches!(action, 'H' | 'f' | 'A' | 'B' | 'E' | 'F' | 'd' | 'J') {
            self.end_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(word: &str, segments: &[(u64, &str)]) -> Vec<(u64, String)> {
        let mut search = Search::new(word);
        for (at, text) in segments {
            search.read(*at, text.as_bytes());
        }
        search.found().into_iter().map(|found| (found.at, found.line)).collect()
    }

    #[test]
    fn a_word_is_found_in_the_displayed_text() {
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

    /// A parser that keeps an endless sequence takes as much memory as the recording has.
    #[test]
    fn an_endless_control_sequence_is_given_up() {
        let event = |text: &str| format!("[0.001,\"o\",\"{text}\"]\n");
        let title = event(&format!("\\u001b]0;{}\\u0007needle\\r\\n", "x".repeat(MAX_SEQUENCE / 2)));
        assert_eq!(search("needle", &[(0, &title)]), [(1, "needle".to_owned())]);
        let endless =
            event(&format!("\\u001b]0;{}", "x".repeat(MAX_SEQUENCE))) + &event(&"x".repeat(2 * PARSED_AT_ONCE));
        assert_eq!(search("needle", &[(0, &endless), (5, &event("\\r\\nneedle"))]), [(6, "needle".to_owned())]);
    }

    #[test]
    fn damaged_lines_are_skipped_and_results_are_limited() {
        assert_eq!(search("x", &[(0, "[1.0,\"o\"\n[]\n\nnothing\n[0.010,\"o\",\"x\"]")]), [(10, "x".to_owned())]);
        let many = "[0.001,\"o\",\"x\\r\\n\"]\n".repeat(1000);
        let mut search = Search::new("x");
        assert!(!search.read(0, many.as_bytes()));
        assert_eq!(search.found().len(), MAX_MATCHES);
        let mut endless = Search::new("y");
        endless.read(0, format!("[0.0,\"o\",\"{}y\"]", "x".repeat(10_000)).as_bytes());
        assert_eq!(endless.found(), []);
    }
}
