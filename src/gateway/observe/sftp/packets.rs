//! Packets of the SFTP protocol, found in a stream that comes in pieces: four bytes of length, a byte of type, the rest.
//! Of the rest only the beginning is kept, so that a file may be of any size.

/// The stream is not one of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desync;

/// The beginning of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: u8,
    /// What follows the type, as far as it is kept.
    head: &'a [u8],
    /// How long that is as a whole.
    length: usize,
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub struct Packets {
    length: Vec<u8>,
    /// The packet's type and the beginning of the rest.
    head: Vec<u8>,
    /// Bytes of the present packet that have come.
    seen: usize,
}

impl Packets {
    /// The next bytes of the stream. Each packet that they complete is shown to `see`; what `keep` says of its type is
    /// how much of its rest is kept.
    ///
    /// # Errors
    /// When the bytes are no packets, or `see` makes nothing of one.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        keep: impl Fn(u8) -> usize,
        mut see: impl FnMut(Packet<'_>) -> Result<(), Desync>,
    ) -> Result<(), Desync> {
        while !bytes.is_empty() {
            if self.length.len() < 4 {
                let (more, rest) = bytes.split_at(bytes.len().min(4 - self.length.len()));
                self.length.extend_from_slice(more);
                bytes = rest;
                continue;
            }
            let length = self.announced();
            if length == 0 {
                return Err(Desync);
            }
            let (more, rest) = bytes.split_at(bytes.len().min(length - self.seen));
            let kind = self.head.first().or(more.first()).copied().unwrap_or_default();
            let wanted = (1 + keep(kind)).saturating_sub(self.head.len());
            self.head.extend_from_slice(&more[..wanted.min(more.len())]);
            self.seen += more.len();
            bytes = rest;
            if self.seen == length {
                see(Packet { kind, head: self.head.get(1..).unwrap_or_default(), length: length - 1 })?;
                self.length.clear();
                self.head.clear();
                self.seen = 0;
            }
        }
        Ok(())
    }

    fn announced(&self) -> usize {
        self.length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    }
}

impl<'a> Packet<'a> {
    /// Reads a number.
    ///
    /// # Errors
    /// When the packet is at its end before.
    pub fn number(&mut self) -> Result<u32, Desync> {
        let (number, rest) = self.head.split_first_chunk().ok_or(Desync)?;
        self.head = rest;
        self.length = self.length.checked_sub(4).ok_or(Desync)?;
        Ok(u32::from_be_bytes(*number))
    }

    /// Passes over so many bytes.
    ///
    /// # Errors
    /// When the packet is at its end before.
    pub fn skip(&mut self, bytes: usize) -> Result<(), Desync> {
        self.length = self.length.checked_sub(bytes).ok_or(Desync)?;
        self.head = self.head.get(bytes..).unwrap_or_default();
        Ok(())
    }

    /// Reads a string; of a very long one its beginning.
    ///
    /// # Errors
    /// When the packet is at its end before.
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
    fn nothing_is_read_beyond_the_packet() {
        let bytes = packet(3, &[0, 0, 0, 9, b'a']);
        let read = Packets::default().feed(&bytes, |_| 100, |mut packet| packet.string().map(drop));
        assert_eq!(read, Err(Desync));
        assert_eq!(Packets::default().feed(&[0; 5], |_| 100, |_| Ok(())), Err(Desync));
    }

    #[test]
    fn a_long_string_is_read_as_far_as_it_is_kept() {
        let body = [&8_u32.to_be_bytes()[..], b"abcdefgh", &7_u32.to_be_bytes()[..]].concat();
        let mut seen = 0;
        let fed = Packets::default().feed(
            &packet(3, &body),
            |_| 6,
            |mut packet| {
                seen += 1;
                assert_eq!(packet.string()?, b"ab");
                assert_eq!(packet.number(), Err(Desync), "what was not kept cannot be read");
                Ok(())
            },
        );
        assert_eq!((fed, seen), (Ok(()), 1));
    }

    proptest! {
        #[test]
        fn wherever_the_stream_is_split_the_packets_are_the_same(
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
