//! A compact log of short data of several streams, which cannot be merged.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::request::STDERR;

/// The longest data that is kept as a piece, in bytes.
const MAX_PIECE: usize = 1024;
/// The size of a log, in bytes.
const MAX_LOG: usize = 32 * 1024;
/// The length in a piece's first byte that says that a longer length follows, as a `u16`.
const LONG: usize = 0x3f;

/// Pieces of data in the order of their arrival. Each begins with a byte: the stream in the upper two bits, the length in the
/// lower six. So a piece of one byte takes two.
#[derive(Debug)]
pub struct Pieces {
    log: BytesMut,
    /// The stream of the last piece, and where the last piece begins.
    last: (Option<u32>, usize),
}

impl Pieces {
    /// Returns a log with this first piece; `None` if the data is too long for one.
    pub fn of(stream: Option<u32>, data: &[u8]) -> Option<Self> {
        let mut pieces = Self { log: BytesMut::new(), last: (stream, 0) };
        pieces.push(stream, data).then_some(pieces)
    }

    /// Adds data. Returns false, and adds nothing, if the data is too long or the log is full.
    pub fn push(&mut self, stream: Option<u32>, data: &[u8]) -> bool {
        if data.len() > MAX_PIECE || self.log.len() + data.len() > MAX_LOG {
            return false;
        }
        if !self.extend_last(stream, data) {
            self.last = (stream, self.log.len());
            let kind: u8 = match stream {
                None => 0,
                Some(STDERR) => 1,
                Some(_) => 2,
            };
            let length = if data.len() < LONG { data.len() } else { LONG };
            // The length has six bits.
            self.log.put_u8(kind << 6 | u8::try_from(length).unwrap_or_default());
            if kind == 2 {
                self.log.put_u32(stream.unwrap_or_default());
            }
            if length == LONG {
                self.log.put_u16(u16::try_from(data.len()).unwrap_or_default());
            }
        }
        self.log.extend_from_slice(data);
        true
    }

    /// Makes room in the last piece if it is of this stream and stays short.
    fn extend_last(&mut self, stream: Option<u32>, data: &[u8]) -> bool {
        let (last, at) = self.last;
        let Some(first) = self.log.get_mut(at).filter(|_| last == stream) else { return false };
        let length = usize::from(*first) & LONG;
        let fits = length != LONG && length + data.len() < LONG;
        if fits {
            *first += u8::try_from(data.len()).unwrap_or_default();
        }
        fits
    }

    /// Takes the first piece out.
    pub fn take(&mut self) -> Option<(Option<u32>, Bytes)> {
        let before = self.log.len();
        let first = self.log.try_get_u8().ok()?;
        let stream = match first >> 6 {
            0 => None,
            1 => Some(STDERR),
            _ => Some(self.log.try_get_u32().ok()?),
        };
        let length = match usize::from(first) & LONG {
            LONG => usize::from(self.log.try_get_u16().ok()?),
            short => short,
        };
        let data = self.log.split_to(length.min(self.log.len())).freeze();
        // Later data must not extend a piece that was taken.
        self.last.1 = self.last.1.checked_sub(before - self.log.len()).unwrap_or(usize::MAX);
        Some((stream, data))
    }

    /// Returns whether the log has no piece.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Returns the memory of the log, in bytes.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.log.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let long = vec![b'l'; MAX_PIECE];
        let mut pieces = Pieces::of(None, b"a").unwrap();
        assert!(pieces.push(Some(1), b"b") && pieces.push(Some(1), b"c") && pieces.push(Some(9), &long));
        assert!(pieces.push(None, &[b'm'; LONG]) && pieces.push(None, b"n"));
        let expected: [(Option<u32>, &[u8]); 5] =
            [(None, b"a"), (Some(1), b"bc"), (Some(9), &long), (None, &[b'm'; LONG]), (None, b"n")];
        for (stream, data) in expected {
            assert_eq!(pieces.take(), Some((stream, Bytes::copy_from_slice(data))));
        }
        assert!(pieces.is_empty() && pieces.take().is_none());
    }

    #[test]
    fn a_piece_that_is_taken_is_not_extended() {
        let mut pieces = Pieces::of(None, b"a").unwrap();
        pieces.take().unwrap();
        assert!(pieces.push(None, b"b") && pieces.push(Some(1), b"c") && pieces.push(Some(1), b"d"));
        assert_eq!(pieces.take().unwrap().1, b"b"[..]);
        assert!(pieces.push(Some(1), b"e"));
        assert_eq!(pieces.take().unwrap().1, b"cde"[..]);
    }

    #[test]
    fn a_log_is_bounded() {
        assert!(Pieces::of(None, &[0; MAX_PIECE + 1]).is_none());
        let mut pieces = Pieces::of(None, b"a").unwrap();
        while pieces.push(Some(1), &[0; MAX_PIECE]) {}
        assert!(pieces.memory() <= 2 * MAX_LOG, "{}", pieces.memory());
    }
}
