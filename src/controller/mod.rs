//! `bastion controller`: detects lost gateways and ends their sessions. Every replica acts; none leads.

mod lease_watch;
mod pods;
mod quota;
mod redis_heartbeats;
mod reported_ends;
mod run;
mod sessions;
mod settings;
mod shared_detector;

pub use run::run;
pub use settings::Settings;
