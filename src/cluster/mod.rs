//! The programs' access to the Kubernetes API: clients, watches, and the only writers of sessions and Events.

mod client;
mod conditions;
mod events;
mod lease;
mod readable;
mod request;
mod rights;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
pub mod scripted_api;
mod sessions;
mod watch;
mod watch_pace;

pub use client::{REQUEST_TIMEOUT, client, config};
pub use conditions::ConditionWriter;
pub use events::{EventSink, regarding};
pub use lease::LenientLease;
pub use readable::{Guarded, ReadableStore, Unreadable, UnreadableReports, UnreadableSession, split};
pub use request::{RequestError, START_TIMEOUT, code, injected, is_overloaded, retry_pace, with_retries};
pub use rights::{Right, rbac_user};
pub use sessions::{CreateOutcome, EndOutcome, SessionWriter, WriteError};
pub use watch::{WATCH_SECONDS, watch};
