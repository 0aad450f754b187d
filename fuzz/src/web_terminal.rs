//! What a page sends to the web terminal: no more input waits than the page has window for.
//!
//! Events are a letter and what it needs: `t` and `b` a byte with the length of a text or binary frame and the frame, `z` a
//! channel's number and how many KiB of zeros go there, `c` two bytes with the code of a close frame, and `g` nothing: the session
//! takes what waits.

use bastion_operator::gateway::fuzzing::web_terminal::{PageEvent, receive};

/// Sends these events.
pub fn check(data: &[u8]) {
    let mut rest = data;
    let events: Vec<Event> = std::iter::from_fn(|| Event::take(&mut rest)).collect();
    let events: Vec<PageEvent> = events.iter().map(Event::borrowed).collect();
    // A page that breaks the protocol is disconnected.
    let _ = receive(&events);
}

enum Event {
    Text(String),
    Binary(Vec<u8>),
    Close(u16),
    Take,
}

impl Event {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(match take_byte(rest)? {
            b't' => Self::Text(String::from_utf8_lossy(take_bytes(rest)?).into_owned()),
            b'b' => Self::Binary(take_bytes(rest)?.to_vec()),
            b'z' => {
                let channel = take_byte(rest)?;
                let mut frame = vec![0; 1 + 1024 * usize::from(take_byte(rest)?)];
                frame[0] = channel;
                Self::Binary(frame)
            }
            b'c' => Self::Close(u16::from_be_bytes([take_byte(rest)?, take_byte(rest)?])),
            _ => Self::Take,
        })
    }

    fn borrowed(&self) -> PageEvent<'_> {
        match self {
            Self::Text(text) => PageEvent::Text(text),
            Self::Binary(frame) => PageEvent::Binary(frame),
            Self::Close(code) => PageEvent::Close(*code),
            Self::Take => PageEvent::Take,
        }
    }
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(*byte)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(take_byte(rest)?);
    let (bytes, behind) = rest.split_at(length.min(rest.len()));
    *rest = behind;
    Some(bytes)
}
