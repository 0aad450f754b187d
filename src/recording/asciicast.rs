//! asciicast v3, the format of recordings: a header, then one JSON array a line for each event. An event's time is the
//! interval since the event before it. What the user types is never part of it: it would hold passwords.

use std::time::Duration;

use serde::Serialize;

/// The first line.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    version: u8,
    term: Term,
    /// Seconds since the epoch at which it begins.
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

/// The terminal that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The value of TERM.
    pub kind: String,
    /// Its width in characters.
    pub columns: u32,
    /// Its height in rows.
    pub rows: u32,
}

/// One of the two streams in which a program writes. Each has its own characters, which end in the middle of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Header {
    /// The header of a recording that begins at `timestamp`, in seconds since the epoch.
    pub fn new(terminal: &Terminal, timestamp: i64, title: String, command: Option<String>) -> Self {
        let Terminal { kind, columns, rows } = terminal;
        let term = Term { cols: *columns, rows: *rows, kind: kind.clone() };
        Self { version: 3, term, timestamp, title, command, env: Env { term: kind.clone() } }
    }
}

/// Turns what happens at a terminal into lines. Times are since the beginning of the recording.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The time of the last event, in whole milliseconds, so that intervals add up without drift.
    last: u64,
    output: Incomplete,
    error: Incomplete,
}

impl Encoder {
    /// The time of the last event, in milliseconds: what the next one's interval counts from.
    pub const fn time(&self) -> u64 {
        self.last
    }

    /// A program wrote `bytes`. The beginning of a character whose rest is to come waits for it.
    pub fn output(&mut self, now: Duration, stream: Stream, bytes: &[u8], lines: &mut Vec<u8>) {
        let text = match stream {
            Stream::Output => self.output.push(bytes),
            Stream::Error => self.error.push(bytes),
        };
        if !text.is_empty() {
            self.event(now, "o", &text, lines);
        }
    }

    /// The terminal has another size.
    pub fn resized(&mut self, now: Duration, columns: u32, rows: u32, lines: &mut Vec<u8>) {
        self.event(now, "r", &format!("{columns}x{rows}"), lines);
    }

    /// Something that whoever looks at the recording should know.
    pub fn marker(&mut self, now: Duration, label: &str, lines: &mut Vec<u8>) {
        self.event(now, "m", label, lines);
    }

    /// The program ended, with this exit status where it has one. Characters whose rest never came are shown as broken.
    pub fn ended(&mut self, now: Duration, status: Option<u32>, lines: &mut Vec<u8>) {
        let broken = format!("{}{}", self.output.give_up(), self.error.give_up());
        if !broken.is_empty() {
            self.event(now, "o", &broken, lines);
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

/// The beginning of a character in UTF-8 whose rest is still to come: three bytes at most.
#[derive(Debug, Default)]
struct Incomplete(Vec<u8>);

impl Incomplete {
    /// The text that is complete with these bytes. What can be no character becomes U+FFFD.
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

    /// What was left of a character whose rest will not come.
    fn give_up(&mut self) -> &'static str {
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
    fn a_header_is_one_of_version_3() {
        let terminal = Terminal { kind: "xterm-256color".into(), columns: 80, rows: 24 };
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
    fn times_are_intervals() {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        encoder.output(1500 * MS, Stream::Output, b"a", &mut lines);
        encoder.resized(1501 * MS, 132, 50, &mut lines);
        // A clock that went back, which it does not, would not make an interval negative.
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
    #[case::no_character(&[&b"a\xffb"[..], &b"\xc3("[..]], "a\u{fffd}b\u{fffd}(")]
    #[case::its_rest_never_comes(&[&b"a\xe2\x82"[..]], "a\u{fffd}")]
    #[case::another_begins_instead(&[&b"\xe2\x82"[..], &b"\xc3\xbc"[..]], "\u{fffd}ü")]
    fn text_is_put_together(#[case] pieces: &[&[u8]], #[case] expected: &str) {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        for piece in pieces {
            encoder.output(MS, Stream::Output, piece, &mut lines);
        }
        encoder.ended(MS, None, &mut lines);
        assert_eq!(text(&decode(&lines)), expected);
    }

    #[test]
    fn the_characters_of_two_streams_do_not_mix() {
        let (mut encoder, mut lines) = (Encoder::default(), Vec::new());
        encoder.output(MS, Stream::Output, b"\xc3", &mut lines);
        encoder.output(MS, Stream::Error, b"!", &mut lines);
        encoder.output(MS, Stream::Output, b"\xbc", &mut lines);
        assert_eq!(text(&decode(&lines)), "!ü");
    }

    proptest! {
        /// Whatever the bytes and wherever they are split, a player shows what a terminal would have decoded.
        #[test]
        fn what_is_read_back_is_what_went_in(
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
