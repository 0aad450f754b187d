//! SFTP operations, as the audit log reports them.

/// An operation of the client that has succeeded or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The operation, without the prefix `sftp_` that it has in the audit log.
    pub name: &'static str,
    /// The file or directory, as the client wrote it.
    pub path: String,
    /// The second path of a rename, link or copy.
    pub to: Option<String>,
    /// Bytes that the client read from the file.
    pub read: u64,
    /// Bytes that the client wrote to the file.
    pub written: u64,
    /// The target's answer in one word, such as `ok` or `permission_denied`.
    pub result: &'static str,
}

impl Operation {
    /// Returns an operation without bytes.
    pub fn new(name: &'static str, path: &str, to: Option<String>, result: &'static str) -> Self {
        Self { name, path: path.to_owned(), to, read: 0, written: 0, result }
    }
}
