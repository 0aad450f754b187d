//! Parses both streams of an SFTP channel into operations. The bridge passes the streams on even if they cannot be parsed.

use super::operation::Operation;
use super::packets::{Desync, Packets};
use super::state::{SftpState, packet};

/// The bytes kept of a packet that names files. Two of the longest paths and their fields fit.
const MAX_HEAD: usize = 10 * 1024;
/// The bytes kept of a packet with file content: the fields before the content.
const MAX_DATA_HEAD: usize = 300;

/// Parses one SFTP channel. Once a stream cannot be parsed, reports this and ignores the rest of the channel.
#[derive(Debug, Default)]
pub struct SftpParser {
    requests: Packets,
    replies: Packets,
    state: SftpState,
    desynced: bool,
}

impl SftpParser {
    /// Parses the next bytes from the client, and appends the operations that they complete.
    pub fn request(&mut self, bytes: &[u8], operations: &mut Vec<Operation>) {
        let state = &mut self.state;
        if !self.desynced {
            let parsed = self.requests.feed(bytes, kept_bytes, |packet| state.request(packet));
            self.check(parsed, operations);
        }
    }

    /// Parses the next bytes from the target, and appends the operations that they complete.
    pub fn reply(&mut self, bytes: &[u8], operations: &mut Vec<Operation>) {
        let state = &mut self.state;
        if !self.desynced {
            let parsed = self.replies.feed(bytes, kept_bytes, |packet| state.reply(packet, operations));
            self.check(parsed, operations);
        }
    }

    /// Reports the operations that were in progress when the channel closed.
    pub fn finish(&mut self, operations: &mut Vec<Operation>) {
        self.state.finish(operations);
    }

    fn check(&mut self, parsed: Result<(), Desync>, operations: &mut Vec<Operation>) {
        if parsed.is_err() {
            self.desynced = true;
            self.finish(operations);
            operations.push(Operation::new("lost", "", None, "not_followed"));
        }
    }
}

/// Returns how many bytes of a packet's body are kept, by the packet's type.
fn kept_bytes(kind: u8) -> usize {
    match kind {
        packet::WRITE | packet::DATA | packet::NAME | packet::ATTRS => MAX_DATA_HEAD,
        _ => MAX_HEAD,
    }
}
