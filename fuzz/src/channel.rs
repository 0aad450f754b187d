//! One end's book of a channel: what may come on it, and what may be sent.

use std::collections::VecDeque;

use crate::wire::{Payload, Reader};

/// The gateway's window: what it grants is never more than that.
const WINDOW: u64 = 2 * 1024 * 1024;
/// What the gateway may send in a packet.
pub const MAX_PACKET: u32 = 32 * 1024;

pub const OPEN: u8 = 90;
pub const CONFIRMATION: u8 = 91;
pub const OPEN_FAILURE: u8 = 92;
pub const WINDOW_ADJUST: u8 = 93;
pub const DATA: u8 = 94;
pub const EXTENDED_DATA: u8 = 95;
pub const EOF: u8 = 96;
pub const CLOSE: u8 = 97;
pub const REQUEST: u8 = 98;
pub const SUCCESS: u8 = 99;
pub const FAILURE: u8 = 100;

/// A channel as the fuzz target's end sees it.
#[derive(Debug)]
pub struct Book {
    /// The gateway's number of it, once it is open.
    pub theirs: Option<u32>,
    /// What the gateway may still send.
    granted: u64,
    /// What may still be sent to it.
    room: u64,
    eof_came: bool,
    eof_sent: bool,
    pub close_came: bool,
    pub close_sent: bool,
    pub refused: bool,
    /// Whether a shell or the like was asked for.
    begun: bool,
    /// The answers to requests that are outstanding, as they must come.
    expected: VecDeque<bool>,
}

impl Book {
    /// A channel that grants the gateway this much.
    pub fn new(granted: u32) -> Self {
        Self {
            theirs: None,
            granted: u64::from(granted),
            room: 0,
            eof_came: false,
            eof_sent: false,
            close_came: false,
            close_sent: false,
            refused: false,
            begun: false,
            expected: VecDeque::new(),
        }
    }

    /// The gateway has opened it under this number, with this window.
    pub fn opened(&mut self, theirs: u32, window: u32) {
        assert!(self.theirs.is_none(), "opened twice");
        self.theirs = Some(theirs);
        self.room = u64::from(window);
        assert!(self.room <= WINDOW, "a window of {window}");
    }

    /// Whether it ought to be closed by the gateway when the session ends.
    pub fn must_close(&self) -> bool {
        self.theirs.is_some() && !self.close_came
    }

    /// The gateway says something on it.
    pub fn heard(&mut self, message: u8, packet: &mut Reader<'_>) {
        assert!(self.theirs.is_some(), "message {message} before it was open");
        assert!(!self.close_came, "message {message} after close");
        match message {
            WINDOW_ADJUST => {
                self.room += u64::from(packet.number());
                assert!(self.room <= WINDOW, "the window is {} bytes wide", self.room);
            }
            DATA | EXTENDED_DATA => {
                assert!(!self.eof_came, "data after end of file");
                if message == EXTENDED_DATA {
                    packet.number();
                }
                let length = packet.string().len() as u64;
                assert!(length <= u64::from(MAX_PACKET), "a packet of {length} bytes");
                assert!(length <= self.granted, "{length} bytes into a window of {}", self.granted);
                self.granted -= length;
            }
            EOF => {
                assert!(!self.eof_came, "end of file twice");
                self.eof_came = true;
            }
            CLOSE => self.close_came = true,
            SUCCESS | FAILURE => {
                let expected = self.expected.pop_front().expect("an answer to something");
                assert_eq!(message == SUCCESS, expected, "the answer to another request");
            }
            REQUEST => {}
            other => panic!("message {other} on a channel"),
        }
    }

    /// Whether every request was answered that had to be.
    pub fn is_answered(&self) -> bool {
        self.expected.is_empty() || self.close_came || self.close_sent
    }

    /// A message for it.
    fn message(&self, message: u8) -> Option<Payload> {
        let theirs = self.theirs.filter(|_| !self.close_sent)?;
        Some(Payload::new(message).number(theirs))
    }

    /// Data, as much as its window takes.
    pub fn data(&mut self, stream: Option<u32>, length: u32) -> Option<Payload> {
        let length = u64::from(length.min(MAX_PACKET)).min(self.room);
        if length == 0 || self.eof_sent {
            return None;
        }
        let payload = match stream {
            None => self.message(DATA)?,
            Some(stream) => self.message(EXTENDED_DATA)?.number(stream),
        };
        self.room -= length;
        Some(payload.string(vec![b'x'; length as usize]))
    }

    /// More window for the gateway.
    pub fn grant(&mut self, bytes: u32) -> Option<Payload> {
        let payload = self.message(WINDOW_ADJUST)?;
        let bytes = bytes.min(u32::try_from(u64::from(u32::MAX) - self.granted).unwrap_or_default());
        self.granted += u64::from(bytes);
        Some(payload.number(bytes))
    }

    /// End of file.
    pub fn eof(&mut self) -> Option<Payload> {
        let payload = self.message(EOF)?;
        (!std::mem::replace(&mut self.eof_sent, true)).then_some(payload)
    }

    /// The end.
    pub fn close(&mut self) -> Option<Payload> {
        let payload = self.message(CLOSE)?;
        self.close_sent = true;
        Some(payload)
    }

    /// A request, with what its answer must be where it wants one.
    pub fn request(&mut self, name: &str, answer: Option<bool>, rest: &[u8]) -> Option<Payload> {
        let mut payload = self.message(REQUEST)?.string(name).byte(u8::from(answer.is_some()));
        self.expected.extend(answer);
        payload.0.extend(rest);
        Some(payload)
    }

    /// A request for a shell or the like: the first is answered with success, though it may be refused in words, and those
    /// behind it with failure.
    pub fn begin(&mut self, name: &str, answered: bool, rest: &[u8]) -> Option<Payload> {
        self.message(REQUEST)?;
        let first = !std::mem::replace(&mut self.begun, true);
        self.request(name, answered.then_some(first), rest)
    }

    /// An answer to what the gateway asked, or did not ask.
    pub fn answer(&mut self, success: bool) -> Option<Payload> {
        self.message(if success { SUCCESS } else { FAILURE })
    }
}
