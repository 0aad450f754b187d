//! An SSH bastion for Kubernetes whose list of online sessions is always true.

pub mod api;
pub mod audit;
pub mod metrics;
