//! The connection pools of SQLite and MySQL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlSslMode};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, MySqlConnection, Sqlite};
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::error::{Cause, RequestError};
use super::settings::{AuditSettings, AuditTls, Location};

/// How long a request waits for a connection, and how long a connection waits for a lock that another connection holds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between attempts to open a busy SQLite file.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// The maximum number of connections of a pool. Only one of them writes, because the audit program writes one batch at a time;
/// the others serve readers.
const MAX_CONNECTIONS: u32 = 4;
/// After this time a connection is replaced, so that a new password and new certificates take effect.
const MAX_LIFETIME: Duration = Duration::from_mins(10);

/// A pool of connections. Clones share it.
#[derive(Clone, Debug)]
pub enum Pool {
    Sqlite(SqlitePool),
    /// A pool of MySQL or MariaDB, and the settings with the password file, which is read at each request.
    MySql(MySqlPool, Arc<AuditSettings>),
}

impl Pool {
    /// Creates a pool, without connecting.
    pub fn new(location: &Location, settings: AuditSettings) -> Self {
        match location {
            Location::Sqlite { path } => Self::Sqlite(sqlite_pool(path)),
            Location::MySql { user, host, port, database } => {
                let pool = mysql_pool(mysql_options(&settings, user, host, *port, database));
                Self::MySql(pool, Arc::new(settings))
            }
        }
    }

    /// Returns a connection. On MySQL, new connections use the current password.
    pub async fn acquire(&self) -> Result<Connection, RequestError> {
        match self {
            Self::Sqlite(pool) => Ok(Connection::Sqlite(acquire_sqlite(pool).await?)),
            Self::MySql(pool, settings) => {
                if let Some(password) = settings.password()? {
                    pool.set_connect_options(pool.connect_options().as_ref().clone().password(&password));
                }
                match pool.acquire().await {
                    // The pool retries until its timeout and then hides the error.
                    Err(sqlx::Error::PoolTimedOut) => Err(connect_error(&pool.connect_options()).await),
                    connection => Ok(Connection::MySql(connection?)),
                }
            }
        }
    }
}

/// Returns a connection to a SQLite file. Retries while the file is busy, because SQLite's busy timeout does not cover the
/// switch of a new file to WAL.
async fn acquire_sqlite(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, RequestError> {
    let deadline = Instant::now() + ACQUIRE_TIMEOUT;
    loop {
        match pool.acquire().await.map_err(RequestError::from) {
            Err(error) if error.cause == Cause::Busy && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            acquired => return acquired,
        }
    }
}

/// Connects once more to learn why no connection can be made.
async fn connect_error(options: &MySqlConnectOptions) -> RequestError {
    match timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut.into(),
    }
}

fn sqlite_pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A session is deleted after the commit of its row, so the commit must be durable.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(ACQUIRE_TIMEOUT)
        // A large batch needs temporary space, and the database's folder may be the only writable one.
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_release(|connection, _| {
            Box::pin(async move {
                // It usually fails, because no transaction is open.
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
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(MAX_LIFETIME)
        .after_connect(|connection, _| Box::pin(prepare_session(connection)))
        // A cancelled request leaves its transaction open.
        .after_release(|connection, _| {
            Box::pin(async move { sqlx::raw_sql("ROLLBACK").execute(connection).await.map(|_| true) })
        })
        .connect_lazy_with(options)
}

/// Makes MySQL reject values that do not fit instead of truncating them, and limits the wait for locks to 4 s.
async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let sql = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), SESSION innodb_lock_wait_timeout = 4";
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}
