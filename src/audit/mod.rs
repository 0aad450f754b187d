//! `bastion audit`: keeps the records. It writes sessions to the audit database, deletes recorded ones, and serves the history.
//!
//! A [`SessionRecord`] is a session as a row of the audit database, and the [`Store`] holds the rows. The leading instance
//! writes sessions to the store and deletes finished sessions from the cluster. An ended session keeps the finalizer
//! [`AUDIT_FINALIZER`] until its row is committed, so that no session is deleted without a record. The cluster, not the audit
//! database, says which sessions are online.
//!
//! [`AUDIT_FINALIZER`]: crate::api::AUDIT_FINALIZER

mod backoff;
mod connection;
mod continuity;
mod error;
mod history;
mod history_error;
mod history_server;
mod instance;
mod leader;
mod migrations;
mod mirror;
mod pending;
mod pool;
pub mod protocol;
mod pruner;
mod record;
mod release;
mod retention;
mod run;
#[cfg(test)]
pub(crate) mod samples;
mod settings;
pub mod statement;
mod store;
mod vanished;

pub use error::{Cause, StoreError};
pub use history::{HistoryCounts, HistoryFilter, PageKey};
pub use record::SessionRecord;
pub use retention::Retention;
pub use run::{Settings, run};
pub use settings::{AuditSettings, AuditTls, SettingsError};
pub use store::Store;
