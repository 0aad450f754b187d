//! End-to-end tests: a real API server, a real sshd, real `ssh` clients, and a namespace a test.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod harness;

mod access;
mod bridge;
mod clients;
mod clocks;
mod crypto;
mod faults;
mod flow;
mod forwards;
mod limits;
mod network;
mod partitions;
mod policies;
mod programs;
mod records;
mod redis;
mod refusals;
mod rekey;
mod reverse;
mod rough;
mod scenes;
mod schema;
mod signals;
mod targets;
