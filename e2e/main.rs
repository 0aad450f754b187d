//! End-to-end tests: a real API server, a real sshd, real `ssh` clients, and a namespace a test.

mod harness;
mod policies;
mod schema;
