//! What goes wrong with the audit database, sorted by what helps.

use std::fmt;
use std::sync::Arc;

use sqlx::migrate::MigrateError;
use sqlx::mysql::MySqlDatabaseError;
use thiserror::Error;

use super::settings::SettingsError;

/// The audit database did not do what it was asked.
#[derive(Debug, Error)]
#[error("cannot {doing} the audit database {database}: {said}{}", hint(*cause))]
pub struct StoreError {
    /// The database, without credentials.
    database: Arc<str>,
    doing: Doing,
    /// What is in the way.
    pub cause: Cause,
    /// What the database, or the way to it, said.
    said: String,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Migrate,
    Write,
    Read,
}

impl fmt::Display for Doing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Migrate => "migrate",
            Self::Write => "write to",
            Self::Read => "read",
        })
    }
}

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody listens there, the connection broke, or the file cannot be opened.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The server is not the one that it ought to be, or speaks no TLS.
    Tls,
    /// The user, the password or a right.
    Denied,
    /// It takes no writes.
    ReadOnly,
    /// The server has no connection left.
    Connections,
    /// Its disk or table is full.
    Full,
    /// Somebody else holds a lock.
    Busy,
    /// A table or column is missing, or a migration was changed.
    Schema,
    /// It does not take a value.
    Rejected,
    /// A file that a flag names cannot be read any more.
    Settings,
    /// Something else.
    Other,
}

impl Cause {
    /// Its label in the metrics.
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

/// The way out, where there is one to name.
const fn hint(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreachable => {
            "; it must run, and --audit-url lead to it: for SQLite to a folder that is there and writable"
        }
        Cause::Timeout => "; see what the database, or the network to it, waits for",
        Cause::Tls => {
            "; --audit-ca-file must have the authority that signed the server's certificate, and --audit-url the host that \
             it is made out to; in a network that you trust, --audit-tls=off does without"
        }
        Cause::Denied => "; see --audit-password-file, and the rights of the user in --audit-url",
        Cause::ReadOnly => "; have it take writes again, or let --audit-url lead to the one that does",
        Cause::Connections => "; raise max_connections of the server or of the user, or see who holds them",
        Cause::Full => "; make room",
        Cause::Schema => "; run `bastion migrate` of this version",
        Cause::Busy | Cause::Rejected | Cause::Settings | Cause::Other => "",
    }
}

/// What one request to the database came to, before it is known what it was for.
#[derive(Debug)]
pub(super) struct Failure {
    pub cause: Cause,
    said: String,
}

impl Failure {
    pub fn new(cause: Cause, said: impl Into<String>) -> Self {
        Self { cause, said: said.into() }
    }

    pub fn while_doing(self, doing: Doing, database: &Arc<str>) -> StoreError {
        StoreError { database: database.clone(), doing, cause: self.cause, said: self.said }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let cause = match &error {
            sqlx::Error::Database(said) => match said.try_downcast_ref::<MySqlDatabaseError>() {
                Some(said) => of_mysql(said.number()),
                None => said.code().and_then(|code| code.parse().ok()).map_or(Cause::Other, of_sqlite),
            },
            sqlx::Error::Tls(_) => Cause::Tls,
            sqlx::Error::Io(error) if tells_of_tls(error) => Cause::Tls,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Cause::Unreachable,
            sqlx::Error::PoolTimedOut => Cause::Timeout,
            sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } => Cause::Schema,
            _ => Cause::Other,
        };
        Self::new(cause, error.to_string())
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::new(Cause::Other, format!("{other}; a changed release has migrated it: run that one")),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Cause::Settings, error.to_string())
    }
}

/// Whether a certificate was not to be trusted, which the TLS library wraps into an I/O error.
fn tells_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

/// By the numbers that MySQL and MariaDB share.
const fn of_mysql(number: u16) -> Cause {
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

/// By the first byte of SQLite's extended codes.
const fn of_sqlite(code: u32) -> Cause {
    match code & 0xff {
        // Of many kinds; in statements that never change, it is the schema.
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
    fn an_error_names_the_database_and_the_way_out(#[case] cause: Cause, #[case] way_out: &str) {
        let error =
            Failure::new(cause, "so it said").while_doing(Doing::Write, &"mysql://bastion@db:3306/audit".into());
        let text = error.to_string();
        assert!(
            text.starts_with("cannot write to the audit database mysql://bastion@db:3306/audit: so it said; "),
            "{text}"
        );
        assert!(text.contains(way_out), "{text}");
    }

    #[rstest]
    #[case(1290, Cause::ReadOnly)]
    #[case(1040, Cause::Connections)]
    #[case(1045, Cause::Denied)]
    #[case(1146, Cause::Schema)]
    #[case(1406, Cause::Rejected)]
    #[case(9999, Cause::Other)]
    fn numbers_of_mysql(#[case] number: u16, #[case] cause: Cause) {
        assert_eq!(of_mysql(number), cause);
    }

    #[rstest]
    #[case(1, Cause::Schema)]
    #[case(517, Cause::Busy)]
    #[case(1544, Cause::ReadOnly)]
    #[case(1811, Cause::Rejected)]
    fn codes_of_sqlite(#[case] code: u32, #[case] cause: Cause) {
        assert_eq!(of_sqlite(code), cause);
    }
}
