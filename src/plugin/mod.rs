//! `kubectl bastion`: the plugin for `kubectl`. It uses the rights of the user who runs it.

mod access;
mod check;
mod cli;
mod cluster_client;
mod completion;
mod diagnose;
mod gateway;
mod health;
mod history;
mod host_key;
mod leases;
mod output;
mod person;
mod redact;
mod report;
pub mod rights;
mod run;
#[cfg(test)]
mod samples;
mod select;
mod sessions;
mod ssh;
mod status;
mod step;
mod terminate;
mod watch;

pub use cli::Cli;
use cluster_client::client;
pub use run::run;
