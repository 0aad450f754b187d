//! The database of session records: SQLite, in one file.

use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;
use tokio::time::Instant;

use super::row::SessionRecord;

/// How long a connection waits for another one's transaction, and a caller for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at a database that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// SQLite has one writer at a time; the rest is for readers.
const MAX_CONNECTIONS: u32 = 4;

/// What went wrong with the audit database. URLs are shown without credentials.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The URL is not one of a SQLite file.
    #[error(
        "audit database {url}: not sqlite:// and the absolute path of a file, such as sqlite:///var/lib/bastion/audit.db"
    )]
    Url {
        /// The URL.
        url: String,
    },
    /// The database cannot be opened.
    #[error("cannot open the audit database {url}: {cause}; its folder must exist and be writable")]
    Open {
        /// The URL.
        url: String,
        /// What SQLite said.
        cause: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error(
        "cannot migrate the audit database {url}: {cause}; a newer or a changed release may have migrated it: run that one, or restore a backup"
    )]
    Migrate {
        /// The URL.
        url: String,
        /// What the migration said.
        cause: MigrateError,
    },
    /// Rows were not written, none of the batch.
    #[error(
        "cannot write to the audit database {url}: {cause}; if a table or column is missing, run `bastion migrate`"
    )]
    Write {
        /// The URL.
        url: String,
        /// What SQLite said.
        cause: sqlx::Error,
    },
    /// Rows cannot be read.
    #[error("cannot read the audit database {url}: {cause}; if a table or column is missing, run `bastion migrate`")]
    Read {
        /// The URL.
        url: String,
        /// What SQLite said.
        cause: sqlx::Error,
    },
}

/// The audit database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    url: Arc<str>,
}

impl Store {
    /// The path in a URL, without a look at the file.
    ///
    /// # Errors
    /// When the URL is not that of an absolute path.
    pub fn check_url(url: &str) -> Result<&str, StoreError> {
        // Sessions are let go once they are on record, so SQLite's names for a database in memory, `:memory:`,
        // `file:…` and the empty one, must not pass. None of them begins with a slash.
        let path = url.strip_prefix("sqlite://").filter(|path| path.starts_with('/') && !path.contains('?'));
        path.ok_or_else(|| StoreError::Url { url: without_credentials(url) })
    }

    /// Opens the database at a URL such as `sqlite:///var/lib/bastion/audit.db`, and makes the file where there is
    /// none. Does not migrate it.
    ///
    /// # Errors
    /// When the URL is not that of an absolute path, or the file can neither be opened nor made.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        match connect(Self::check_url(url)?).await {
            Ok(pool) => Ok(Self { pool, url: url.into() }),
            Err(cause) => Err(StoreError::Open { url: url.to_owned(), cause }),
        }
    }

    /// Brings the schema up to date. Any number of programs may do so at once.
    ///
    /// # Errors
    /// When a migration fails (then none of them is applied), or the database has one that this program lacks.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = async {
            // sqlx takes no lock on SQLite. All in one transaction of a writer, the second to come finds all done.
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            // `run` does the same, but its future is not `Send` while it borrows a connection.
            sqlx::migrate!("migrations/sqlite").run_direct(None, &mut *transaction, false).await?;
            Ok(transaction.commit().await?)
        };
        migrated.await.map_err(|cause| StoreError::Migrate { url: self.url.to_string(), cause })
    }

    /// Writes rows, all of them or none. A row that is there already is brought up to date, except that a final one
    /// never becomes active again and an older one never takes the place of a newer.
    ///
    /// # Errors
    /// When the database does not take them; for a lock it waits 5 s. The same rows may be tried again.
    pub async fn upsert(&self, rows: &[SessionRecord]) -> Result<(), StoreError> {
        let written = async {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for row in rows {
                upsert_one(row).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        written.await.map_err(|cause| StoreError::Write { url: self.url.to_string(), cause })
    }

    /// The rows of the sessions that started last, newest first, `limit` at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn recent(&self, limit: u32) -> Result<Vec<SessionRecord>, StoreError> {
        sqlx::query_as("SELECT * FROM session_records ORDER BY start_time DESC, session_id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|cause| StoreError::Read { url: self.url.to_string(), cause })
    }

    /// The row of the session with this uid, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn get(&self, session_id: &str) -> Result<Option<SessionRecord>, StoreError> {
        sqlx::query_as("SELECT * FROM session_records WHERE session_id = ?")
            .bind(session_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|cause| StoreError::Read { url: self.url.to_string(), cause })
    }
}

async fn connect(path: &str) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A session is let go once its row is committed, so a commit must survive a loss of power.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE);
    let pool = SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS).acquire_timeout(PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            // SQLite's own patience does not cover the change of a new file to WAL, which others may be at too.
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(BUSY_PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether it is `SQLITE_BUSY` or one of its extended codes, which have it in their lowest byte.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// The URL as it may be shown: without user, password and parameters.
fn without_credentials(url: &str) -> String {
    let (url, parameters) = url.split_once('?').unwrap_or((url, ""));
    let is_scheme = |at: &usize| url[..*at].bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (scheme, rest) = url.find("://").filter(is_scheme).map_or(("", url), |at| url.split_at(at + 3));
    // Behind the `?` it may be the end of a password that ought to have been percent-encoded.
    let host_and_path = if parameters.contains('@') { "…" } else { rest.rsplit('@').next().unwrap_or_default() };
    format!("{scheme}{host_and_path}")
}

/// What comes from the immutable part of a session's spec is written once.
const UPSERT: &str = "
    INSERT INTO session_records (
        session_id, namespace, name, user_name, user_subject, user_groups, target, login, protocol,
        client_address, client_port, client_software, gateway_name, gateway_instance, start_time,
        status, reason, message, last_seen_time, end_time, duration_micros, exit_code, exit_signal,
        bytes_in, bytes_out, terminated_by, recording, is_final, updated_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session_id) DO UPDATE SET
        status = excluded.status, reason = excluded.reason, message = excluded.message,
        last_seen_time = excluded.last_seen_time, end_time = excluded.end_time,
        duration_micros = excluded.duration_micros, exit_code = excluded.exit_code,
        exit_signal = excluded.exit_signal, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
        terminated_by = excluded.terminated_by, recording = excluded.recording, is_final = excluded.is_final, updated_at = excluded.updated_at
    WHERE excluded.is_final > session_records.is_final
        OR (excluded.is_final = session_records.is_final AND excluded.updated_at >= session_records.updated_at)";

fn upsert_one(row: &SessionRecord) -> sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query(UPSERT)
        .bind(&row.session_id)
        .bind(&row.namespace)
        .bind(&row.name)
        .bind(&row.user_name)
        .bind(&row.user_subject)
        .bind(&row.user_groups)
        .bind(&row.target)
        .bind(&row.login)
        .bind(&row.protocol)
        .bind(&row.client_address)
        .bind(row.client_port)
        .bind(&row.client_software)
        .bind(&row.gateway_name)
        .bind(&row.gateway_instance)
        .bind(row.start_time)
        .bind(&row.status)
        .bind(&row.reason)
        .bind(&row.message)
        .bind(row.last_seen_time)
        .bind(row.end_time)
        .bind(row.duration_micros)
        .bind(row.exit_code)
        .bind(&row.exit_signal)
        .bind(row.bytes_in)
        .bind(row.bytes_out)
        .bind(&row.terminated_by)
        .bind(&row.recording)
        .bind(row.is_final)
        .bind(row.updated_at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use tempfile::TempDir;

    use super::super::samples::{active, ended};
    use super::*;

    fn url(dir: &TempDir) -> String {
        format!("sqlite://{}", dir.path().join("audit.db").display())
    }

    /// A migrated database in a folder of its own, which lives as long as the folder.
    async fn store() -> (TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&url(&dir)).await.unwrap();
        store.migrate().await.unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn a_row_comes_back_as_it_was_written() {
        let (_dir, store) = store().await;
        let rows = [active("a"), ended("b")].map(|session| SessionRecord::of(&session));
        store.upsert(&rows).await.unwrap();
        for row in rows {
            assert_eq!(store.get(&row.session_id).await.unwrap(), Some(row));
        }
        assert_eq!(store.get("nobody").await.unwrap(), None);
    }

    #[tokio::test]
    async fn writing_twice_is_writing_once() {
        let (_dir, store) = store().await;
        let rows = [SessionRecord::of(&active("a")), SessionRecord::of(&ended("b"))];
        store.upsert(&rows).await.unwrap();
        let once = store.recent(10).await.unwrap();
        store.upsert(&rows).await.unwrap();
        store.upsert(&[]).await.unwrap();
        assert_eq!(store.recent(10).await.unwrap(), once);
        assert_eq!(once.len(), 2);
    }

    #[tokio::test]
    async fn a_final_row_never_becomes_active_again() {
        let (_dir, store) = store().await;
        let end = SessionRecord::of(&ended("a"));
        let start = SessionRecord { updated_at: end.updated_at + 1, ..SessionRecord::of(&active("a")) };
        store.upsert(std::slice::from_ref(&start)).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), Some(start.clone()));
        // Later by the clock, as of an API server whose clock is ahead, and final all the same.
        store.upsert(std::slice::from_ref(&end)).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), Some(end.clone()));
        store.upsert(&[start]).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), Some(end));
    }

    #[tokio::test]
    async fn an_older_row_never_takes_the_place_of_a_newer() {
        let (_dir, store) = store().await;
        let old = SessionRecord::of(&ended("a"));
        let new = SessionRecord { bytes_out: Some(7), updated_at: old.updated_at + 1_000_000, ..old.clone() };
        for row in [&old, &new, &old] {
            store.upsert(std::slice::from_ref(row)).await.unwrap();
        }
        assert_eq!(store.get("a").await.unwrap(), Some(new));
    }

    #[tokio::test]
    async fn recent_shows_the_newest_first_and_no_more_than_asked() {
        let (_dir, store) = store().await;
        let rows: Vec<_> = (0..250)
            .map(|i| SessionRecord { start_time: i, session_id: i.to_string(), ..SessionRecord::of(&active("a")) })
            .collect();
        store.upsert(&rows).await.unwrap();
        let starts: Vec<_> = store.recent(3).await.unwrap().iter().map(|row| row.start_time).collect();
        assert_eq!(starts, [249, 248, 247]);
        assert_eq!(store.recent(u32::MAX).await.unwrap().len(), 250);
    }

    #[tokio::test]
    async fn a_batch_is_written_whole_or_not_at_all() {
        let (_dir, store) = store().await;
        let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON session_records WHEN NEW.session_id = 'b' \
            BEGIN SELECT RAISE(ABORT, 'full'); END";
        sqlx::query(trigger).execute(&store.pool).await.unwrap();
        let rows = ["a", "b", "c"].map(|uid| SessionRecord::of(&ended(uid)));
        assert!(matches!(store.upsert(&rows).await, Err(StoreError::Write { .. })));
        assert_eq!(store.recent(10).await.unwrap(), []);
        sqlx::query("DROP TRIGGER refuse").execute(&store.pool).await.unwrap();
        store.upsert(&rows).await.unwrap();
        assert_eq!(store.recent(10).await.unwrap().len(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_programs_may_open_and_migrate_one_database_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let url = url(&dir);
        let programs = (0..8).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await?.migrate().await })
        });
        for program in futures::future::join_all(programs).await {
            program.unwrap().unwrap();
        }
        let store = Store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
    }

    #[tokio::test]
    async fn rows_outlive_the_program() {
        let (dir, store) = store().await;
        store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
        store.pool.close().await;
        let store = Store::open(&url(&dir)).await.unwrap();
        assert_eq!(store.recent(10).await.unwrap(), [SessionRecord::of(&ended("a"))]);
    }

    #[tokio::test]
    async fn errors_name_the_url_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let url = url(&dir);
        let store = Store::open(&url).await.unwrap();
        let message = store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap_err().to_string();
        assert!(message.contains(&url) && message.contains("run `bastion migrate`"), "{message}");
        let nowhere = format!("sqlite://{}/no/folder/audit.db", dir.path().display());
        let message = Store::open(&nowhere).await.unwrap_err().to_string();
        assert!(message.contains(&nowhere) && message.contains("folder must exist"), "{message}");
    }

    #[rstest]
    #[case("mysql://root:hunter2@db:3306/audit?ssl-key=hunter2", "mysql://db:3306/audit")]
    #[case("mysql://root:hunter?2@db:3306/audit", "mysql://…")]
    #[case("root:hunter2@db/audit", "db/audit")]
    #[case("audit.db", "audit.db")]
    #[case("sqlite://audit.db", "sqlite://audit.db")]
    #[case("sqlite://", "sqlite://")]
    #[case("sqlite://?mode=rwc", "sqlite://")]
    #[case("sqlite://:memory:", "sqlite://:memory:")]
    #[case("sqlite:///audit.db?mode=memory", "sqlite:///audit.db")]
    #[tokio::test]
    async fn what_is_no_file_is_refused_without_its_credentials(#[case] url: &str, #[case] shown: &str) {
        let message = Store::open(url).await.unwrap_err().to_string();
        let expected = format!("audit database {shown}: not sqlite:// and the absolute path of a file");
        assert!(message.starts_with(&expected), "{message}");
    }

    proptest! {
        #[test]
        fn a_password_is_never_shown(
            scheme in "(mysql://)?", password in "[0-9@/:%?.-]{0,8}[0-9]{8}", parameters in "([?]password=[0-9@?]{4})?",
        ) {
            let shown = without_credentials(&format!("{scheme}user:{password}@host/path{parameters}"));
            prop_assert!(!shown.contains(|shown: char| shown.is_ascii_digit()), "{}", shown);
        }
    }
}
