//! The audit database: the history of sessions. Whether a session is online is read from the cluster instead.
//!
//! A [`SessionRecord`] is a session as a row, the [`Store`] holds the rows, and the [`mirror`] writes them. An ended session
//! keeps the finalizer [`AUDIT_FINALIZER`] until its row is committed, so that none is deleted without a record.
//!
//! [`AUDIT_FINALIZER`]: crate::api::AUDIT_FINALIZER

mod backoff;
mod connection;
mod continuity;
mod error;
mod history;
mod migrations;
pub mod mirror;
mod pending;
mod pool;
mod record;
mod release;
#[cfg(test)]
pub(crate) mod samples;
mod settings;
pub mod statement;
mod store;
mod vanished;

pub use error::{Cause, StoreError};
pub use history::{HistoryCounts, HistoryFilter, PageKey};
pub use record::SessionRecord;
pub use settings::{AuditSettings, AuditTls, SettingsError};
pub use store::Store;
