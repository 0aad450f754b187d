//! The audit database: a projection of sessions, for history and never for "who is online".
//!
//! A [`SessionRecord`] is what one session looks like as a row, the [`Store`] holds the rows, and [`mirror`] keeps
//! them in step with the cluster. A session that has ended keeps the finalizer [`AUDIT_FINALIZER`] until its row is
//! committed, so that no session can go away without having been recorded.
//!
//! [`AUDIT_FINALIZER`]: crate::api::AUDIT_FINALIZER

pub mod mirror;
mod pending;
mod release;
mod row;
#[cfg(test)]
pub(crate) mod samples;
mod store;

pub use row::SessionRecord;
pub use store::{Store, StoreError};
