//! The database of session records: SQLite, in one file, or a server of MySQL or MariaDB.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySql, MySqlConnection, Sqlite, SqliteConnection};
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Cause, Doing, Failure, StoreError};
use super::history::{HistoryCounts, HistoryFilter};
use super::row::SessionRecord;
use super::settings::{AuditSettings, AuditTls, Place, SettingsError};
use super::statement;
use super::statement::{Dialect, Statement, Value};

/// How long a connection waits for another one's transaction, and a caller for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take, with the wait for a lock.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a database that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long a migration waits for another program's.
const MIGRATION_PATIENCE_SECONDS: i64 = 300;
/// SQLite has one writer at a time, and what one program asks of a server comes one after the other but for readers.
const MAX_CONNECTIONS: u32 = 4;
/// After this time a connection is made anew, with the password and the certificates of that time.
const CONNECTION_LIFE: Duration = Duration::from_mins(10);

/// A newer release may have migrated: migrations only ever add, so that this one works on. The lock is taken here, not
/// by the library, which takes none on SQLite, and one without a limit on MySQL.
fn tolerant(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true).set_locking(false);
    migrations
}

/// The audit database. Clones share its connections. None is made before it is needed.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    settings: Arc<AuditSettings>,
    /// The URL, without credentials.
    shown: Arc<str>,
}

#[derive(Clone, Debug)]
enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

/// A connection that is closed unless it is said to be sound: one that broke off in the middle of something is of no use.
enum Link {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
}

impl Store {
    /// The database that the settings lead to, which is not looked at yet.
    ///
    /// # Errors
    /// Which flag is wrong, and how to write it.
    pub fn new(settings: AuditSettings) -> Result<Self, SettingsError> {
        let place = settings.place()?;
        let (pool, shown) = match &place {
            Place::Sqlite { path } => (Pool::Sqlite(sqlite_pool(path)), format!("sqlite://{}", path.display())),
            Place::MySql { user, host, port, database } => {
                let options = mysql_options(&settings, user, host, *port, database);
                (Pool::MySql(mysql_pool(options)), format!("mysql://{user}@{host}:{port}/{database}"))
            }
        };
        Ok(Self { pool, settings: Arc::new(settings), shown: shown.into() })
    }

    /// Brings the schema up to date, if it is not. Any number of programs may do so at once: one does it, the others wait.
    ///
    /// # Errors
    /// When a migration fails, or was changed since it was applied. It may be tried again.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = async {
            match self.link().await? {
                Link::Sqlite(mut connection) => migrate_sqlite(&mut connection).await,
                Link::MySql(mut connection) => {
                    let migrated = migrate_mysql(&mut connection).await;
                    // The lock is the connection's, and may outlast a failure.
                    connection.close_on_drop();
                    migrated
                }
            }
        };
        migrated.await.map_err(|failure| failure.while_doing(Doing::Migrate, &self.shown))
    }

    /// Writes rows, all of them or none. A row that is there already is brought up to date, except that a final one
    /// never becomes active again and an older one never takes the place of a newer. Returns how many batches this
    /// database was ever written, with this one.
    ///
    /// # Errors
    /// When the database does not take them, within 10 s. The same rows may be tried again, even if they were written.
    pub async fn upsert(&self, rows: &[SessionRecord]) -> Result<i64, StoreError> {
        let written = self.in_time(async |link: &mut Link| {
            link.begin_writing().await?;
            if !rows.is_empty() {
                link.execute(statement::upsert(link.dialect(), rows)).await?;
            }
            link.execute(statement::count_batch(link.dialect())).await?;
            let batches = link.batches().await?;
            link.commit().await?;
            Ok(batches)
        });
        written.await.map_err(|failure| failure.while_doing(Doing::Write, &self.shown))
    }

    /// How many batches this database was ever written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn batches(&self) -> Result<i64, StoreError> {
        self.read(async |link: &mut Link| link.batches().await).await
    }

    /// A page of the history: newest first, `limit` at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, filter: &HistoryFilter, limit: u32) -> Result<Vec<SessionRecord>, StoreError> {
        self.read(async |link: &mut Link| link.rows(statement::history(filter, limit)).await).await
    }

    /// The row of the session with this uid, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn get(&self, session_id: &str) -> Result<Option<SessionRecord>, StoreError> {
        self.read(async |link: &mut Link| Ok(link.rows(statement::get(session_id)).await?.pop())).await
    }

    /// What began and what ended in a namespace since a moment, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn counts(&self, namespace: &str, since: i64) -> Result<HistoryCounts, StoreError> {
        let starts = statement::starts(namespace, since);
        let ends = statement::ends_by_reason(namespace, since);
        let counted = self.read(async |link: &mut Link| Ok((link.rows(starts).await?, link.rows(ends).await?)));
        let (starts, ends): (Vec<(i64,)>, Vec<(String, i64)>) = counted.await?;
        Ok(HistoryCounts { starts: starts.into_iter().map(|(count,)| count).sum(), ends: ends.into_iter().collect() })
    }

    async fn read<T>(&self, ask: impl AsyncFnOnce(&mut Link) -> Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.in_time(ask).await.map_err(|failure| failure.while_doing(Doing::Read, &self.shown))
    }

    /// Asks something over a connection that goes back to the others only if all went well.
    async fn in_time<T>(&self, ask: impl AsyncFnOnce(&mut Link) -> Result<T, sqlx::Error>) -> Result<T, Failure> {
        let mut link = self.link().await?;
        match timeout(REQUEST_TIMEOUT, ask(&mut link)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                link.close();
                Err(error.into())
            }
            Err(_) => {
                link.close();
                Err(Failure::new(Cause::Timeout, format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
            }
        }
    }

    /// A connection, made with the password as it is now.
    async fn link(&self) -> Result<Link, Failure> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(Link::Sqlite(sqlite_connection(pool).await?)),
            Pool::MySql(pool) => {
                if let Some(password) = self.settings.password()? {
                    pool.set_connect_options(pool.connect_options().as_ref().clone().password(&password));
                }
                match pool.acquire().await {
                    // It tried for all this time, but does not say why it failed.
                    Err(sqlx::Error::PoolTimedOut) => Err(why_not(&pool.connect_options()).await),
                    connection => Ok(Link::MySql(connection?)),
                }
            }
        }
    }
}

/// SQLite's own patience does not cover the change of a new file to WAL, which others may be at too.
async fn sqlite_connection(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pool.acquire().await.map_err(Failure::from) {
            Err(failure) if failure.cause == Cause::Busy && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            answer => return answer,
        }
    }
}

/// Why no connection can be made.
async fn why_not(options: &MySqlConnectOptions) -> Failure {
    match timeout(PATIENCE, options.connect()).await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut.into(),
    }
}

impl Link {
    const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    async fn begin_writing(&mut self) -> Result<(), sqlx::Error> {
        self.execute_raw(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::MySql(_) => "START TRANSACTION",
        })
        .await
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.execute_raw("COMMIT").await
    }

    async fn execute_raw(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(&mut **connection).await.map(drop),
            Self::MySql(connection) => sqlx::raw_sql(sql).execute(&mut **connection).await.map(drop),
        }
    }

    async fn execute(&mut self, statement: Statement) -> Result<(), sqlx::Error> {
        let Statement { sql, values } = statement;
        // Prepared once, not kept: batches have as many forms as sizes.
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
                values.into_iter().fold(query, bind).execute(&mut **connection).await.map(drop)
            }
            Self::MySql(connection) => {
                let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
                values.into_iter().fold(query, bind).execute(&mut **connection).await.map(drop)
            }
        }
    }

    async fn rows<T>(&mut self, statement: Statement) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> sqlx::FromRow<'r, SqliteRow> + for<'r> sqlx::FromRow<'r, MySqlRow>,
    {
        let Statement { sql, values } = statement;
        match self {
            Self::Sqlite(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
                read_all(&query.fetch_all(&mut **connection).await?)
            }
            Self::MySql(connection) => {
                let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
                read_all(&query.fetch_all(&mut **connection).await?)
            }
        }
    }

    /// How many batches were ever written; none where the row is not there yet.
    async fn batches(&mut self) -> Result<i64, sqlx::Error> {
        let sql = AssertSqlSafe(statement::batches().sql);
        let batches: Option<i64> = match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_optional(&mut **connection).await?,
            Self::MySql(connection) => sqlx::query_scalar(sql).fetch_optional(&mut **connection).await?,
        };
        Ok(batches.unwrap_or_default())
    }

    /// Gives it up: it may be in the middle of something.
    fn close(self) {
        match self {
            Self::Sqlite(mut connection) => connection.close_on_drop(),
            Self::MySql(mut connection) => connection.close_on_drop(),
        }
    }
}

type Query<'q, DB> = sqlx::query::Query<'q, DB, <DB as sqlx::Database>::Arguments>;

fn bind<DB>(query: Query<'_, DB>, value: Value) -> Query<'_, DB>
where
    DB: sqlx::Database,
    Option<String>: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    Option<i64>: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
{
    match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
    }
}

fn read_all<R: sqlx::Row, T>(rows: &[R]) -> Result<Vec<T>, sqlx::Error>
where
    T: for<'r> sqlx::FromRow<'r, R>,
{
    rows.iter().map(sqlx::FromRow::from_row).collect()
}

async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<(), Failure> {
    // All in one transaction of a writer: the second to come finds all done.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // `run` does the same, but its future is not `Send` while it borrows a connection.
    tolerant(sqlx::migrate!("migrations/sqlite")).run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

async fn migrate_mysql(connection: &mut MySqlConnection) -> Result<(), Failure> {
    // A program that may only read and write rows must not need more rights than that where nothing is to be done.
    let migrations = tolerant(sqlx::migrate!("migrations/mysql"));
    if is_migrated(connection, &migrations).await {
        return Ok(());
    }
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('bastion-migrate/', SHA1(DATABASE())), ?)")
        .bind(MIGRATION_PATIENCE_SECONDS)
        .fetch_one(&mut *connection)
        .await?;
    if locked != Some(1) {
        return Err(Failure::new(Cause::Busy, "another program has been migrating it for minutes; try again later"));
    }
    connection.ensure_migrations_table(&migrations.table_name).await?;
    // The server commits each change of a table by itself. Who began this one was killed; each migration is one
    // statement that may be run again.
    sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE").execute(&mut *connection).await?;
    Ok(migrations.run_direct(None, connection, false).await?)
}

/// Whether all migrations of this release were applied as they are.
async fn is_migrated(connection: &mut MySqlConnection, migrations: &Migrator) -> bool {
    let applied: Result<Vec<(i64, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success").fetch_all(connection).await;
    applied.is_ok_and(|applied| {
        migrations
            .iter()
            .all(|own| applied.iter().any(|(version, checksum)| *version == own.version && **checksum == *own.checksum))
    })
}

fn sqlite_pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A row that is committed is why its session may go away.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        // A big batch needs more room than its pages, and there may be no folder for it but the database's own.
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .after_release(|connection, _| {
            Box::pin(async move {
                // It fails where there is no transaction, as a rule.
                let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

fn mysql_options(settings: &AuditSettings, user: &str, host: &str, port: u16, database: &str) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .username(user)
        .host(host)
        .port(port)
        .database(database)
        .ssl_mode(match settings.tls {
            AuditTls::Verify => MySqlSslMode::VerifyIdentity,
            AuditTls::Off => MySqlSslMode::Disabled,
        })
        .disable_statement_logging();
    match &settings.ca_file {
        Some(file) => options.ssl_ca(file),
        None => options,
    }
}

fn mysql_pool(options: MySqlConnectOptions) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .max_lifetime(CONNECTION_LIFE)
        .after_connect(|connection, _| Box::pin(prepare_session(connection)))
        // Whoever was cut off in the middle of a transaction leaves it open.
        .after_release(|connection, _| {
            Box::pin(async move { sqlx::raw_sql("ROLLBACK").execute(connection).await.map(|_| true) })
        })
        .connect_lazy_with(options)
}

/// What does not fit is refused, never cut off, and nobody waits for a lock for longer than for an answer.
async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let sql = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), SESSION innodb_lock_wait_timeout = 4";
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::audit::history::PageKey;
    use crate::audit::samples::{active, ended};

    fn settings(dir: &TempDir) -> AuditSettings {
        let url = format!("sqlite://{}", dir.path().join("audit.db").display());
        AuditSettings { url, password_file: None, tls: AuditTls::Verify, ca_file: None }
    }

    /// A migrated database in a folder of its own, which lives as long as the folder.
    async fn store() -> (TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(settings(&dir)).unwrap();
        store.migrate().await.unwrap();
        (dir, store)
    }

    async fn execute(store: &Store, sql: &'static str) {
        let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
        sqlx::raw_sql(sql).execute(pool).await.unwrap();
    }

    async fn all(store: &Store) -> Vec<SessionRecord> {
        store.history(&HistoryFilter::default(), 1000).await.unwrap()
    }

    /// The root file system of a container is read-only, and then a batch of a thousand rows failed.
    #[tokio::test]
    async fn what_began_and_what_ended_is_counted() {
        let (_dir, store) = store().await;
        let rows = [active("a"), ended("b"), ended("c")].map(|session| SessionRecord::of(&session));
        store.upsert(&rows).await.unwrap();
        let namespace = &rows[0].namespace;
        let counts = store.counts(namespace, rows[0].start_time).await.unwrap();
        assert_eq!((counts.starts, counts.ends), (3, [("UserExit".to_owned(), 2)].into()));
        assert_eq!(store.counts(namespace, i64::MAX).await.unwrap(), HistoryCounts::default());
        assert_eq!(store.counts("elsewhere", 0).await.unwrap(), HistoryCounts::default());
    }

    #[tokio::test]
    async fn sqlite_needs_no_folder_for_what_is_temporary() {
        let (_dir, store) = store().await;
        let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
        let kept: i64 = sqlx::query_scalar("PRAGMA temp_store").fetch_one(pool).await.unwrap();
        assert_eq!(kept, 2, "in memory");
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
    async fn writing_twice_is_writing_once_but_for_the_count() {
        let (_dir, store) = store().await;
        let rows = [SessionRecord::of(&active("a")), SessionRecord::of(&ended("b"))];
        assert_eq!(store.batches().await.unwrap(), 0);
        assert_eq!(store.upsert(&rows).await.unwrap(), 1);
        let once = all(&store).await;
        assert_eq!(store.upsert(&rows).await.unwrap(), 2);
        assert_eq!(store.upsert(&[]).await.unwrap(), 3);
        assert_eq!(store.batches().await.unwrap(), 3);
        assert_eq!(all(&store).await, once);
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

    /// Sessions of two users on three targets, one a second, two at a time.
    fn crowd() -> Vec<SessionRecord> {
        let row = |i: i64| SessionRecord {
            start_time: i / 2 * 1_000_000,
            session_id: format!("{i:03}"),
            user_name: ["alice", "bob"][usize::try_from(i % 2).unwrap()].into(),
            target: format!("web-{}", i % 3),
            ..SessionRecord::of(&if i % 5 == 0 { ended("a") } else { active("a") })
        };
        (0..250).map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pages_put_together_are_the_whole(
            user in prop::option::of("alice|bob"), target in prop::option::of("web-[0-3]"),
            status in prop::option::of("active|closed"), since in prop::option::of(0_i64..130), until in prop::option::of(0_i64..130),
            size in 1_u32..60,
        ) {
            let second = |moment: i64| moment * 1_000_000;
            let mut filter = HistoryFilter {
                user, target, status, since: since.map(second), until: until.map(second), ..HistoryFilter::default()
            };
            let fits = |row: &SessionRecord| {
                filter.user.as_ref().is_none_or(|it| *it == row.user_name) && filter.target.as_ref().is_none_or(|it| *it == row.target)
                    && filter.status.as_ref().is_none_or(|it| *it == row.status)
                    && filter.since.is_none_or(|it| it <= row.start_time) && filter.until.is_none_or(|it| row.start_time < it)
            };
            let mut expected: Vec<_> = crowd().into_iter().filter(fits).collect();
            expected.sort_by_key(|row| std::cmp::Reverse((row.start_time, row.session_id.clone())));
            let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
                let (_dir, store) = store().await;
                store.upsert(&crowd()).await.unwrap();
                let mut found = Vec::new();
                loop {
                    let page = store.history(&filter, size).await.unwrap();
                    let Some(last) = page.last() else { return found };
                    filter.after = Some(PageKey::from(last));
                    found.extend(page);
                }
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn what_people_ask_is_answered_from_an_index() {
        let (_dir, store) = store().await;
        let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
        let named = |name: &str| Some(name.to_owned());
        let week = HistoryFilter { namespace: named("n"), since: Some(1), until: Some(2), ..HistoryFilter::default() };
        for (filter, index) in [
            (HistoryFilter { user: named("alice"), ..week.clone() }, "session_records_by_user"),
            (HistoryFilter { target: named("web-1"), ..week.clone() }, "session_records_by_target"),
            (HistoryFilter { subject: named("bastion:alice"), ..week.clone() }, "session_records_by_subject"),
            (HistoryFilter { status: named("active"), ..week.clone() }, "session_records_by_status"),
            (week, "session_records_by_start"),
        ] {
            let Statement { sql, values } = statement::history(&filter, 100);
            let query = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let query = values.into_iter().fold(query, |query, value| match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            });
            let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(pool).await.unwrap();
            assert!(plan[0].3.contains(&format!("SEARCH session_records USING INDEX {index} (")), "{plan:?}");
        }
    }

    #[tokio::test]
    async fn a_batch_is_written_whole_or_not_at_all() {
        let (_dir, store) = store().await;
        let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON session_records WHEN NEW.session_id = 'b' \
            BEGIN SELECT RAISE(ABORT, 'full'); END";
        execute(&store, trigger).await;
        let rows = ["a", "b", "c"].map(|uid| SessionRecord::of(&ended(uid)));
        assert_eq!(store.upsert(&rows).await.unwrap_err().cause, Cause::Rejected);
        assert_eq!((all(&store).await, store.batches().await.unwrap()), (vec![], 0));
        execute(&store, "DROP TRIGGER refuse").await;
        store.upsert(&rows).await.unwrap();
        assert_eq!(all(&store).await.len(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_programs_may_open_and_migrate_one_database_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let programs = (0..8).map(|_| {
            let settings = settings(&dir);
            tokio::spawn(async move { Store::new(settings).unwrap().migrate().await })
        });
        for program in futures::future::join_all(programs).await {
            program.unwrap().unwrap();
        }
        let store = Store::new(settings(&dir)).unwrap();
        store.migrate().await.unwrap();
        store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
    }

    /// As the release before `0003_mirror_progress.sql` wrote it.
    const STATEMENT_OF_THE_RELEASE_BEFORE: &str = "
        INSERT INTO session_records (
            session_id, namespace, name, user_name, user_subject, user_groups, target, login, protocol,
            client_address, client_port, client_software, gateway_name, gateway_instance, start_time,
            status, reason, message, last_seen_time, end_time, duration_micros, exit_code, exit_signal,
            bytes_in, bytes_out, terminated_by, recording, is_final, updated_at
        ) VALUES ('old', 'n', 'x', 'alice', 's', '[]', 't', 'l', 'SSH', '::1', 1, NULL, 'g', 'i', 5,
            'terminated', 'AdminTerminated', NULL, NULL, 6, 1, NULL, NULL, NULL, NULL, 'bob', NULL, 1, 6)
        ON CONFLICT (session_id) DO UPDATE SET status = excluded.status, is_final = excluded.is_final
        WHERE excluded.is_final > session_records.is_final";

    #[tokio::test]
    async fn the_release_before_works_on_the_new_schema() {
        let (_dir, store) = store().await;
        execute(&store, STATEMENT_OF_THE_RELEASE_BEFORE).await;
        execute(&store, STATEMENT_OF_THE_RELEASE_BEFORE).await;
        let rows = all(&store).await;
        assert_eq!((rows.len(), rows[0].terminated_by.as_deref()), (1, Some("bob")));
        let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
        let terminated: bool =
            sqlx::query_scalar("SELECT is_terminated FROM session_records").fetch_one(pool).await.unwrap();
        assert!(terminated);
    }

    #[tokio::test]
    async fn a_database_that_a_newer_release_has_migrated_is_used() {
        let (_dir, store) = store().await;
        let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'of a newer release', TRUE, x'00', 1);
            ALTER TABLE session_records ADD COLUMN new_fashion TEXT";
        execute(&store, migration).await;
        store.migrate().await.unwrap();
        store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
        assert_eq!(all(&store).await.len(), 1);
    }

    #[tokio::test]
    async fn a_changed_migration_is_refused() {
        let (_dir, store) = store().await;
        execute(&store, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
        let error = store.migrate().await.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot migrate the audit database sqlite:///") && error.contains("a changed release"),
            "{error}"
        );
    }

    /// Old programs go on while new ones come: what they name must stay, and what they do not name must have a value.
    #[test]
    fn migrations_only_add() {
        for migrations in [sqlx::migrate!("migrations/sqlite"), sqlx::migrate!("migrations/mysql")] {
            for migration in migrations.iter() {
                let sql = migration.sql.as_str().to_uppercase();
                for word in ["DROP ", "RENAME ", "MODIFY ", "CHANGE COLUMN", "TRUNCATE ", "DELETE "] {
                    assert!(!sql.contains(word), "migration {}: {word}", migration.version);
                }
                for added in sql.split("ADD COLUMN").skip(1) {
                    let column = added.split([';', ',']).next().unwrap_or_default();
                    assert!(
                        !column.contains("NOT NULL") || column.contains("DEFAULT"),
                        "migration {}",
                        migration.version
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn rows_outlive_the_program() {
        let (dir, store) = store().await;
        store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
        drop(store);
        let store = Store::new(settings(&dir)).unwrap();
        assert_eq!(all(&store).await, [SessionRecord::of(&ended("a"))]);
    }

    #[tokio::test]
    async fn errors_name_the_url_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let url = settings(&dir).url;
        let store = Store::new(settings(&dir)).unwrap();
        let error = store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&url) && message.contains("run `bastion migrate`"), "{message}");
        assert_eq!(error.cause, Cause::Schema);
        let nowhere = format!("sqlite://{}/no/folder/audit.db", dir.path().display());
        let store = Store::new(AuditSettings { url: nowhere.clone(), ..settings(&dir) }).unwrap();
        let error = store.migrate().await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&nowhere) && message.contains("a folder that is there"), "{message}");
        assert_eq!(error.cause, Cause::Unreachable);
    }
}
