//! The binary `kubectl-bastion`, the kubectl plugin of the bastion.

use std::process::ExitCode;

use bastion_operator::plugin::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(plugin::run(cli)),
        Err(error) => {
            eprintln!("bastion: {error}");
            ExitCode::FAILURE
        }
    }
}
