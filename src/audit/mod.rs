//! The audit database: a projection of sessions, for history and never for "who is online".
//!
//! A [`SessionRecord`] is what one session looks like as a row, the [`Store`] holds the rows, and [`mirror`] keeps
//! them in step with the cluster. A session that has ended keeps the finalizer [`AUDIT_FINALIZER`] until its row is
//! committed, so that no session can go away without having been recorded.
//!
//! [`AUDIT_FINALIZER`]: crate::api::AUDIT_FINALIZER

mod failure;
mod history;
pub mod mirror;
mod pending;
mod progress;
mod release;
mod row;
#[cfg(test)]
pub(crate) mod samples;
mod settings;
pub mod statement;
mod store;

pub use failure::{Cause, StoreError};
pub use history::{HistoryCounts, HistoryFilter, PageKey};
pub use row::SessionRecord;
pub use settings::{AuditSettings, AuditTls, SettingsError};
pub use store::Store;
