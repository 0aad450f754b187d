//! The store of session records, in a SQLite file or on a MySQL or MariaDB server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::Connection;
use super::error::{Cause, Operation, RequestError, StoreError};
use super::history::{HistoryCounts, HistoryFilter};
use super::pool::Pool;
use super::record::SessionRecord;
use super::settings::{AuditSettings, SettingsError};
use super::{migrations, statement};
use crate::failpoints::failpoint;

/// How long a request may take, including the wait for a lock.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The audit database. Clones share its connections. It connects at the first request.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    /// The URL without credentials, for errors.
    url: Arc<str>,
}

impl Store {
    /// Creates a store from its settings, without connecting.
    ///
    /// # Errors
    /// When a flag is invalid. The message names it and shows the right form.
    pub fn new(settings: AuditSettings) -> Result<Self, SettingsError> {
        let location = settings.location()?;
        Ok(Self { pool: Pool::new(&location, settings), url: location.to_string().into() })
    }

    /// Migrates the schema if it is not up to date. Several programs may call this at once: one migrates, the others wait.
    ///
    /// # Errors
    /// When a migration fails, or was changed after it was applied. A failed migration may be retried.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = async {
            match self.pool.acquire().await? {
                Connection::Sqlite(mut connection) => migrations::migrate_sqlite(&mut connection).await,
                Connection::MySql(mut connection) => {
                    let migrated = migrations::migrate_mysql(&mut connection).await;
                    // Closing the connection releases its lock, even after a failure.
                    connection.close_on_drop();
                    migrated
                }
            }
        };
        migrated.await.map_err(|error| error.during(Operation::Migrate, &self.url))
    }

    /// Inserts or updates rows in one transaction. A final row never becomes active again, and an older row never replaces
    /// a newer one. Returns the number of batches that were ever written to this database, including this one.
    ///
    /// # Errors
    /// When the transaction fails or takes longer than 10 s. The same rows may be written again.
    pub async fn upsert(&self, rows: &[SessionRecord]) -> Result<i64, StoreError> {
        let written = self.request(async |connection: &mut Connection| {
            connection.begin_writing().await?;
            failpoint("write-rows").await.map_err(|_| sqlx::Error::WorkerCrashed)?;
            if !rows.is_empty() {
                connection.execute(statement::upsert(connection.dialect(), rows)).await?;
            }
            connection.execute(statement::increment_batches(connection.dialect())).await?;
            let batches = connection.batches().await?;
            connection.commit().await?;
            failpoint("rows-written").await.map_err(|_| sqlx::Error::WorkerCrashed)?;
            Ok(batches)
        });
        written.await.map_err(|error| error.during(Operation::Write, &self.url))
    }

    /// Returns the number of batches that were ever written to this database.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn batches(&self) -> Result<i64, StoreError> {
        self.read(async |connection: &mut Connection| connection.batches().await).await
    }

    /// Returns a page of the history: newest first, `limit` rows at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, filter: &HistoryFilter, limit: u32) -> Result<Vec<SessionRecord>, StoreError> {
        self.read(async |connection: &mut Connection| connection.rows(statement::history(filter, limit)).await).await
    }

    /// Returns the row of the session with this uid.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn get(&self, session_id: &str) -> Result<Option<SessionRecord>, StoreError> {
        self.read(async |connection: &mut Connection| Ok(connection.rows(statement::get(session_id)).await?.pop()))
            .await
    }

    /// Returns the numbers of starts and ends in a namespace since a time, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn counts(&self, namespace: &str, since: i64) -> Result<HistoryCounts, StoreError> {
        let starts = statement::starts(namespace, since);
        let ends = statement::ends_by_reason(namespace, since);
        let counted = self.read(async |connection: &mut Connection| {
            Ok((connection.rows(starts).await?, connection.rows(ends).await?))
        });
        let (starts, ends): (Vec<(i64,)>, Vec<(String, i64)>) = counted.await?;
        Ok(HistoryCounts { starts: starts.into_iter().map(|(count,)| count).sum(), ends: ends.into_iter().collect() })
    }

    async fn read<T>(
        &self,
        request: impl AsyncFnOnce(&mut Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.request(request).await.map_err(|error| error.during(Operation::Read, &self.url))
    }

    /// Sends a request over a connection of the pool. The connection is closed after a failure, because it may be in the
    /// middle of a transaction.
    async fn request<T>(
        &self,
        request: impl AsyncFnOnce(&mut Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, RequestError> {
        let mut connection = self.pool.acquire().await?;
        match timeout(REQUEST_TIMEOUT, request(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                connection.close();
                Err(error.into())
            }
            Err(_) => {
                connection.close();
                let error = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
                Err(RequestError::new(Cause::Timeout, error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
