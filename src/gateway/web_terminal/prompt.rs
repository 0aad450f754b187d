//! Reads the answer to a prompt for a password or code. It is not echoed, and zeroed after use.

use zeroize::Zeroizing;

/// The longest answer, in bytes. Further characters are ignored.
const MAX_ANSWER: usize = 1024;

/// The line typed so far.
#[derive(Debug, Default)]
pub struct Prompt(Zeroizing<Vec<u8>>);

/// The result of typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum PromptInput {
    /// The line is not complete.
    Incomplete,
    /// The line is complete.
    Answer(Zeroizing<Vec<u8>>),
    /// The user typed Ctrl+C, or Ctrl+D on an empty line.
    Cancelled,
}

impl Prompt {
    /// Processes typed bytes. Bytes behind the end of the line are dropped.
    pub fn input(&mut self, bytes: &[u8]) -> PromptInput {
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => return PromptInput::Answer(std::mem::take(&mut self.0)),
                0x03 => return PromptInput::Cancelled,
                0x04 if self.0.is_empty() => return PromptInput::Cancelled,
                // Backspace, and Ctrl+U.
                0x08 | 0x7f => self.backspace(),
                0x15 => self.0.clear(),
                _ if self.0.len() < MAX_ANSWER => self.0.push(*byte),
                _ => {}
            }
        }
        PromptInput::Incomplete
    }

    /// Removes the last character: its UTF-8 continuation bytes and its first byte.
    fn backspace(&mut self) {
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
    fn a_line_is_edited_and_read(#[case] typed: &[u8], #[case] expected: Option<&str>) {
        let mut prompt = Prompt::default();
        let (last, all) = typed.split_last().unwrap();
        let mut read = prompt.input(all);
        if read == PromptInput::Incomplete {
            read = prompt.input(&[*last]);
        }
        match expected {
            Some(text) => assert_eq!(read, PromptInput::Answer(Zeroizing::new(text.as_bytes().to_vec()))),
            None => assert_eq!(read, PromptInput::Cancelled),
        }
    }

    #[test]
    fn a_line_has_a_maximum_length() {
        let mut prompt = Prompt::default();
        assert_eq!(prompt.input(&vec![b'x'; 10 * MAX_ANSWER]), PromptInput::Incomplete);
        assert!(matches!(prompt.input(b"\r"), PromptInput::Answer(all) if all.len() == MAX_ANSWER));
    }
}
