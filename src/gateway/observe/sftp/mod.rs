//! Observes SFTP transfers (version 3, draft-ietf-secsh-filexfer-02) in the two streams of a channel.

mod operation;
mod packets;
mod parser;
mod state;

pub use operation::Operation;
pub use parser::SftpParser;

#[cfg(test)]
mod tests;
