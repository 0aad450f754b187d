//! The two streams of an SFTP channel, as the audit log's parser reads them: however they are split, the operations are the same.
//!
//! Each piece begins with a byte: its lowest bit says who sends, the target if it is set, and the others how many bytes follow.

use bastion_operator::gateway::fuzzing::{Operation, SftpParser};

/// Parses these pieces as they are, and byte by byte.
pub fn check(data: &[u8]) {
    let (mut whole, mut bytewise) = (Parsed::default(), Parsed::default());
    let mut rest = data;
    while let Some((head, behind)) = rest.split_first() {
        let (piece, next) = behind.split_at(behind.len().min(usize::from(head >> 1)));
        let from_target = head & 1 == 1;
        whole.feed(from_target, piece);
        piece.chunks(1).for_each(|byte| bytewise.feed(from_target, byte));
        rest = next;
    }
    assert_eq!(whole.finish(), bytewise.finish());
}

#[derive(Default)]
struct Parsed {
    parser: SftpParser,
    operations: Vec<Operation>,
}

impl Parsed {
    fn feed(&mut self, from_target: bool, bytes: &[u8]) {
        if from_target {
            self.parser.reply(bytes, &mut self.operations);
        } else {
            self.parser.request(bytes, &mut self.operations);
        }
    }

    /// Returns the operations. Those that the end interrupts come in no certain order.
    fn finish(mut self) -> Vec<String> {
        self.parser.finish(&mut self.operations);
        let mut operations: Vec<_> = self.operations.iter().map(|operation| format!("{operation:?}")).collect();
        operations.sort_unstable();
        operations
    }
}
