//! Migrations of the schema, in `migrations/`.

use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection, MySqlConnection, SqliteConnection};

use super::error::{Cause, RequestError};

/// How long a migration on MySQL waits for the migration of another program, in seconds.
const LOCK_TIMEOUT_SECONDS: i64 = 300;

/// Migrates a SQLite database in one transaction. A second program waits for the lock, and then finds nothing to do.
pub async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<(), RequestError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // `run` does the same, but its future is not `Send` while it borrows a connection.
    tolerant(sqlx::migrate!("migrations/sqlite")).run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Migrates a MySQL or MariaDB database under a lock of the connection. The caller must close the connection afterwards.
pub async fn migrate_mysql(connection: &mut MySqlConnection) -> Result<(), RequestError> {
    // Check first: a program without the privileges to migrate must work on an up-to-date schema.
    let migrations = tolerant(sqlx::migrate!("migrations/mysql"));
    if is_migrated(connection, &migrations).await {
        return Ok(());
    }
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('bastion-migrate/', SHA1(DATABASE())), ?)")
        .bind(LOCK_TIMEOUT_SECONDS)
        .fetch_one(&mut *connection)
        .await?;
    if locked != Some(1) {
        let error = format!("another program has been migrating it for {LOCK_TIMEOUT_SECONDS} s; try again later");
        return Err(RequestError::new(Cause::Busy, error));
    }
    connection.ensure_migrations_table(&migrations.table_name).await?;
    // MySQL commits each DDL statement by itself. Each migration is a single statement that may be repeated, so an
    // interrupted one runs again.
    sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE").execute(&mut *connection).await?;
    Ok(migrations.run_direct(None, connection, false).await?)
}

/// Accepts migrations of newer releases, because migrations only add. Disables the library's locking, which has no timeout
/// on MySQL and does not exist on SQLite.
fn tolerant(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true).set_locking(false);
    migrations
}

/// Returns whether all migrations of this release were applied unchanged.
async fn is_migrated(connection: &mut MySqlConnection, migrations: &Migrator) -> bool {
    let applied: Result<Vec<(i64, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success").fetch_all(connection).await;
    applied.is_ok_and(|applied| {
        migrations
            .iter()
            .all(|own| applied.iter().any(|(version, checksum)| *version == own.version && **checksum == *own.checksum))
    })
}
