//! `bastion self-test`: opens one session through the gateways, with a temporary user and target, and checks that it ends.

mod client;
mod run;
mod target;

pub use run::{Settings, run};
