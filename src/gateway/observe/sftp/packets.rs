//! Splits a byte stream into SFTP packets: a length of four bytes, a type of one byte, and a body. Only the head of a
//! body is kept, so that memory does not depend on the size of files.

/// The stream does not consist of SFTP packets, or exceeds a limit of the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desync;

/// A packet, of which the fields are read one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The type of the packet.
    pub kind: u8,
    /// The kept part of the body that is not read yet.
    head: &'a [u8],
    /// The length of the body that is not read yet, in bytes, with the part that is not kept.
    length: usize,
}

/// Splits a stream into packets.
#[derive(Debug, Default)]
pub struct Packets {
    /// The bytes of the current packet's length field.
    length: Vec<u8>,
    /// The current packet's type and the kept part of its body.
    head: Vec<u8>,
    /// The bytes of the current packet received so far, without the length field.
    received: usize,
}

impl Packets {
    /// Reads the next bytes of the stream, and calls `handle` with each packet that they complete. `keep` returns how
    /// many bytes of the body to keep for a type of packet.
    ///
    /// # Errors
    /// The bytes are not SFTP, or `handle` rejects a packet.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        keep: impl Fn(u8) -> usize,
        mut handle: impl FnMut(Packet<'_>) -> Result<(), Desync>,
    ) -> Result<(), Desync> {
        while !bytes.is_empty() {
            if self.length.len() < 4 {
                let (more, rest) = bytes.split_at(bytes.len().min(4 - self.length.len()));
                self.length.extend_from_slice(more);
                bytes = rest;
                continue;
            }
            let length = self.packet_length();
            if length == 0 {
                return Err(Desync);
            }
            let (more, rest) = bytes.split_at(bytes.len().min(length - self.received));
            let kind = self.head.first().or(more.first()).copied().unwrap_or_default();
            let wanted = (1 + keep(kind)).saturating_sub(self.head.len());
            self.head.extend_from_slice(&more[..wanted.min(more.len())]);
            self.received += more.len();
            bytes = rest;
            if self.received == length {
                handle(Packet { kind, head: self.head.get(1..).unwrap_or_default(), length: length - 1 })?;
                self.length.clear();
                self.head.clear();
                self.received = 0;
            }
        }
        Ok(())
    }

    fn packet_length(&self) -> usize {
        self.length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    }
}

impl<'a> Packet<'a> {
    /// Reads a `uint32`.
    ///
    /// # Errors
    /// The packet, or its kept part, is too short.
    pub fn number(&mut self) -> Result<u32, Desync> {
        let (number, rest) = self.head.split_first_chunk().ok_or(Desync)?;
        self.head = rest;
        self.length = self.length.checked_sub(4).ok_or(Desync)?;
        Ok(u32::from_be_bytes(*number))
    }

    /// Skips this many bytes.
    ///
    /// # Errors
    /// The packet is too short.
    pub fn skip(&mut self, bytes: usize) -> Result<(), Desync> {
        self.length = self.length.checked_sub(bytes).ok_or(Desync)?;
        self.head = self.head.get(bytes..).unwrap_or_default();
        Ok(())
    }

    /// Reads a `string`, cut to the part that is kept.
    ///
    /// # Errors
    /// The packet is too short.
    pub fn string(&mut self) -> Result<&'a [u8], Desync> {
        let length = self.number()? as usize;
        let string = &self.head[..length.min(self.head.len())];
        self.skip(length)?;
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[kind], body].concat()
    }

    #[test]
    fn reading_past_the_end_fails() {
        let bytes = packet(3, &[0, 0, 0, 9, b'a']);
        let read = Packets::default().feed(&bytes, |_| 100, |mut packet| packet.string().map(drop));
        assert_eq!(read, Err(Desync));
        assert_eq!(Packets::default().feed(&[0; 5], |_| 100, |_| Ok(())), Err(Desync));
    }

    #[test]
    fn a_long_string_is_cut() {
        let body = [&8_u32.to_be_bytes()[..], b"abcdefgh", &7_u32.to_be_bytes()[..]].concat();
        let mut seen = 0;
        let fed = Packets::default().feed(
            &packet(3, &body),
            |_| 6,
            |mut packet| {
                seen += 1;
                assert_eq!(packet.string()?, b"ab");
                assert_eq!(packet.number(), Err(Desync), "the number is not kept");
                Ok(())
            },
        );
        assert_eq!((fed, seen), (Ok(()), 1));
    }

    proptest! {
        #[test]
        fn packets_do_not_depend_on_how_the_stream_is_split(
            packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..10),
            size in 1..40_usize,
            kept in 0..70_usize,
        ) {
            let stream: Vec<u8> = packets.iter().flat_map(|(kind, body)| packet(*kind, body)).collect();
            let (mut reader, mut seen) = (Packets::default(), Vec::new());
            for piece in stream.chunks(size) {
                let fed = reader.feed(piece, |_| kept, |packet| {
                    seen.push((packet.kind, packet.head.to_vec(), packet.length));
                    Ok(())
                });
                prop_assert_eq!(fed, Ok(()));
                prop_assert!(reader.head.len() <= kept + 1);
            }
            let expected: Vec<_> = packets
                .into_iter()
                .map(|(kind, body)| (kind, body[..body.len().min(kept)].to_vec(), body.len()))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
