//! The messages of an observer's WebSocket. Text frames hold JSON. Binary frames hold output, behind the terminal's
//! number as a big-endian `u32`.

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use super::broadcast::TerminalEvent;
use crate::lifecycle::Cause;

/// A message from the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPage {
    /// Asks for a [`ToPage::Pong`].
    Ping,
}

/// A message to the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPage<'a> {
    /// The observed session. This is the first message.
    Following {
        /// The session's name.
        session: &'a str,
        /// The name of the session's BastionUser.
        user: &'a str,
        /// The name of the target.
        target: &'a str,
        /// The login on the target.
        login: &'a str,
    },
    /// A terminal was opened or resized.
    Terminal {
        /// The terminal's number, counted from 1 within the session.
        number: u32,
        /// The width in characters.
        cols: u32,
        /// The height in lines.
        rows: u32,
    },
    /// A terminal was closed.
    TerminalEnd {
        /// The terminal's number.
        number: u32,
    },
    /// Some output of a terminal was skipped, because the observer was too slow.
    Skipped {
        /// The terminal's number.
        number: u32,
    },
    /// Answers a [`FromPage::Ping`].
    Pong,
    /// The session ended. This is the last message.
    End {
        /// `closed`, `timeout` or `terminated`.
        status: &'a str,
        /// The reason in the BastionSession's status.
        reason: &'a str,
        /// A sentence on how the session ended.
        message: &'a str,
    },
}

impl ToPage<'_> {
    /// Returns the message as a text frame.
    pub fn frame(&self) -> Message {
        // The serialization of strings and numbers cannot fail.
        Message::Text(Utf8Bytes::from(serde_json::to_string(self).unwrap_or_default()))
    }
}

/// Returns the frame of an event.
pub fn event_frame(event: &TerminalEvent) -> Message {
    match event {
        TerminalEvent::Terminal { number, columns, rows } => {
            ToPage::Terminal { number: *number, cols: *columns, rows: *rows }.frame()
        }
        TerminalEvent::Output { number, bytes } => {
            let mut frame = BytesMut::with_capacity(4 + bytes.len());
            frame.put_u32(*number);
            frame.put_slice(bytes);
            Message::Binary(frame.freeze())
        }
        TerminalEvent::Closed { number } => ToPage::TerminalEnd { number: *number }.frame(),
        TerminalEvent::SessionEnded(cause) => end_frame(cause),
    }
}

fn end_frame(cause: &Cause) -> Message {
    let reason = cause.reason();
    ToPage::End { status: reason.phase().record_name(), reason: reason.as_str(), message: &cause.message() }.frame()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::lifecycle::Exit;

    #[rstest]
    #[case(TerminalEvent::Terminal { number: 3, columns: 80, rows: 24 }, json!({"type": "terminal", "number": 3, "cols": 80, "rows": 24}))]
    #[case(TerminalEvent::Closed { number: 3 }, json!({"type": "terminal_end", "number": 3}))]
    #[case(
        TerminalEvent::SessionEnded(Cause::UserExit(Exit { code: Some(3), signal: None })),
        json!({"type": "end", "status": "closed", "reason": "UserExit", "message": "exit status 3"})
    )]
    fn events_are_encoded(#[case] event: TerminalEvent, #[case] expected: Value) {
        let Message::Text(text) = event_frame(&event) else { panic!("{event:?} is text") };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["type"], expected["type"]);
        for (key, value) in expected.as_object().unwrap().iter().filter(|(key, _)| *key != "message") {
            assert_eq!(message[key], *value, "{message}");
        }
    }

    #[test]
    fn output_begins_with_the_number_of_its_terminal() {
        let event = TerminalEvent::Output { number: 258, bytes: Bytes::from_static(b"out") };
        assert_eq!(event_frame(&event), Message::Binary(Bytes::from_static(b"\0\0\x01\x02out")));
    }

    #[test]
    fn a_page_may_only_ping() {
        let parse = |text: &str| serde_json::from_str::<FromPage>(text).ok();
        assert_eq!(parse(r#"{"type":"ping"}"#), Some(FromPage::Ping));
        assert_eq!(parse(r#"{"type":"resize","cols":80,"rows":24}"#), None);
        assert_eq!(parse("ls\r"), None);
    }
}
