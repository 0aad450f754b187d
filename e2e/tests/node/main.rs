//! The chart on a real node, with real Pods and Services: `hack/cluster cargo test --test node`. Each test has a release of
//! its own, in a namespace of its own.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod cluster;
mod release;

mod install;
mod node_loss;
mod outages;
mod pod_replacement;
mod rights;
mod uninstall;
mod upgrade;
