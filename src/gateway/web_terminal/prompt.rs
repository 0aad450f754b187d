//! A line that somebody types who is asked for a password or a code: it is not shown, and kept no longer than needed.

use zeroize::Zeroizing;

/// No answer is longer.
const LONGEST: usize = 1024;

/// A line that is being typed.
#[derive(Debug, Default)]
pub struct Prompt(Zeroizing<Vec<u8>>);

/// What has come of it.
#[derive(Debug, PartialEq, Eq)]
pub enum PromptInput {
    /// It goes on.
    More,
    /// It is done.
    Done(Zeroizing<Vec<u8>>),
    /// Nobody wants to answer: Ctrl+C, or Ctrl+D on an empty line.
    Left,
}

impl Prompt {
    /// Takes what was typed; what is behind the end of the line is dropped.
    pub fn take(&mut self, bytes: &[u8]) -> PromptInput {
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => return PromptInput::Done(std::mem::take(&mut self.0)),
                0x03 => return PromptInput::Left,
                0x04 if self.0.is_empty() => return PromptInput::Left,
                // Backspace, and Ctrl+U.
                0x08 | 0x7f => self.rub_out(),
                0x15 => self.0.clear(),
                _ if self.0.len() < LONGEST => self.0.push(*byte),
                _ => {}
            }
        }
        PromptInput::More
    }

    /// Takes the last character away, of however many bytes it is in UTF-8.
    fn rub_out(&mut self) {
        while self.0.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"123456\r", Some("123456"))]
    #[case(b"12\x7f3\r", Some("13"))]
    #[case("p\u{e4}\u{4e2d}\u{7f}ss\r".as_bytes(), Some("p\u{e4}ss"))]
    #[case(b"\x7f\x7fa\n", Some("a"))]
    #[case(b"wrong\x15right\rrest", Some("right"))]
    #[case(b"12\x03", None)]
    #[case(b"\x04", None)]
    fn a_line_is_read(#[case] typed: &[u8], #[case] expected: Option<&str>) {
        let mut line = Prompt::default();
        let (last, all) = typed.split_last().unwrap();
        let mut read = line.take(all);
        if read == PromptInput::More {
            read = line.take(&[*last]);
        }
        match expected {
            Some(text) => assert_eq!(read, PromptInput::Done(Zeroizing::new(text.as_bytes().to_vec()))),
            None => assert_eq!(read, PromptInput::Left),
        }
    }

    #[test]
    fn a_line_has_an_end() {
        let mut line = Prompt::default();
        assert_eq!(line.take(&vec![b'x'; 10 * LONGEST]), PromptInput::More);
        assert!(matches!(line.take(b"\r"), PromptInput::Done(all) if all.len() == LONGEST));
    }
}
