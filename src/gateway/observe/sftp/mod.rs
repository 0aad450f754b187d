//! What somebody does over SFTP (version 3, draft-ietf-secsh-filexfer-02), told from the two streams that pass by. The
//! streams are only looked at: whatever is in them, they go on, and no more than the beginning of a packet is kept.

mod packets;

use std::collections::HashMap;

pub use packets::Desync;
use packets::{Packet, Packets};

/// What is kept of a packet that names files: two paths as long as they can be, and what stands around them.
const KEEP: usize = 10 * 1024;
/// What is kept of a packet with a file's content: what stands before it.
const KEEP_OF_DATA: usize = 300;
/// What is kept of a path.
const MAX_PATH: usize = 1024;
/// Requests without a reply, beyond which nobody can be followed any more.
const MAX_ASKED: usize = 2048;
/// Files and folders open at once, likewise.
const MAX_OPEN: usize = 1024;

/// Something that was done, or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// In one word.
    pub name: &'static str,
    /// The file or folder, as the client called it.
    pub path: String,
    /// The second path, where there is one: of a renaming, or of a link.
    pub to: Option<String>,
    /// Bytes that the client read from it.
    pub read: u64,
    /// Bytes that the client wrote to it.
    pub written: u64,
    /// What the target said to it.
    pub result: &'static str,
}

impl Operation {
    fn new(name: &'static str, path: &str, to: Option<String>, result: &'static str) -> Self {
        Self { name, path: path.to_owned(), to, read: 0, written: 0, result }
    }
}

/// Follows one SFTP conversation.
#[derive(Debug, Default)]
pub struct Follower {
    requests: Packets,
    replies: Packets,
    talk: SftpState,
    lost: bool,
}

/// What was asked and is open, by the client's numbers and the target's handles.
#[derive(Debug, Default)]
struct SftpState {
    greeted: bool,
    asked: HashMap<u32, Asked>,
    handles: HashMap<Vec<u8>, u32>,
    open: HashMap<u32, Open>,
    next: u32,
}

/// A request whose reply is outstanding.
#[derive(Debug)]
enum Asked {
    Open { name: &'static str, path: String },
    Read { file: u32 },
    Write { file: u32, bytes: u32 },
    Close { file: u32, handle: Vec<u8> },
    Change { name: &'static str, path: String, to: Option<String> },
}

/// A file or folder that is open.
#[derive(Debug)]
struct Open {
    folder: bool,
    path: String,
    read: u64,
    written: u64,
}

impl Follower {
    /// The next bytes from the client; what they tell is added to `told`.
    pub fn request(&mut self, bytes: &[u8], told: &mut Vec<Operation>) {
        let talk = &mut self.talk;
        if !self.lost {
            let fed = self.requests.feed(bytes, keep, |packet| talk.request(packet));
            self.check(fed, told);
        }
    }

    /// The next bytes from the target; what they tell is added to `told`.
    pub fn reply(&mut self, bytes: &[u8], told: &mut Vec<Operation>) {
        let talk = &mut self.talk;
        if !self.lost {
            let fed = self.replies.feed(bytes, keep, |packet| talk.reply(packet, told));
            self.check(fed, told);
        }
    }

    /// The conversation is over; files that are still open are told as they are.
    pub fn finish(&mut self, told: &mut Vec<Operation>) {
        let mut left: Vec<_> = self.talk.open.drain().collect();
        left.sort_by_key(|(number, _)| *number);
        told.extend(left.into_iter().map(|(_, open)| open.closed("not_closed")));
        for (_, asked) in self.talk.asked.drain() {
            if let Asked::Change { name, path, to } = asked {
                told.push(Operation::new(name, &path, to, "unanswered"));
            }
        }
    }

    /// Says once that it cannot follow.
    fn check(&mut self, fed: Result<(), Desync>, told: &mut Vec<Operation>) {
        if fed.is_err() {
            self.lost = true;
            self.finish(told);
            told.push(Operation::new("lost", "", None, "not_followed"));
        }
    }
}

fn keep(kind: u8) -> usize {
    match kind {
        packet::WRITE | packet::DATA | packet::NAME | packet::ATTRS => KEEP_OF_DATA,
        _ => KEEP,
    }
}

/// The types of packets.
mod packet {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const RENAME: u8 = 18;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
}

impl SftpState {
    fn request(&mut self, mut packet: Packet<'_>) -> Result<(), Desync> {
        if !std::mem::replace(&mut self.greeted, true) {
            return if packet.kind == packet::INIT { Ok(()) } else { Err(Desync) };
        }
        let kind = packet.kind;
        let number = packet.number()?;
        let change =
            |name, path: &[u8], to: Option<&[u8]>| Some(Asked::Change { name, path: text(path), to: to.map(text) });
        let asked = match kind {
            packet::OPEN => Some(Asked::Open { name: "open", path: text(packet.string()?) }),
            packet::OPENDIR => Some(Asked::Open { name: "list", path: text(packet.string()?) }),
            packet::CLOSE => {
                let handle = packet.string()?;
                self.file(handle).map(|file| Asked::Close { file, handle: handle.to_vec() })
            }
            packet::READ => self.file(packet.string()?).map(|file| Asked::Read { file }),
            packet::WRITE => {
                let file = self.file(packet.string()?);
                packet.skip(8)?;
                let bytes = packet.number()?;
                file.map(|file| Asked::Write { file, bytes })
            }
            packet::SETSTAT => change("setstat", packet.string()?, None),
            packet::FSETSTAT => self.path(packet.string()?).and_then(|path| change("setstat", path.as_bytes(), None)),
            packet::REMOVE => change("remove", packet.string()?, None),
            packet::MKDIR => change("mkdir", packet.string()?, None),
            packet::RMDIR => change("rmdir", packet.string()?, None),
            packet::RENAME => change("rename", packet.string()?, Some(packet.string()?)),
            packet::SYMLINK => change("symlink", packet.string()?, Some(packet.string()?)),
            packet::EXTENDED => self.extended(&mut packet)?,
            // The rest only looks.
            _ => None,
        };
        if let Some(asked) = asked {
            self.asked.insert(number, asked);
        }
        if self.asked.len() > MAX_ASKED { Err(Desync) } else { Ok(()) }
    }

    /// OpenSSH's extensions that change something.
    fn extended(&self, packet: &mut Packet<'_>) -> Result<Option<Asked>, Desync> {
        let (name, to) = match packet.string()? {
            b"posix-rename@openssh.com" => ("rename", true),
            b"hardlink@openssh.com" => ("link", true),
            b"lsetstat@openssh.com" => ("setstat", false),
            b"copy-data" => {
                let from = self.path(packet.string()?);
                packet.skip(16)?;
                let to = self.path(packet.string()?);
                return Ok(from.map(|path| Asked::Change { name: "copy", path, to }));
            }
            _ => return Ok(None),
        };
        let path = text(packet.string()?);
        let to = if to { Some(text(packet.string()?)) } else { None };
        Ok(Some(Asked::Change { name, path, to }))
    }

    fn reply(&mut self, mut packet: Packet<'_>, told: &mut Vec<Operation>) -> Result<(), Desync> {
        let kind = packet.kind;
        if kind == packet::VERSION {
            return Ok(());
        }
        if !(packet::STATUS..=packet::ATTRS).contains(&kind) && kind < packet::EXTENDED {
            return Err(Desync);
        }
        let Some(asked) = self.asked.remove(&packet.number()?) else { return Ok(()) };
        let result = if kind == packet::STATUS { result(packet.number()?) } else { "ok" };
        match (asked, kind) {
            (Asked::Open { name, path }, packet::HANDLE) => {
                told.push(Operation::new(name, &path, None, result));
                self.opened(packet.string()?.to_vec(), Open { folder: name == "list", path, read: 0, written: 0 })?;
            }
            (Asked::Open { name, path }, _) => told.push(Operation::new(name, &path, None, result)),
            (Asked::Read { file }, packet::DATA) => {
                let bytes = packet.number()?;
                self.open.entry(file).and_modify(|open| open.read += u64::from(bytes));
            }
            (Asked::Read { .. }, _) => {}
            (Asked::Write { file, bytes }, _) if result == "ok" => {
                self.open.entry(file).and_modify(|open| open.written += u64::from(bytes));
            }
            (Asked::Write { file, .. }, _) => {
                let path = self.open.get(&file).map(|open| open.path.as_str()).unwrap_or_default();
                told.push(Operation::new("write", path, None, result));
            }
            (Asked::Close { file, handle }, _) => {
                if let Some(open) = self.open.remove(&file) {
                    self.handles.remove(&handle);
                    told.extend((!open.folder).then(|| open.closed(result)));
                }
            }
            (Asked::Change { name, path, to }, _) => told.push(Operation::new(name, &path, to, result)),
        }
        Ok(())
    }

    fn opened(&mut self, handle: Vec<u8>, open: Open) -> Result<(), Desync> {
        self.next = self.next.wrapping_add(1);
        self.handles.insert(handle, self.next);
        self.open.insert(self.next, open);
        if self.open.len() > MAX_OPEN { Err(Desync) } else { Ok(()) }
    }

    fn file(&self, handle: &[u8]) -> Option<u32> {
        self.handles.get(handle).copied()
    }

    fn path(&self, handle: &[u8]) -> Option<String> {
        self.open.get(&self.file(handle)?).map(|open| open.path.clone())
    }
}

impl Open {
    fn closed(self, result: &'static str) -> Operation {
        let Self { path, read, written, .. } = self;
        Operation { name: "close", path, to: None, read, written, result }
    }
}

/// A path as text, its beginning where it is very long.
fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(MAX_PATH)]).into_owned()
}

/// The codes of a status.
const fn result(code: u32) -> &'static str {
    match code {
        0 => "ok",
        1 => "end_of_file",
        2 => "no_such_file",
        3 => "permission_denied",
        8 => "unsupported",
        _ => "failure",
    }
}

#[cfg(test)]
mod tests;
