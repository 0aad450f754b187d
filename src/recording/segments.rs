//! A recording's text, cut into pieces that are stored one by one. Times are since the beginning of the recording.

use std::time::Duration;

use super::asciicast::{Encoder, Header, Stream, Terminal};

/// For how long something may wait to be stored. With the time that storing takes, it is what the death of the gateway
/// can cost: 5 s.
const STORE_AFTER: Duration = Duration::from_secs(3);
/// From this many bytes on, a piece is stored at once.
const PIECE: usize = 256 * 1024;
/// From this many bytes on, there is no room for more.
const FULL: usize = 1024 * 1024;

/// A part of the text, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `<number>-<milliseconds>-<columns>x<rows>.cast`: where it begins, and how large the terminal is there. The first
    /// event's interval counts from those milliseconds.
    pub name: String,
    /// Whole lines.
    pub text: Vec<u8>,
}

/// When the next piece is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// In so long.
    In(Duration),
    /// When there is something to store.
    Never,
}

/// What waits to be stored.
#[derive(Debug)]
pub struct Segments {
    encoder: Encoder,
    lines: Vec<u8>,
    /// When the oldest of it happened.
    oldest: Duration,
    number: u32,
    begins: u64,
    size: (u32, u32),
    begins_with: (u32, u32),
    ended: bool,
}

impl Segments {
    /// The first piece is the header alone, so that whether there can be a recording is known before there is something
    /// to record.
    pub fn new(terminal: &Terminal, header: &Header) -> Self {
        let size = (terminal.columns, terminal.rows);
        // A header has nothing that JSON has not.
        let mut lines = serde_json::to_vec(header).unwrap_or_default();
        lines.push(b'\n');
        Self {
            encoder: Encoder::default(),
            lines,
            oldest: Duration::ZERO,
            number: 0,
            begins: 0,
            size,
            begins_with: size,
            ended: false,
        }
    }

    /// A program wrote `bytes`.
    pub fn output(&mut self, now: Duration, stream: Stream, bytes: &[u8]) {
        self.add(now, |encoder, lines| encoder.output(now, stream, bytes, lines));
    }

    /// The terminal has another size.
    pub fn resized(&mut self, now: Duration, columns: u32, rows: u32) {
        self.size = (columns, rows);
        self.add(now, |encoder, lines| encoder.resized(now, columns, rows, lines));
    }

    /// Something that whoever looks at the recording should know.
    pub fn marker(&mut self, now: Duration, label: &str) {
        self.add(now, |encoder, lines| encoder.marker(now, label, lines));
    }

    /// That was all, with this exit status where there is one.
    pub fn end(&mut self, now: Duration, status: Option<u32>) {
        self.add(now, |encoder, lines| encoder.ended(now, status, lines));
        self.ended = true;
    }

    /// Whether nothing more will come.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether whoever brings more must wait.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= FULL
    }

    /// How many pieces were taken, and how long they are in milliseconds.
    pub const fn so_far(&self) -> (u32, u64) {
        (self.number, self.encoder.time())
    }

    /// When the next piece is to be stored.
    pub fn due(&self, now: Duration) -> Due {
        if self.lines.is_empty() {
            return Due::Never;
        }
        if self.ended || self.number == 0 || self.lines.len() >= PIECE {
            return Due::Now;
        }
        match (self.oldest + STORE_AFTER).checked_sub(now) {
            None | Some(Duration::ZERO) => Due::Now,
            Some(wait) => Due::In(wait),
        }
    }

    /// Takes out all that waits.
    pub fn take(&mut self) -> Segment {
        let (columns, rows) = self.begins_with;
        let name = format!("{:08}-{:010}-{columns}x{rows}.cast", self.number, self.begins);
        self.number += 1;
        self.begins = self.encoder.time();
        self.begins_with = self.size;
        Segment { name, text: std::mem::take(&mut self.lines) }
    }

    fn add(&mut self, now: Duration, encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        if self.lines.is_empty() {
            self.oldest = now;
        }
        encode(&mut self.encoder, &mut self.lines);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pieces() -> Segments {
        let terminal = Terminal { kind: "xterm".into(), columns: 80, rows: 24 };
        Segments::new(&terminal, &Header::new(&terminal, 0, "alice".into(), None))
    }

    #[test]
    fn the_header_is_stored_at_once_and_the_rest_within_seconds() {
        let mut pieces = pieces();
        assert_eq!(pieces.due(Duration::ZERO), Due::Now);
        assert_eq!(pieces.take().name, "00000000-0000000000-80x24.cast");
        assert_eq!(pieces.due(9 * SECOND), Due::Never);
        pieces.output(9 * SECOND, Stream::Output, b"a");
        assert_eq!(pieces.due(10 * SECOND), Due::In(2 * SECOND));
        pieces.resized(11 * SECOND, 132, 50);
        assert_eq!(pieces.due(12 * SECOND), Due::Now);
        assert_eq!(pieces.take().name, "00000001-0000000000-80x24.cast");
        pieces.end(13 * SECOND, Some(0));
        assert_eq!(pieces.due(13 * SECOND), Due::Now);
        let last = pieces.take();
        assert_eq!(
            (last.name.as_str(), last.text.as_slice()),
            ("00000002-0000011000-132x50.cast", &b"[2.000,\"x\",\"0\"]\n"[..])
        );
        assert_eq!(pieces.due(99 * SECOND), Due::Never);
        assert_eq!(pieces.so_far(), (3, 13_000));
    }

    #[test]
    fn much_is_stored_at_once_and_too_much_has_to_wait() {
        let mut pieces = pieces();
        pieces.take();
        while pieces.due(SECOND) != Due::Now {
            assert!(!pieces.is_full());
            pieces.output(SECOND, Stream::Output, &vec![b'x'; 32 * 1024]);
        }
        while !pieces.is_full() {
            pieces.output(SECOND, Stream::Output, &vec![b'x'; 32 * 1024]);
        }
        assert!(pieces.take().text.len() < FULL + 33 * 1024);
        assert!(!pieces.is_full());
    }

    proptest! {
        /// A piece's name says when it begins: a player that begins there sees each event at the same time as one that
        /// has played from the start.
        #[test]
        fn pieces_joined_are_the_text_and_each_knows_its_time(
            steps in prop::collection::vec((0..4_000_u64, any::<bool>()), 1..60),
        ) {
            let (mut pieces, mut now, mut stored) = (pieces(), Duration::ZERO, Vec::new());
            stored.push(pieces.take());
            let mut whole = self::pieces();
            for (pause, take) in steps {
                now += Duration::from_micros(pause * 777);
                pieces.output(now, Stream::Output, b"x");
                whole.output(now, Stream::Output, b"x");
                if take { stored.push(pieces.take()); }
            }
            pieces.end(now, None);
            whole.end(now, None);
            stored.push(pieces.take());
            let joined: Vec<u8> = stored.iter().flat_map(|piece| piece.text.clone()).collect();
            prop_assert_eq!(&joined, &whole.take().text);
            prop_assert!(stored.is_sorted_by(|one, other| one.name < other.name));
            let mut time = 0;
            for piece in &stored[1..] {
                let begins: u64 = piece.name.split('-').nth(1).unwrap().parse().unwrap();
                prop_assert_eq!(begins, time);
                for line in std::str::from_utf8(&piece.text).unwrap().lines() {
                    let (interval, _, _): (f64, String, String) = serde_json::from_str(line).unwrap();
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours at most")]
                    let interval = (interval * 1000.0).round() as u64;
                    time += interval;
                }
            }
        }
    }
}
