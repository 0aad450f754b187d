//! One connection to the audit database, of either kind.

use sqlx::mysql::MySqlRow;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, MySql, Sqlite};

use super::statement::{self, Dialect, Statement, Value};

/// A connection that returns to the pool when it is dropped.
pub enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
}

impl Connection {
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Begins a transaction that writes. On SQLite it takes the write lock at once.
    pub async fn begin_writing(&mut self) -> Result<(), sqlx::Error> {
        self.execute_raw(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::MySql(_) => "START TRANSACTION",
        })
        .await
    }

    pub async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.execute_raw("COMMIT").await
    }

    async fn execute_raw(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(&mut **connection).await.map(drop),
            Self::MySql(connection) => sqlx::raw_sql(sql).execute(&mut **connection).await.map(drop),
        }
    }

    /// Executes a statement that returns no rows.
    pub async fn execute(&mut self, statement: Statement) -> Result<(), sqlx::Error> {
        let Statement { sql, values } = statement;
        // Not kept as a prepared statement, because the text differs with the size of the batch.
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

    /// Executes a query and returns its rows.
    pub async fn rows<T>(&mut self, statement: Statement) -> Result<Vec<T>, sqlx::Error>
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

    /// Returns the number of batches that were ever written; zero in a new database.
    pub async fn batches(&mut self) -> Result<i64, sqlx::Error> {
        let sql = AssertSqlSafe(statement::batches().sql);
        let batches: Option<i64> = match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_optional(&mut **connection).await?,
            Self::MySql(connection) => sqlx::query_scalar(sql).fetch_optional(&mut **connection).await?,
        };
        Ok(batches.unwrap_or_default())
    }

    /// Closes the connection instead of returning it to the pool.
    pub fn close(self) {
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
