//! End-to-end tests: a real API server, a real sshd, real `ssh` clients, and a namespace a test.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod harness;

mod access;
mod audit_log;
mod audit_store;
mod bridge;
mod browser;
mod certificates;
mod clients;
mod clocks;
mod compat;
mod console;
mod console_sign_in;
mod crypto;
mod database;
mod faults;
mod feed;
mod flow;
mod forwards;
mod limits;
mod lock_outs;
mod max_sessions;
mod menu;
mod network;
mod order;
mod partitions;
mod plugin;
mod policies;
mod programs;
mod proxy_header;
mod quota;
mod recordings;
mod records;
mod redis;
mod refusals;
mod rekey;
mod reverse;
mod rough;
mod scenes;
mod schema;
mod second_factors;
mod signals;
mod startups;
mod targets;
mod terminal;
