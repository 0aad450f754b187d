//! The state of one SFTP session: requests without a reply, and open handles.

use std::collections::HashMap;

use super::operation::Operation;
use super::packets::{Desync, Packet};

/// The bytes kept of a path.
pub const MAX_PATH: usize = 1024;
/// The most requests without a reply. Above it, parsing stops.
pub const MAX_PENDING: usize = 2048;
/// The most files and directories open at once. Above it, parsing stops.
const MAX_OPEN: usize = 1024;
/// The most bytes of paths and handles that are kept. Above it, parsing stops.
pub const MAX_KEPT: usize = 512 * 1024;

/// Requests without a reply by the client's request id, and open files by the target's handle.
#[derive(Debug, Default)]
pub struct SftpState {
    initialized: bool,
    pending: HashMap<u32, PendingRequest>,
    handles: HashMap<Vec<u8>, u32>,
    open: HashMap<u32, OpenFile>,
    /// The number of the file opened last.
    last: u32,
    /// The bytes of the paths and handles in all of these.
    kept: usize,
}

/// A request without a reply. `file` is a key of [`SftpState::open`].
#[derive(Debug)]
enum PendingRequest {
    Open { name: &'static str, path: String },
    Read { file: u32 },
    Write { file: u32, bytes: u32 },
    Close { file: u32, handle: Vec<u8> },
    Change { name: &'static str, path: String, to: Option<String> },
}

/// An open file or directory.
#[derive(Debug)]
struct OpenFile {
    is_directory: bool,
    path: String,
    /// The bytes of the path and the handle.
    kept: usize,
    read: u64,
    written: u64,
}

/// The types of packets.
pub mod packet {
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
    /// Records a request.
    ///
    /// # Errors
    /// The packet is malformed, or too many requests have no reply.
    pub fn request(&mut self, mut packet: Packet<'_>) -> Result<(), Desync> {
        if !std::mem::replace(&mut self.initialized, true) {
            return if packet.kind == packet::INIT { Ok(()) } else { Err(Desync) };
        }
        let id = packet.number()?;
        if let Some(request) = self.parse_request(packet)? {
            self.kept += request.kept();
            // A client must not use an id again before its reply.
            self.kept -= self.pending.insert(id, request).map_or(0, |replaced| replaced.kept());
        }
        if self.pending.len() > MAX_PENDING || self.kept > MAX_KEPT { Err(Desync) } else { Ok(()) }
    }

    /// Parses the fields after a request's id. Returns `None` for a request that only reads metadata or names an unknown
    /// handle.
    fn parse_request(&self, mut packet: Packet<'_>) -> Result<Option<PendingRequest>, Desync> {
        use PendingRequest::{Change, Close, Open, Read, Write};
        let change = |name, path: &[u8], to: Option<&[u8]>| Some(Change { name, path: text(path), to: to.map(text) });
        Ok(match packet.kind {
            packet::OPEN => Some(Open { name: "open", path: text(packet.string()?) }),
            packet::OPENDIR => Some(Open { name: "list", path: text(packet.string()?) }),
            packet::CLOSE => {
                let handle = packet.string()?;
                self.file(handle).map(|file| Close { file, handle: handle.to_vec() })
            }
            packet::READ => self.file(packet.string()?).map(|file| Read { file }),
            packet::WRITE => {
                let file = self.file(packet.string()?);
                packet.skip(8)?;
                let bytes = packet.number()?;
                file.map(|file| Write { file, bytes })
            }
            packet::SETSTAT => change("setstat", packet.string()?, None),
            packet::FSETSTAT => self.path(packet.string()?).and_then(|path| change("setstat", path.as_bytes(), None)),
            packet::REMOVE => change("remove", packet.string()?, None),
            packet::MKDIR => change("mkdir", packet.string()?, None),
            packet::RMDIR => change("rmdir", packet.string()?, None),
            packet::RENAME => change("rename", packet.string()?, Some(packet.string()?)),
            packet::SYMLINK => change("symlink", packet.string()?, Some(packet.string()?)),
            packet::EXTENDED => self.parse_extended(&mut packet)?,
            _ => None,
        })
    }

    /// Parses OpenSSH's extensions that change something.
    fn parse_extended(&self, packet: &mut Packet<'_>) -> Result<Option<PendingRequest>, Desync> {
        let (name, has_second_path) = match packet.string()? {
            b"posix-rename@openssh.com" => ("rename", true),
            b"hardlink@openssh.com" => ("link", true),
            b"lsetstat@openssh.com" => ("setstat", false),
            b"copy-data" => {
                let from = self.path(packet.string()?);
                packet.skip(16)?;
                let to = self.path(packet.string()?);
                return Ok(from.map(|path| PendingRequest::Change { name: "copy", path, to }));
            }
            _ => return Ok(None),
        };
        let path = text(packet.string()?);
        let to = if has_second_path { Some(text(packet.string()?)) } else { None };
        Ok(Some(PendingRequest::Change { name, path, to }))
    }

    /// Matches a reply with its request, and appends the operation that it completes.
    ///
    /// # Errors
    /// The packet is malformed, or too many files are open.
    pub fn reply(&mut self, mut packet: Packet<'_>, operations: &mut Vec<Operation>) -> Result<(), Desync> {
        use PendingRequest::{Change, Close, Open, Read, Write};
        let kind = packet.kind;
        if kind == packet::VERSION {
            return Ok(());
        }
        if !(packet::STATUS..=packet::ATTRS).contains(&kind) && kind < packet::EXTENDED {
            return Err(Desync);
        }
        let Some(request) = self.pending.remove(&packet.number()?) else { return Ok(()) };
        self.kept -= request.kept();
        let result = if kind == packet::STATUS { status_name(packet.number()?) } else { "ok" };
        match (request, kind) {
            (Open { name, path }, packet::HANDLE) => {
                operations.push(Operation::new(name, &path, None, result));
                let handle = packet.string()?.to_vec();
                let kept = path.len() + handle.len();
                self.opened(handle, OpenFile { is_directory: name == "list", path, kept, read: 0, written: 0 })?;
            }
            (Open { name, path }, _) => operations.push(Operation::new(name, &path, None, result)),
            (Read { file }, packet::DATA) => {
                let bytes = packet.number()?;
                self.open.entry(file).and_modify(|open| open.read += u64::from(bytes));
            }
            (Read { .. }, _) => {}
            (Write { file, bytes }, _) if result == "ok" => {
                self.open.entry(file).and_modify(|open| open.written += u64::from(bytes));
            }
            (Write { file, .. }, _) => {
                let path = self.open.get(&file).map(|open| open.path.as_str()).unwrap_or_default();
                operations.push(Operation::new("write", path, None, result));
            }
            (Close { file, handle }, _) => {
                if let Some(open) = self.open.remove(&file) {
                    self.kept -= open.kept;
                    self.handles.remove(&handle);
                    operations.extend((!open.is_directory).then(|| open.closed(result)));
                }
            }
            (Change { name, path, to }, _) => operations.push(Operation::new(name, &path, to, result)),
        }
        Ok(())
    }

    /// Removes all open files and pending changes, and appends them as `not_closed` and `unanswered`.
    pub fn finish(&mut self, operations: &mut Vec<Operation>) {
        let mut unclosed: Vec<_> = self.open.drain().collect();
        unclosed.sort_by_key(|(number, _)| *number);
        operations.extend(unclosed.into_iter().map(|(_, open)| open.closed("not_closed")));
        for (_, request) in self.pending.drain() {
            if let PendingRequest::Change { name, path, to } = request {
                operations.push(Operation::new(name, &path, to, "unanswered"));
            }
        }
    }

    fn opened(&mut self, handle: Vec<u8>, file: OpenFile) -> Result<(), Desync> {
        self.last = self.last.wrapping_add(1);
        self.kept += file.kept;
        self.handles.insert(handle, self.last);
        self.open.insert(self.last, file);
        if self.open.len() > MAX_OPEN || self.kept > MAX_KEPT { Err(Desync) } else { Ok(()) }
    }

    fn file(&self, handle: &[u8]) -> Option<u32> {
        self.handles.get(handle).copied()
    }

    fn path(&self, handle: &[u8]) -> Option<String> {
        self.open.get(&self.file(handle)?).map(|open| open.path.clone())
    }
}

impl PendingRequest {
    /// Returns the bytes of its paths and its handle.
    fn kept(&self) -> usize {
        match self {
            Self::Open { path, .. } => path.len(),
            Self::Close { handle, .. } => handle.len(),
            Self::Change { path, to, .. } => path.len() + to.as_ref().map_or(0, String::len),
            Self::Read { .. } | Self::Write { .. } => 0,
        }
    }
}

impl OpenFile {
    fn closed(self, result: &'static str) -> Operation {
        let Self { path, read, written, .. } = self;
        Operation { name: "close", path, to: None, read, written, result }
    }
}

/// Returns a path as text, cut to [`MAX_PATH`] bytes.
fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(MAX_PATH)]).into_owned()
}

/// Returns the name of an SSH_FX_* status code.
const fn status_name(code: u32) -> &'static str {
    match code {
        0 => "ok",
        1 => "end_of_file",
        2 => "no_such_file",
        3 => "permission_denied",
        8 => "unsupported",
        _ => "failure",
    }
}
