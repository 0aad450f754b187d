//! An SSH bastion for Kubernetes whose list of online sessions is always true.
//!
//! Start with [`api`], which defines a session, and [`lifecycle`], which decides when it ends. The programs are [`gateway`],
//! [`controller`], [`audit`] and [`console`].

mod addresses;
pub mod api;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod console;
pub mod controller;
pub mod drain;
pub mod failpoints;
pub mod gateway;
pub mod http;
pub mod leases;
pub mod lifecycle;
mod memory_budget;
pub mod metrics;
pub mod open_files;
pub mod plugin;
pub mod recording;
pub mod redis;
#[cfg(test)]
mod reference;
pub mod self_test;
pub mod shutdown;
mod slots;
pub mod tasks;
pub mod telemetry;
mod text;
