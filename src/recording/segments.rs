//! Cuts a recording's text into segments. Times are relative to the start of the recording.

use std::time::Duration;

use super::asciicast::{Encoder, Header, Stream, Terminal};

/// How long an event may wait in memory. With the time to store it, at most 5 s are lost if the gateway dies.
const FLUSH_AFTER: Duration = Duration::from_secs(3);
/// A segment of this many bytes is stored at once.
const SEGMENT_SIZE: usize = 256 * 1024;
/// The most bytes that wait in memory. The last event may exceed this limit.
const MAX_BUFFERED: usize = 1024 * 1024;

/// A part of the text, which becomes one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `<number>-<milliseconds>-<columns>x<rows>.cast`, with the time and the terminal's size at the segment's start.
    /// The interval of the first event counts from this time.
    pub name: String,
    /// Complete lines.
    pub text: Vec<u8>,
}

/// When to store the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// After this time.
    In(Duration),
    /// Once there is an event.
    Never,
}

/// The part of the text that waits to be stored.
#[derive(Debug)]
pub struct Segments {
    encoder: Encoder,
    lines: Vec<u8>,
    /// The time of the oldest event in `lines`.
    oldest: Duration,
    /// The number of the current segment.
    number: u32,
    /// The start of the current segment, in milliseconds.
    start: u64,
    /// The terminal's size now, in columns and rows.
    size: (u32, u32),
    /// The terminal's size at the start of the current segment.
    start_size: (u32, u32),
    ended: bool,
}

impl Segments {
    /// Starts with a segment that contains only the header. It is stored before there is output, and so shows whether the store
    /// works.
    pub fn new(terminal: &Terminal, header: &Header) -> Self {
        let size = (terminal.columns, terminal.rows);
        // The serialization of strings and numbers cannot fail.
        let mut lines = serde_json::to_vec(header).unwrap_or_default();
        lines.push(b'\n');
        Self {
            encoder: Encoder::default(),
            lines,
            oldest: Duration::ZERO,
            number: 0,
            start: 0,
            size,
            start_size: size,
            ended: false,
        }
    }

    /// Adds output.
    pub fn output(&mut self, now: Duration, stream: Stream, bytes: &[u8]) {
        self.add(now, |encoder, lines| encoder.output(now, stream, bytes, lines));
    }

    /// Adds a resize.
    pub fn resized(&mut self, now: Duration, columns: u32, rows: u32) {
        self.size = (columns, rows);
        self.add(now, |encoder, lines| encoder.resized(now, columns, rows, lines));
    }

    /// Adds a marker, which players show.
    pub fn marker(&mut self, now: Duration, label: &str) {
        self.add(now, |encoder, lines| encoder.marker(now, label, lines));
    }

    /// Ends the text, with the exit status if there is one.
    pub fn end(&mut self, now: Duration, status: Option<u32>) {
        self.add(now, |encoder, lines| encoder.ended(now, status, lines));
        self.ended = true;
    }

    /// Returns whether the text is complete.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether output must wait until a segment is stored.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= MAX_BUFFERED
    }

    /// Returns the number of segments taken, and the time of the last event in milliseconds.
    pub const fn totals(&self) -> (u32, u64) {
        (self.number, self.encoder.time())
    }

    /// Returns when to store the next segment.
    pub fn due(&self, now: Duration) -> Due {
        if self.lines.is_empty() {
            return Due::Never;
        }
        if self.ended || self.number == 0 || self.lines.len() >= SEGMENT_SIZE {
            return Due::Now;
        }
        match (self.oldest + FLUSH_AFTER).checked_sub(now) {
            None | Some(Duration::ZERO) => Due::Now,
            Some(wait) => Due::In(wait),
        }
    }

    /// Takes the current segment and starts the next one.
    pub fn take(&mut self) -> Segment {
        let (columns, rows) = self.start_size;
        let name = format!("{:08}-{:010}-{columns}x{rows}.cast", self.number, self.start);
        self.number += 1;
        self.start = self.encoder.time();
        self.start_size = self.size;
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

    fn segments() -> Segments {
        let terminal = Terminal { term: "xterm".into(), columns: 80, rows: 24 };
        Segments::new(&terminal, &Header::new(&terminal, 0, "alice".into(), None))
    }

    #[test]
    fn the_header_is_stored_at_once_and_events_within_seconds() {
        let mut segments = segments();
        assert_eq!(segments.due(Duration::ZERO), Due::Now);
        assert_eq!(segments.take().name, "00000000-0000000000-80x24.cast");
        assert_eq!(segments.due(9 * SECOND), Due::Never);
        segments.output(9 * SECOND, Stream::Output, b"a");
        assert_eq!(segments.due(10 * SECOND), Due::In(2 * SECOND));
        segments.resized(11 * SECOND, 132, 50);
        assert_eq!(segments.due(12 * SECOND), Due::Now);
        assert_eq!(segments.take().name, "00000001-0000000000-80x24.cast");
        segments.end(13 * SECOND, Some(0));
        assert_eq!(segments.due(13 * SECOND), Due::Now);
        let last = segments.take();
        assert_eq!(
            (last.name.as_str(), last.text.as_slice()),
            ("00000002-0000011000-132x50.cast", &b"[2.000,\"x\",\"0\"]\n"[..])
        );
        assert_eq!(segments.due(99 * SECOND), Due::Never);
        assert_eq!(segments.totals(), (3, 13_000));
    }

    #[test]
    fn a_large_segment_is_stored_at_once_and_the_buffer_is_limited() {
        let mut segments = segments();
        segments.take();
        while segments.due(SECOND) != Due::Now {
            assert!(!segments.is_full());
            segments.output(SECOND, Stream::Output, &vec![b'x'; 32 * 1024]);
        }
        while !segments.is_full() {
            segments.output(SECOND, Stream::Output, &vec![b'x'; 32 * 1024]);
        }
        assert!(segments.take().text.len() < MAX_BUFFERED + 33 * 1024);
        assert!(!segments.is_full());
    }

    proptest! {
        /// A segment's name contains its start: a player that starts there shows each event at the same time as one
        /// that plays from the start of the recording.
        #[test]
        fn joined_segments_are_the_text_and_names_contain_their_start(
            steps in prop::collection::vec((0..4_000_u64, any::<bool>()), 1..60),
        ) {
            let (mut segments, mut now, mut stored) = (segments(), Duration::ZERO, Vec::new());
            stored.push(segments.take());
            let mut whole = self::segments();
            for (pause, take) in steps {
                now += Duration::from_micros(pause * 777);
                segments.output(now, Stream::Output, b"x");
                whole.output(now, Stream::Output, b"x");
                if take { stored.push(segments.take()); }
            }
            segments.end(now, None);
            whole.end(now, None);
            stored.push(segments.take());
            let joined: Vec<u8> = stored.iter().flat_map(|segment| segment.text.clone()).collect();
            prop_assert_eq!(&joined, &whole.take().text);
            prop_assert!(stored.is_sorted_by(|one, other| one.name < other.name));
            let mut time = 0;
            for segment in &stored[1..] {
                let start: u64 = segment.name.split('-').nth(1).unwrap().parse().unwrap();
                prop_assert_eq!(start, time);
                for line in std::str::from_utf8(&segment.text).unwrap().lines() {
                    let (interval, _, _): (f64, String, String) = serde_json::from_str(line).unwrap();
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours at most")]
                    let interval = (interval * 1000.0).round() as u64;
                    time += interval;
                }
            }
        }
    }
}
