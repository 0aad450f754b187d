//! Which keys the user pressed, from the bytes that a terminal sends for them.

use vte::{Params, Parser, Perform};

use crate::text::is_unseen;

/// A key that means something in a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Enter.
    Enter,
    /// Backspace.
    Backspace,
    /// Ctrl-U and Ctrl-W: the line is wiped.
    Wipe,
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
    /// Ctrl-L: the screen is drawn anew.
    Redraw,
    /// Escape by itself.
    Escape,
    /// Ctrl-C and Ctrl-D.
    Leave,
}

/// Reads keys. Sequences may come in pieces; what is no known key is passed over.
#[derive(Default)]
pub struct Keys {
    parser: Parser,
    found: Found,
    /// A sequence has begun and not ended.
    open: bool,
    /// It consists of nothing but its Escape.
    lone: bool,
}

impl Keys {
    /// Takes one byte.
    pub fn read(&mut self, byte: u8) -> Option<Key> {
        self.found.dispatched = false;
        self.parser.advance(&mut self.found, &[byte]);
        self.lone = byte == ESCAPE;
        self.open = self.lone || self.found.third || (self.open && !self.found.dispatched);
        self.found.key.take()
    }

    /// Whether more bytes may belong to what was read last.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// No more bytes have come for a while: Escape was a key by itself, and of anything else the rest was lost.
    pub fn settle(&mut self) -> Option<Key> {
        let lone = self.lone;
        *self = Self::default();
        lone.then_some(Key::Escape)
    }
}

const ESCAPE: u8 = 0x1b;

/// What the parser came upon last.
#[derive(Default)]
struct Found {
    key: Option<Key>,
    dispatched: bool,
    /// After ESC O, one character follows (SS3), as some terminals send it for arrows, Home and End.
    third: bool,
}

impl Found {
    fn is(&mut self, key: Option<Key>) {
        self.dispatched = true;
        self.third = false;
        self.key = key;
    }
}

impl Perform for Found {
    fn print(&mut self, c: char) {
        self.is(match c {
            c if self.third => of_letter(c),
            '\u{7f}' => Some(Key::Backspace),
            // As is what is no UTF-8, which comes as U+FFFD.
            c if is_unseen(c) => None,
            c => Some(Key::Char(c)),
        });
    }

    fn execute(&mut self, byte: u8) {
        self.is(match byte {
            0x03 | 0x04 => Some(Key::Leave),
            0x08 => Some(Key::Backspace),
            b'\r' | b'\n' => Some(Key::Enter),
            0x0c => Some(Key::Redraw),
            0x0e => Some(Key::Down),
            0x10 => Some(Key::Up),
            0x15 | 0x17 => Some(Key::Wipe),
            _ => None,
        });
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        let first = params.iter().next().and_then(|values| values.first()).copied();
        self.is(match (intermediates, action, first) {
            ([], '~', Some(1 | 7)) => Some(Key::Home),
            ([], '~', Some(4 | 8)) => Some(Key::End),
            ([], '~', Some(5)) => Some(Key::PageUp),
            ([], '~', Some(6)) => Some(Key::PageDown),
            ([], letter, _) => of_letter(letter),
            _ => None,
        });
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        self.is(None);
        self.third = intermediates.is_empty() && byte == b'O';
    }
}

const fn of_letter(letter: char) -> Option<Key> {
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

    fn read(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|byte| keys.read(*byte)).collect()
    }

    #[rstest]
    #[case(b"a\x7f\r", &[Key::Char('a'), Key::Backspace, Key::Enter])]
    #[case("库\n".as_bytes(), &[Key::Char('库'), Key::Enter])]
    #[case(b"\x1b[A\x1b[B\x1bOA\x1bOB", &[Key::Up, Key::Down, Key::Up, Key::Down])]
    #[case(b"\x1b[5~\x1b[6~\x1b[H\x1b[F", &[Key::PageUp, Key::PageDown, Key::Home, Key::End])]
    #[case(b"\x1b[1~\x1b[4~\x1bOH\x1bOF", &[Key::Home, Key::End, Key::Home, Key::End])]
    #[case(b"\x1b[1;5A", &[Key::Up])]
    #[case(b"\x03\x04\x15\x0c", &[Key::Leave, Key::Leave, Key::Wipe, Key::Redraw])]
    #[case(b"\x1b[200~x\x1b[201~", &[Key::Char('x')])]
    #[case(b"\x1bx\x1b[3~\x1b[?1;2c\xff\x00y", &[Key::Char('y')])]
    fn keys_are_known(#[case] bytes: &[u8], #[case] expected: &[Key]) {
        assert_eq!(read(bytes), expected);
    }

    #[test]
    fn escape_is_a_key_when_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!((keys.read(ESCAPE), keys.is_open()), (None, true));
        assert_eq!((keys.settle(), keys.is_open()), (Some(Key::Escape), false));
        assert_eq!(keys.read(b'x'), Some(Key::Char('x')));
    }

    #[rstest]
    #[case(b"\x1b[")]
    #[case(b"\x1bO")]
    #[case(b"\x1b]0;title")]
    fn the_beginning_of_a_sequence_is_forgotten_when_nothing_follows(#[case] bytes: &[u8]) {
        let mut keys = Keys::default();
        for byte in bytes {
            assert_eq!(keys.read(*byte), None);
        }
        assert_eq!((keys.is_open(), keys.settle()), (true, None));
        assert_eq!(keys.read(b'A'), Some(Key::Char('A')));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_it_always_comes_to_rest(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut keys = Keys::default();
            for byte in bytes {
                if let Some(Key::Char(c)) = keys.read(byte) {
                    prop_assert!(!c.is_control(), "{c:?}");
                }
            }
            keys.settle();
            prop_assert!(!keys.is_open());
            prop_assert_eq!(keys.read(b'x'), Some(Key::Char('x')));
        }
    }
}
