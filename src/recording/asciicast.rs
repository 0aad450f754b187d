//! Encodes asciicast v3, the format of recordings: a header line, then one JSON array for each event. The time of an
//! event is the interval since the previous one. Input is never recorded, because it contains passwords.

use std::time::Duration;

use serde::Serialize;

/// The first line of a recording.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    version: u8,
    term: Term,
    /// The start of the recording, in seconds since the Unix epoch.
    timestamp: i64,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    env: Env,
}

#[derive(Clone, Debug, Serialize)]
struct Term {
    cols: u32,
    rows: u32,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Serialize)]
struct Env {
    #[serde(rename = "TERM")]
    term: String,
}

/// A recorded terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The value of TERM.
    pub term: String,
    /// The width in characters.
    pub columns: u32,
    /// The height in lines.
    pub rows: u32,
}

/// An output stream of a program. A character that is incomplete in one stream is not continued in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Header {
    /// Returns the header of a recording that starts at `timestamp`, in seconds since the Unix epoch.
    pub fn new(terminal: &Terminal, timestamp: i64, title: String, command: Option<String>) -> Self {
        let Terminal { term, columns, rows } = terminal;
        let env = Env { term: term.clone() };
        let term = Term { cols: *columns, rows: *rows, kind: term.clone() };
        Self { version: 3, term, timestamp, title, command, env }
    }
}

/// Encodes the events of a terminal as lines. Times are relative to the start of the recording.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The time of the last event, in whole milliseconds, so that rounding errors do not add up.
    last: u64,
    output: Incomplete,
    error: Incomplete,
}

impl Encoder {
    /// Returns the time of the last event, in milliseconds. The interval of the next event counts from it.
    pub const fn time(&self) -> u64 {
        self.last
    }

    /// Encodes output. An incomplete UTF-8 character at the end is kept until the rest of it arrives.
    pub fn output(&mut self, now: Duration, stream: Stream, bytes: &[u8], lines: &mut Vec<u8>) {
        let text = match stream {
            Stream::Output => self.output.push(bytes),
            Stream::Error => self.error.push(bytes),
        };
        if !text.is_empty() {
            self.event(now, "o", &text, lines);
        }
    }

    /// Encodes a resize.
    pub fn resized(&mut self, now: Duration, columns: u32, rows: u32, lines: &mut Vec<u8>) {
        self.event(now, "r", &format!("{columns}x{rows}"), lines);
    }

    /// Encodes a marker, which players show.
    pub fn marker(&mut self, now: Duration, label: &str, lines: &mut Vec<u8>) {
        self.event(now, "m", label, lines);
    }

    /// Encodes the end of the program, with its exit status if there is one. An incomplete character becomes U+FFFD.
    pub fn ended(&mut self, now: Duration, status: Option<u32>, lines: &mut Vec<u8>) {
        let incomplete = format!("{}{}", self.output.finish(), self.error.finish());
        if !incomplete.is_empty() {
            self.event(now, "o", &incomplete, lines);
        }
        if let Some(status) = status {
            self.event(now, "x", &status.to_string(), lines);
        }
    }

    fn event(&mut self, now: Duration, code: &str, data: &str, lines: &mut Vec<u8>) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(self.last);
        let interval = now - self.last;
        self.last = now;
        let data = serde_json::Value::from(data);
        lines.extend_from_slice(format!("[{}.{:03},\"{code}\",{data}]\n", interval / 1000, interval % 1000).as_bytes());
    }
}

/// The bytes of an incomplete UTF-8 character: three at most.
#[derive(Debug, Default)]
struct Incomplete(Vec<u8>);

impl Incomplete {
    /// Decodes the kept bytes and `bytes`, and keeps an incomplete character at the end. Invalid UTF-8 becomes U+FFFD.
    fn push(&mut self, bytes: &[u8]) -> String {
        let joined;
        let mut rest = if self.0.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.0).as_slice(), bytes].concat();
            &joined
        };
        let mut text = String::with_capacity(rest.len());
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = error.error_len() else {
                invalid.clone_into(&mut self.0);
                break;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &invalid[length..];
        }
        text
    }

    /// Discards an incomplete character, and returns U+FFFD for it; otherwise returns an empty string.
    fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.0).is_empty() { "" } else { "\u{fffd}" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Time, code and data of each event, as a player reads them.
    fn decode(lines: &[u8]) -> Vec<(f64, String, String)> {
        let mut time = 0.0;
        let event = |line: &str| {
            let (interval, code, data): (f64, String, String) = serde_json::from_str(line).unwrap();
            time += interval;
            (time, code, data)
        };
        std::str::from_utf8(lines).unwrap().lines().map(event).collect()
    }

    fn text(events: &[(f64, String, String)]) -> String {
        events.iter().filter(|(_, code, _)| code == "o").map(|(_, _, data)| data.as_str()).collect()
    }

    #[test]
    fn a_header_has_version_3() {
        let terminal = Terminal { term: "xterm-256color".into(), columns: 80, rows: 24 };
        let header = Header::new(&terminal, 1_700_000_000, "alice".into(), Some("top".into()));
        let expected = json!({
            "version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm-256color"}, "timestamp": 1_700_000_000,
            "title": "alice", "command": "top", "env": {"TERM": "xterm-256color"},
        });
        assert_eq!(serde_json::to_value(&header).unwrap(), expected);
        let shell = serde_json::to_value(Header::new(&terminal, 0, String::new(), None)).unwrap();
        assert_eq!(shell.get("command"), None::<&Value>);
    }

    #[test]
    fn event_times_are_intervals() {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        encoder.output(1500 * MS, Stream::Output, b"a", &mut lines);
        encoder.resized(1501 * MS, 132, 50, &mut lines);
        // A time before the last event gives an interval of zero.
        encoder.output(1400 * MS, Stream::Error, b"\x1b\"\n", &mut lines);
        encoder.marker(62_501 * MS, "the end", &mut lines);
        encoder.ended(62_501 * MS, Some(3), &mut lines);
        let expected = "[1.500,\"o\",\"a\"]\n[0.001,\"r\",\"132x50\"]\n[0.000,\"o\",\"\\u001b\\\"\\n\"]\n\
            [61.000,\"m\",\"the end\"]\n[0.000,\"x\",\"3\"]\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        assert_eq!(encoder.time(), 62_501);
    }

    #[rstest]
    #[case::a_split_character(&[&b"gr\xc3"[..], &b"\xbc\xc3\x9fe"[..]], "grüße")]
    #[case::byte_by_byte(&[&b"\xf0"[..], &b"\x9f"[..], &b"\xa6"[..], &b"\x80"[..]], "🦀")]
    #[case::invalid_bytes(&[&b"a\xffb"[..], &b"\xc3("[..]], "a\u{fffd}b\u{fffd}(")]
    #[case::an_incomplete_character(&[&b"a\xe2\x82"[..]], "a\u{fffd}")]
    #[case::another_character_begins(&[&b"\xe2\x82"[..], &b"\xc3\xbc"[..]], "\u{fffd}ü")]
    fn split_characters_are_joined(#[case] pieces: &[&[u8]], #[case] expected: &str) {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        for piece in pieces {
            encoder.output(MS, Stream::Output, piece, &mut lines);
        }
        encoder.ended(MS, None, &mut lines);
        assert_eq!(text(&decode(&lines)), expected);
    }

    #[test]
    fn characters_of_two_streams_do_not_mix() {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        encoder.output(MS, Stream::Output, b"\xc3", &mut lines);
        encoder.output(MS, Stream::Error, b"!", &mut lines);
        encoder.output(MS, Stream::Output, b"\xbc", &mut lines);
        assert_eq!(text(&decode(&lines)), "!ü");
    }

    proptest! {
        /// A player decodes the same text as a terminal, for any bytes in any pieces.
        #[test]
        fn decoded_output_equals_the_input(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
            sizes in prop::collection::vec((1..8_usize, 0..5_000_u64), 1..100),
        ) {
            let (mut encoder, mut lines, mut now) = (Encoder::default(), Vec::new(), Duration::ZERO);
            let mut rest = bytes.as_slice();
            for (size, pause) in sizes.into_iter().cycle().take(bytes.len()) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                now += Duration::from_micros(pause * 317);
                encoder.output(now, Stream::Output, piece, &mut lines);
                rest = after;
            }
            encoder.ended(now, Some(0), &mut lines);
            let events = decode(&lines);
            prop_assert_eq!(text(&events), String::from_utf8_lossy(&bytes).into_owned());
            let last = events.last().unwrap().0;
            prop_assert!((last - now.as_secs_f64()).abs() < 0.0011, "{} is not {:?}", last, now);
        }
    }
}
