//! Decodes the bytes of a terminal into keys.

use vte::{Params, Parser, Perform};

use crate::text::is_invisible;

/// A key that the menu handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// Enter.
    Enter,
    /// Backspace.
    Backspace,
    /// Ctrl-U or Ctrl-W: clears the line.
    ClearLine,
    /// Arrow up, or Ctrl-P.
    Up,
    /// Arrow down, or Ctrl-N.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// Ctrl-L: redraws the screen.
    Redraw,
    /// Escape by itself.
    Escape,
    /// Ctrl-C or Ctrl-D.
    Quit,
}

/// Decodes keys from bytes that may arrive in parts. Unknown sequences are ignored.
#[derive(Default)]
pub struct KeyDecoder {
    parser: Parser,
    decoded: Decoded,
    /// Whether an escape sequence has begun and not ended.
    in_sequence: bool,
    /// Whether the last byte was an Escape.
    after_escape: bool,
    /// The bytes of the sequence so far.
    length: usize,
}

impl KeyDecoder {
    /// Decodes one byte. Returns the key that it completes.
    pub fn advance(&mut self, byte: u8) -> Option<Key> {
        if self.length >= MAX_SEQUENCE {
            return None;
        }
        self.decoded.dispatched = false;
        self.parser.advance(&mut self.decoded, &[byte]);
        self.after_escape = byte == ESCAPE;
        self.in_sequence =
            self.after_escape || self.decoded.expects_ss3 || (self.in_sequence && !self.decoded.dispatched);
        self.length = if self.in_sequence { self.length + 1 } else { 0 };
        self.decoded.key.take()
    }

    /// Returns whether the last bytes may be the start of a longer sequence.
    pub const fn is_in_sequence(&self) -> bool {
        self.in_sequence
    }

    /// Ends an incomplete sequence after a pause. A lone Escape is a key; any other start of a sequence is dropped.
    pub fn end_sequence(&mut self) -> Option<Key> {
        let after_escape = self.after_escape;
        *self = Self::default();
        after_escape.then_some(Key::Escape)
    }
}

const ESCAPE: u8 = 0x1b;
/// The longest sequence that is decoded, in bytes. A longer one is dropped up to a pause: the parser would keep all of it.
const MAX_SEQUENCE: usize = 1024;

/// The parser's last result.
#[derive(Default)]
struct Decoded {
    key: Option<Key>,
    dispatched: bool,
    /// Whether ESC O (SS3) was read. One letter must follow. Some terminals send arrows, Home and End in this way.
    expects_ss3: bool,
}

impl Decoded {
    fn set(&mut self, key: Option<Key>) {
        self.dispatched = true;
        self.expects_ss3 = false;
        self.key = key;
    }
}

impl Perform for Decoded {
    fn print(&mut self, c: char) {
        self.set(match c {
            c if self.expects_ss3 => from_final_letter(c),
            '\u{7f}' => Some(Key::Backspace),
            // Invalid UTF-8 arrives as U+FFFD, which counts as invisible too.
            c if is_invisible(c) => None,
            c => Some(Key::Char(c)),
        });
    }

    fn execute(&mut self, byte: u8) {
        self.set(match byte {
            0x03 | 0x04 => Some(Key::Quit),
            0x08 => Some(Key::Backspace),
            b'\r' | b'\n' => Some(Key::Enter),
            0x0c => Some(Key::Redraw),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x15 | 0x17 => Some(Key::ClearLine),
            _ => None,
        });
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        let first = params.iter().next().and_then(|values| values.first()).copied();
        self.set(match (intermediates, action, first) {
            ([], '~', Some(1 | 7)) => Some(Key::Home),
            ([], '~', Some(4 | 8)) => Some(Key::End),
            ([], '~', Some(5)) => Some(Key::PageUp),
            ([], '~', Some(6)) => Some(Key::PageDown),
            ([], letter, _) => from_final_letter(letter),
            _ => None,
        });
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        self.set(None);
        self.expects_ss3 = intermediates.is_empty() && byte == b'O';
    }
}

/// Returns the key of a CSI or SS3 sequence that ends in this letter.
const fn from_final_letter(letter: char) -> Option<Key> {
    match letter {
        'A' => Some(Key::Up),
        'B' => Some(Key::Down),
        'F' => Some(Key::End),
        'H' => Some(Key::Home),
        'M' => Some(Key::Enter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::default();
        bytes.iter().filter_map(|byte| decoder.advance(*byte)).collect()
    }

    #[rstest]
    #[case(b"a\x7f\r", &[Key::Char('a'), Key::Backspace, Key::Enter])]
    #[case("库\n".as_bytes(), &[Key::Char('库'), Key::Enter])]
    #[case(b"\x1b[A\x1b[B\x1bOA\x1bOB", &[Key::Up, Key::Down, Key::Up, Key::Down])]
    #[case(b"\x1b[5~\x1b[6~\x1b[H\x1b[F", &[Key::PageUp, Key::PageDown, Key::Home, Key::End])]
    #[case(b"\x1b[1~\x1b[4~\x1bOH\x1bOF", &[Key::Home, Key::End, Key::Home, Key::End])]
    #[case(b"\x1b[1;5A", &[Key::Up])]
    #[case(b"\x03\x04\x15\x0c", &[Key::Quit, Key::Quit, Key::ClearLine, Key::Redraw])]
    #[case(b"\x1b[200~x\x1b[201~", &[Key::Char('x')])]
    #[case(b"\x1bx\x1b[3~\x1b[?1;2c\xff\x00y", &[Key::Char('y')])]
    fn bytes_are_decoded_into_keys(#[case] bytes: &[u8], #[case] expected: &[Key]) {
        assert_eq!(decode(bytes), expected);
    }

    #[test]
    fn a_lone_escape_is_a_key() {
        let mut decoder = KeyDecoder::default();
        assert_eq!((decoder.advance(ESCAPE), decoder.is_in_sequence()), (None, true));
        assert_eq!((decoder.end_sequence(), decoder.is_in_sequence()), (Some(Key::Escape), false));
        assert_eq!(decoder.advance(b'x'), Some(Key::Char('x')));
    }

    #[rstest]
    #[case(b"\x1b[")]
    #[case(b"\x1bO")]
    #[case(b"\x1b]0;title")]
    fn an_incomplete_sequence_is_dropped_after_a_pause(#[case] bytes: &[u8]) {
        let mut decoder = KeyDecoder::default();
        for byte in bytes {
            assert_eq!(decoder.advance(*byte), None);
        }
        assert_eq!((decoder.is_in_sequence(), decoder.end_sequence()), (true, None));
        assert_eq!(decoder.advance(b'A'), Some(Key::Char('A')));
    }

    #[test]
    fn a_sequence_that_is_too_long_is_dropped_up_to_a_pause() {
        let mut decoder = KeyDecoder::default();
        for byte in b"\x1b]52;c;".iter().chain(&[b'x'; MAX_SEQUENCE]).chain(b"\x07\ry") {
            assert_eq!(decoder.advance(*byte), None);
        }
        assert_eq!((decoder.is_in_sequence(), decoder.end_sequence()), (true, None));
        assert_eq!(decoder.advance(b'y'), Some(Key::Char('y')));
    }

    proptest! {
        #[test]
        fn any_input_is_decoded_and_every_sequence_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = KeyDecoder::default();
            for byte in bytes {
                if let Some(Key::Char(c)) = decoder.advance(byte) {
                    prop_assert!(!c.is_control(), "{c:?}");
                }
            }
            decoder.end_sequence();
            prop_assert!(!decoder.is_in_sequence());
            prop_assert_eq!(decoder.advance(b'x'), Some(Key::Char('x')));
        }
    }
}
