//! `make bench`: what the gateway costs beside an OpenSSH bastion (`speed`), and how soon the end of a session is shown
//! by a watch (`ends`) and on a page (`page`).
//!
//! The first word on the command line names the measurement. `BASTION_PROGRAM` names the program that is measured, which
//! should be a release build.
#![allow(clippy::expect_used, clippy::panic, reason = "a measurement that cannot go on says why, and stops")]

mod ends;
mod page;
mod speed;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first().map(|(measurement, parts)| (measurement.as_str(), parts)) {
        Some(("speed", parts)) => speed::run(parts).await,
        Some(("ends", [])) => ends::run().await,
        Some(("page", [])) => page::run().await,
        _ => {
            eprintln!("usage: bench speed [{}]… | bench ends | bench page", speed::PARTS.join(" | "));
            ExitCode::FAILURE
        }
    }
}

/// Writes figures to NAME.json in Cargo's target folder, and says so.
fn write_figures(name: &str, figures: Vec<Value>) {
    let program = std::env::current_exe().expect("the path of this program");
    // target/debug/bench
    let target: PathBuf = program.ancestors().nth(2).expect("a folder above").to_owned();
    let file = target.join(format!("{name}.json"));
    std::fs::write(&file, format!("{:#}\n", Value::from(figures))).expect("the file of the figures");
    println!("\nwritten to {}", file.display());
}
