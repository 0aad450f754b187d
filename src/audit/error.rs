//! Errors of the audit database, classified by their remedy.

use std::fmt;
use std::sync::Arc;

use sqlx::migrate::MigrateError;
use sqlx::mysql::MySqlDatabaseError;
use thiserror::Error;

use super::settings::SettingsError;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a failed operation on the audit database.
#[derive(Debug, Error)]
#[error("cannot {operation} the audit database {database}: {error}{}", hint(*cause))]
pub struct StoreError {
    /// The URL of the database, without credentials.
    database: Arc<str>,
    operation: Operation,
    /// The class of the error.
    pub cause: Cause,
    /// The cause. It is part of the message above, and no `#[source]`, so that a chain of causes does not repeat it.
    error: BoxError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Migrate,
    Write,
    Read,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Migrate => "migrate",
            Self::Write => "write to",
            Self::Read => "read",
        })
    }
}

/// Classes of database errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection was refused or broke, or the file cannot be opened.
    Unreachable,
    /// The database did not answer in time.
    Timeout,
    /// The server's certificate is not trusted, or the server does not support TLS.
    Tls,
    /// The user name, the password or a privilege is wrong.
    Denied,
    /// The database is read-only.
    ReadOnly,
    /// The server's or the user's connection limit is reached.
    Connections,
    /// The disk or a table is full.
    Full,
    /// Another connection holds a lock.
    Busy,
    /// A table or column is missing, or a migration was changed.
    Schema,
    /// The database rejects a value.
    Rejected,
    /// A file that a flag names can no longer be read.
    Settings,
    /// Any other error.
    Other,
}

impl Cause {
    /// Returns the class's label in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Denied => "denied",
            Self::ReadOnly => "read_only",
            Self::Connections => "connections",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Schema => "schema",
            Self::Rejected => "rejected",
            Self::Settings => "settings",
            Self::Other => "error",
        }
    }
}

/// Returns what to do about an error, to append to its message; empty if there is no advice.
const fn hint(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreachable => {
            "; check that the database runs and that --audit-url is right; for SQLite, its folder must exist and be writable"
        }
        Cause::Timeout => "; check the load of the database and the network to it",
        Cause::Tls => {
            "; --audit-ca-file must contain the CA that signed the server's certificate, and the certificate must name the host \
             in --audit-url; --audit-tls=off disables TLS in a trusted network"
        }
        Cause::Denied => "; check --audit-password-file and the privileges of the user in --audit-url",
        Cause::ReadOnly => "; make the database writable, or point --audit-url at the primary",
        Cause::Connections => "; raise max_connections of the server or of the user, or close idle connections",
        Cause::Full => "; free space on the database's disk",
        Cause::Schema => "; run `bastion migrate` of this version",
        Cause::Busy | Cause::Rejected | Cause::Settings | Cause::Other => "",
    }
}

/// The error of one request, before the operation is known.
#[derive(Debug)]
pub(super) struct RequestError {
    pub cause: Cause,
    error: BoxError,
}

impl RequestError {
    pub fn new(cause: Cause, error: impl Into<BoxError>) -> Self {
        Self { cause, error: error.into() }
    }

    /// Adds the operation and the database.
    pub fn during(self, operation: Operation, database: &Arc<str>) -> StoreError {
        StoreError { database: database.clone(), operation, cause: self.cause, error: self.error }
    }
}

impl From<sqlx::Error> for RequestError {
    fn from(error: sqlx::Error) -> Self {
        let cause = match &error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
                Some(error) => mysql_cause(error.number()),
                None => error.code().and_then(|code| code.parse().ok()).map_or(Cause::Other, sqlite_cause),
            },
            sqlx::Error::Tls(_) => Cause::Tls,
            sqlx::Error::Io(error) if is_tls_error(error) => Cause::Tls,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Cause::Unreachable,
            sqlx::Error::PoolTimedOut => Cause::Timeout,
            sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } => Cause::Schema,
            _ => Cause::Other,
        };
        Self::new(cause, error)
    }
}

impl From<MigrateError> for RequestError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => {
                Self::new(Cause::Other, format!("{other}; a changed release migrated the database; run that release"))
            }
        }
    }
}

impl From<SettingsError> for RequestError {
    fn from(error: SettingsError) -> Self {
        Self::new(Cause::Settings, error)
    }
}

/// Returns whether an I/O error wraps a TLS error, such as an untrusted certificate.
fn is_tls_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

/// Classifies the error numbers that MySQL and MariaDB share.
const fn mysql_cause(number: u16) -> Cause {
    match number {
        1040 | 1203 | 1226 => Cause::Connections,
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1698 => Cause::Denied,
        1290 | 1792 | 1836 => Cause::ReadOnly,
        3159 => Cause::Tls,
        3 | 1021 | 1026 | 1114 => Cause::Full,
        1205 | 1213 => Cause::Busy,
        1049 | 1054 | 1146 => Cause::Schema,
        1048 | 1264 | 1265 | 1364 | 1366 | 1406 | 3819 | 4025 => Cause::Rejected,
        1053 | 1077 | 1317 | 1927 => Cause::Unreachable,
        _ => Cause::Other,
    }
}

/// Classifies the primary result code, the lowest byte of SQLite's extended code.
const fn sqlite_cause(code: u32) -> Cause {
    match code & 0xff {
        // SQLITE_ERROR has many causes. The statements never change, so it is the schema.
        1 => Cause::Schema,
        3 | 23 => Cause::Denied,
        5 | 6 => Cause::Busy,
        8 => Cause::ReadOnly,
        13 => Cause::Full,
        14 => Cause::Unreachable,
        19 | 20 => Cause::Rejected,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Cause::Tls, "--audit-ca-file")]
    #[case(Cause::Denied, "--audit-password-file")]
    #[case(Cause::Schema, "bastion migrate")]
    #[case(Cause::Connections, "max_connections")]
    fn an_error_names_the_database_and_the_remedy(#[case] cause: Cause, #[case] remedy: &str) {
        let database = "mysql://bastion@db:3306/audit".into();
        let text = RequestError::new(cause, "its message").during(Operation::Write, &database).to_string();
        assert!(
            text.starts_with("cannot write to the audit database mysql://bastion@db:3306/audit: its message; "),
            "{text}"
        );
        assert!(text.contains(remedy), "{text}");
    }

    #[rstest]
    #[case(1290, Cause::ReadOnly)]
    #[case(1040, Cause::Connections)]
    #[case(1045, Cause::Denied)]
    #[case(1146, Cause::Schema)]
    #[case(1406, Cause::Rejected)]
    #[case(9999, Cause::Other)]
    fn mysql_errors_have_a_cause(#[case] number: u16, #[case] cause: Cause) {
        assert_eq!(mysql_cause(number), cause);
    }

    #[rstest]
    #[case(1, Cause::Schema)]
    #[case(517, Cause::Busy)]
    #[case(1544, Cause::ReadOnly)]
    #[case(1811, Cause::Rejected)]
    fn sqlite_errors_have_a_cause(#[case] code: u32, #[case] cause: Cause) {
        assert_eq!(sqlite_cause(code), cause);
    }
}
