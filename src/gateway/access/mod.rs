//! Access of users to targets: the directory, rights, session limits, revocation and refusals.

mod access_cache;
mod access_error;
mod admission;
mod changes;
mod directory;
mod max_sessions;
mod refusal;
mod refusal_events;
mod revocation;

pub use access_error::AccessError;
pub use admission::{AccessDeps, Admitted, ChannelPolicy};
pub use directory::{Directory, Grant};
pub use max_sessions::SessionLimit;
pub use refusal::Refusal;
pub use refusal_events::RefusalEvents;
pub use revocation::end_revoked_sessions;
