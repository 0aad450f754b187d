//! Load tests: many sessions at once, and what the API server has to do for them. They run after the end-to-end
//! tests, whose default_timeout they would try.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod environment;

mod heartbeats;
mod idle;
mod large;
mod losses;
mod outage;
mod resets;
mod writers;
