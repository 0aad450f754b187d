//! The database of a run's audit records: a file of SQLite's, or a MariaDB.

use std::ffi::OsString;
use std::path::PathBuf;

use bastion_e2e::programs::audit_store;
use bastion_e2e::robustness::schedule::DatabaseKind;
use bastion_e2e::{MariaDb, Namespace};
use bastion_operator::audit::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

pub enum Database {
    Sqlite { file: PathBuf, store: Store },
    MariaDb { server: Box<MariaDb>, database: bastion_e2e::Database },
}

/// What keeps a database away.
pub enum Outage {
    Lock(SqliteConnection),
    Killed,
}

impl Database {
    pub async fn start(kind: DatabaseKind, namespace: &Namespace) -> Self {
        match kind {
            DatabaseKind::Sqlite => {
                Self::Sqlite { file: namespace.dir.join("audit.db"), store: audit_store(namespace) }
            }
            DatabaseKind::MariaDb => {
                let server = Box::new(MariaDb::start(&[]).await);
                let database = server.migrated_database().await;
                Self::MariaDb { server, database }
            }
        }
    }

    /// What leads programs to it, besides what they are told anyway.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        match self {
            Self::Sqlite { .. } => vec![],
            Self::MariaDb { database, .. } => database.environment(),
        }
    }

    pub fn store(&self) -> Store {
        match self {
            Self::Sqlite { store, .. } => store.clone(),
            Self::MariaDb { database, .. } => database.store(),
        }
    }

    /// Holds SQLite's write lock, or kills MariaDB.
    pub async fn go_away(&mut self) -> Outage {
        match self {
            Self::Sqlite { file, .. } => {
                let mut lock = SqliteConnectOptions::new().filename(file).connect().await.expect("the database's file");
                sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut lock).await.expect("the lock of the database");
                Outage::Lock(lock)
            }
            Self::MariaDb { server, .. } => {
                server.kill().await;
                Outage::Killed
            }
        }
    }

    pub async fn come_back(&mut self, outage: Outage) {
        match (self, outage) {
            (_, Outage::Lock(lock)) => lock.close().await.expect("the lock is given back"),
            (Self::MariaDb { server, .. }, Outage::Killed) => server.start_again().await,
            (Self::Sqlite { .. }, Outage::Killed) => {}
        }
    }
}
