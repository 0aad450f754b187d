//! Where the audit database is, and how to get in.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use thiserror::Error;
use url::{Host, Url};

const MYSQL_PORT: u16 = 3306;

/// Where the audit database is, as the command line says it.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// `sqlite:///PATH`, or `mysql://USER@HOST[:PORT]/DATABASE`.
    pub url: String,
    /// A file with the password, which is read at each use.
    pub password_file: Option<PathBuf>,
    /// Whether to speak TLS with the server.
    pub tls: AuditTls,
    /// A file with the certificates of the authorities that may have signed the server's.
    pub ca_file: Option<PathBuf>,
}

/// Whether to speak TLS with a database server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditTls {
    /// Speak TLS, and verify who signed the server's certificate and that it is made out to its host.
    #[default]
    Verify,
    /// Speak in the clear.
    Off,
}

/// What is wrong with the settings. No text of a URL that may hold a password is in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// The URL is of no kind that is known.
    #[error(
        "--audit-url: write sqlite:// and the absolute path of a file, such as sqlite:///var/lib/bastion/audit.db, or \
         mysql://USER@HOST:PORT/DATABASE for MySQL or MariaDB"
    )]
    Url,
    /// Anybody who lists the processes would see it.
    #[error("--audit-url holds a password; put it into a file and name that in --audit-password-file")]
    Password,
    /// A flag that this kind of database has no use for.
    #[error("{flag} is for mysql:// in --audit-url; leave it out for SQLite")]
    Useless {
        /// The flag.
        flag: &'static str,
    },
    /// Two flags that contradict each other.
    #[error("--audit-ca-file is of no use with --audit-tls=off; leave out one of the two")]
    CaWithoutTls,
    /// A file that cannot be read.
    #[error("{flag} {file}: {error}")]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// Its path.
        file: PathBuf,
        /// What the system said.
        error: String,
    },
}

/// Which database, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file.
    Sqlite { path: PathBuf },
    /// A server.
    MySql { user: String, host: String, port: u16, database: String },
}

impl AuditSettings {
    /// Which database they lead to; looks at the files, and at nothing else.
    ///
    /// # Errors
    /// Which flag is wrong, and how to write it.
    pub(super) fn place(&self) -> Result<Place, SettingsError> {
        let place = read_url(&self.url)?;
        if let Place::Sqlite { .. } = place {
            let flags = [("--audit-password-file", &self.password_file), ("--audit-ca-file", &self.ca_file)];
            let useless = flags.into_iter().find(|(_, file)| file.is_some());
            return useless.map_or(Ok(place), |(flag, _)| Err(SettingsError::Useless { flag }));
        }
        if self.tls == AuditTls::Off && self.ca_file.is_some() {
            return Err(SettingsError::CaWithoutTls);
        }
        self.password()?;
        if let Some(file) = &self.ca_file {
            read("--audit-ca-file", file)?;
        }
        Ok(place)
    }

    /// The password as the file has it now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn password(&self) -> Result<Option<String>, SettingsError> {
        let Some(file) = &self.password_file else { return Ok(None) };
        Ok(Some(read("--audit-password-file", file)?.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn read(flag: &'static str, file: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(file).map_err(|error| SettingsError::File {
        flag,
        file: file.to_owned(),
        error: error.to_string(),
    })
}

fn read_url(text: &str) -> Result<Place, SettingsError> {
    if let Some(path) = text.strip_prefix("sqlite://") {
        // Sessions are let go once they are on record, so SQLite's names for a database in memory, `:memory:`,
        // `file:…` and the empty one, must not pass. None of them begins with a slash.
        let is_file = path.starts_with('/') && !path.contains('?');
        return is_file.then(|| Place::Sqlite { path: path.into() }).ok_or(SettingsError::Url);
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
    let (user, database) = (unescaped(url.username())?, unescaped(url.path().trim_start_matches('/'))?);
    let bare = url.query().is_none() && url.fragment().is_none();
    let named = !user.is_empty() && !database.is_empty() && !database.contains('/');
    if url.scheme() != "mysql" || !bare || !named {
        return Err(SettingsError::Url);
    }
    Ok(Place::MySql { user, host, port: url.port().unwrap_or(MYSQL_PORT), database })
}

fn unescaped(text: &str) -> Result<String, SettingsError> {
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

    fn server(user: &str, host: &str, port: u16, database: &str) -> Place {
        Place::MySql { user: user.into(), host: host.into(), port, database: database.into() }
    }

    #[rstest]
    #[case("sqlite:///var/lib/bastion/audit.db", Place::Sqlite { path: "/var/lib/bastion/audit.db".into() })]
    #[case("mysql://bastion@db.example/audit", server("bastion", "db.example", 3306, "audit"))]
    #[case("mysql://bas%40tion@[2001:db8::1]:3307/audit", server("bas@tion", "2001:db8::1", 3307, "audit"))]
    fn a_url_leads_somewhere(#[case] url: &str, #[case] place: Place) {
        assert_eq!(settings(url).place(), Ok(place));
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
    fn a_url_that_leads_nowhere_is_refused_with_examples(#[case] url: &str) {
        let error = settings(url).place().unwrap_err();
        assert_eq!(error, SettingsError::Url);
        assert!(error.to_string().contains("--audit-url: write sqlite:// and"), "{error}");
    }

    #[rstest]
    #[case("mysql://bastion:hunter2@db/audit")]
    #[case("postgres://bastion:hunter2@db/audit")]
    #[case("mysql://bastion:hunter?2@db/audit")]
    fn a_password_in_the_url_is_refused_and_not_shown(#[case] url: &str) {
        let error = settings(url).place().unwrap_err().to_string();
        assert!(error.contains("--audit-url") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn flags_that_make_no_sense_are_named() {
        let file = || Some(PathBuf::from("/nowhere"));
        let sqlite = || settings("sqlite:///audit.db");
        let mysql = || settings("mysql://bastion@db/audit");
        for (settings, words) in [
            (AuditSettings { password_file: file(), ..sqlite() }, "--audit-password-file is for mysql://"),
            (AuditSettings { ca_file: file(), ..sqlite() }, "--audit-ca-file is for mysql://"),
            (AuditSettings { ca_file: file(), tls: AuditTls::Off, ..mysql() }, "--audit-ca-file is of no use"),
            (AuditSettings { ca_file: file(), ..mysql() }, "--audit-ca-file /nowhere: No such file"),
            (AuditSettings { password_file: file(), ..mysql() }, "--audit-password-file /nowhere: No such file"),
        ] {
            let error = settings.place().unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn a_password_is_a_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let settings = AuditSettings { password_file: Some(file.clone()), ..settings("mysql://bastion@db/audit") };
        for (written, read) in [("hunter2\n", "hunter2"), ("new one \r\n", "new one ")] {
            std::fs::write(&file, written).unwrap();
            assert_eq!(settings.password().unwrap().as_deref(), Some(read));
        }
    }
}
