//! `kubectl bastion`: the bastion for those who have `kubectl`.

use std::process::ExitCode;

use bastion_operator::plugin::{self, Cli};
use clap::Parser;

/// The exit status of what never reached a target, as `ssh` itself has for its own failures.
const NOT_RUN: u8 = 255;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let failure = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(plugin::run(cli)),
        Err(error) => error.into(),
    };
    eprintln!("bastion: {failure:#}");
    ExitCode::from(NOT_RUN)
}
