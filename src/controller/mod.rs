//! `bastion controller`: ends orphaned sessions, mirrors sessions into the audit database, and deletes recorded ones.

mod failure_detector;
mod leader;
mod pods;
mod quota;
mod redis_heartbeats;
mod reported_ends;
mod retention;
mod run;
mod sessions;
mod settings;
mod shared_detector;

pub use run::run;
pub use settings::Settings;
