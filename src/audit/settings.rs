//! The settings of the audit database, and their validation.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use thiserror::Error;
use url::{Host, Url};

const MYSQL_PORT: u16 = 3306;

/// The settings of the audit database, as the command line gives them.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// `sqlite:///PATH`, or `mysql://USER@HOST[:PORT]/DATABASE`.
    pub url: String,
    /// A file with the password. It is read at each use.
    pub password_file: Option<PathBuf>,
    /// Whether to use TLS with the server.
    pub tls: AuditTls,
    /// A file with the CA certificates that the server's certificate is verified with, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Whether to use TLS with a database server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditTls {
    /// Use TLS, and verify the server's certificate and its host name.
    #[default]
    Verify,
    /// Use no encryption.
    Off,
}

/// Why the settings are invalid. The message does not quote the URL, which may contain a password.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The URL is malformed or has an unknown scheme.
    #[error(
        "--audit-url: write sqlite:// and the absolute path of a file, such as sqlite:///var/lib/bastion/audit.db, or \
         mysql://USER@HOST:PORT/DATABASE for MySQL or MariaDB"
    )]
    Url,
    /// The URL contains a password, which the list of processes would show.
    #[error("--audit-url contains a password; write it into a file and pass that as --audit-password-file")]
    Password,
    /// The flag does not apply to SQLite.
    #[error("{flag} is for mysql:// in --audit-url; leave it out for SQLite")]
    NotForSqlite {
        /// The flag.
        flag: &'static str,
    },
    /// The CA file has no effect without TLS.
    #[error("--audit-ca-file has no effect with --audit-tls=off; leave out one of the two")]
    CaWithoutTls,
    /// The file cannot be read.
    #[error("{flag} {}: {error}", .file.display())]
    File {
        /// The flag that names the file.
        flag: &'static str,
        /// The file's path.
        file: PathBuf,
        /// The cause. It is in the text above, so that a chain of causes does not repeat it.
        error: std::io::Error,
    },
}

/// The kind and address of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A file.
    Sqlite { path: PathBuf },
    /// A server.
    MySql { user: String, host: String, port: u16, database: String },
}

/// Writes the URL without a password.
impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(formatter, "sqlite://{}", path.display()),
            Self::MySql { user, host, port, database } => {
                write!(formatter, "mysql://{user}@{host}:{port}/{database}")
            }
        }
    }
}

impl AuditSettings {
    /// Validates the settings and returns the database's location. Reads the files, but does not connect.
    ///
    /// # Errors
    /// When a flag is invalid. The message names it and shows the right form.
    pub(super) fn location(&self) -> Result<Location, SettingsError> {
        let location = parse_url(&self.url)?;
        if let Location::Sqlite { .. } = location {
            let flags = [("--audit-password-file", &self.password_file), ("--audit-ca-file", &self.ca_file)];
            let unused = flags.into_iter().find(|(_, file)| file.is_some());
            return unused.map_or(Ok(location), |(flag, _)| Err(SettingsError::NotForSqlite { flag }));
        }
        if self.tls == AuditTls::Off && self.ca_file.is_some() {
            return Err(SettingsError::CaWithoutTls);
        }
        self.password()?;
        if let Some(file) = &self.ca_file {
            read("--audit-ca-file", file)?;
        }
        Ok(location)
    }

    /// Reads the password from its file; `None` without a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn password(&self) -> Result<Option<String>, SettingsError> {
        let Some(file) = &self.password_file else { return Ok(None) };
        Ok(Some(read("--audit-password-file", file)?.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn read(flag: &'static str, file: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(file).map_err(|error| SettingsError::File { flag, file: file.to_owned(), error })
}

fn parse_url(text: &str) -> Result<Location, SettingsError> {
    if let Some(path) = text.strip_prefix("sqlite://") {
        // Sessions are deleted once they are on record, so a database in memory must be refused. SQLite's names for it,
        // `:memory:`, `file:…` and the empty one, do not begin with a slash.
        let is_file = path.starts_with('/') && !path.contains('?');
        return is_file.then(|| Location::Sqlite { path: path.into() }).ok_or(SettingsError::Url);
    }
    let url = Url::parse(text).map_err(|_| SettingsError::Url)?;
    if url.password().is_some() {
        return Err(SettingsError::Password);
    }
    let host = match url.host().ok_or(SettingsError::Url)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let (user, database) = (percent_decode(url.username())?, percent_decode(url.path().trim_start_matches('/'))?);
    let has_options = url.query().is_some() || url.fragment().is_some();
    let is_complete = !user.is_empty() && !database.is_empty() && !database.contains('/');
    if url.scheme() != "mysql" || has_options || !is_complete {
        return Err(SettingsError::Url);
    }
    Ok(Location::MySql { user, host, port: url.port().unwrap_or(MYSQL_PORT), database })
}

fn percent_decode(text: &str) -> Result<String, SettingsError> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| SettingsError::Url)?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(url: &str) -> AuditSettings {
        AuditSettings { url: url.into(), password_file: None, tls: AuditTls::Verify, ca_file: None }
    }

    fn server(user: &str, host: &str, port: u16, database: &str) -> Location {
        Location::MySql { user: user.into(), host: host.into(), port, database: database.into() }
    }

    #[rstest]
    #[case("sqlite:///var/lib/bastion/audit.db", Location::Sqlite { path: "/var/lib/bastion/audit.db".into() })]
    #[case("mysql://bastion@db.example/audit", server("bastion", "db.example", 3306, "audit"))]
    #[case("mysql://bas%40tion@[2001:db8::1]:3307/audit", server("bas@tion", "2001:db8::1", 3307, "audit"))]
    fn a_valid_url_is_parsed(#[case] url: &str, #[case] location: Location) {
        assert_eq!(settings(url).location().unwrap(), location);
    }

    #[rstest]
    #[case("audit.db")]
    #[case("sqlite://audit.db")]
    #[case("sqlite://")]
    #[case("sqlite://?mode=rwc")]
    #[case("sqlite://:memory:")]
    #[case("sqlite:///audit.db?mode=memory")]
    #[case("postgres://bastion@db/audit")]
    #[case("mysql://db/audit")]
    #[case("mysql://bastion@db")]
    #[case("mysql://bastion@db/")]
    #[case("mysql://bastion@db/a/b")]
    #[case("mysql://bastion@db/audit?ssl-mode=DISABLED")]
    #[case("mysql://bastion@db/audit#x")]
    #[case("mysql://bastion@db:x/audit")]
    #[case("mysql://bastion%FF@db/audit")]
    fn an_invalid_url_is_refused_with_examples(#[case] url: &str) {
        let error = settings(url).location().unwrap_err();
        assert!(matches!(error, SettingsError::Url), "{error}");
        assert!(error.to_string().contains("--audit-url: write sqlite:// and"), "{error}");
    }

    #[rstest]
    #[case("mysql://bastion:hunter2@db/audit")]
    #[case("postgres://bastion:hunter2@db/audit")]
    #[case("mysql://bastion:hunter?2@db/audit")]
    fn a_password_in_the_url_is_refused_and_not_shown(#[case] url: &str) {
        let error = settings(url).location().unwrap_err().to_string();
        assert!(error.contains("--audit-url") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn errors_name_the_flag() {
        let file = || Some(PathBuf::from("/nowhere"));
        let sqlite = || settings("sqlite:///audit.db");
        let mysql = || settings("mysql://bastion@db/audit");
        for (settings, words) in [
            (AuditSettings { password_file: file(), ..sqlite() }, "--audit-password-file is for mysql://"),
            (AuditSettings { ca_file: file(), ..sqlite() }, "--audit-ca-file is for mysql://"),
            (AuditSettings { ca_file: file(), tls: AuditTls::Off, ..mysql() }, "--audit-ca-file has no effect"),
            (AuditSettings { ca_file: file(), ..mysql() }, "--audit-ca-file /nowhere: No such file"),
            (AuditSettings { password_file: file(), ..mysql() }, "--audit-password-file /nowhere: No such file"),
        ] {
            let error = settings.location().unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn the_password_is_read_without_its_line_ending() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let settings = AuditSettings { password_file: Some(file.clone()), ..settings("mysql://bastion@db/audit") };
        for (written, read) in [("hunter2\n", "hunter2"), ("new one \r\n", "new one ")] {
            std::fs::write(&file, written).unwrap();
            assert_eq!(settings.password().unwrap().as_deref(), Some(read));
        }
    }
}
