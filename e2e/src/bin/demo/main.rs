//! `make demo`: the whole bastion on this machine, and how soon each end of a session is seen.
//!
//! On a terminal it stays up afterwards, to be tried. Without one it ends, with an error where a scenario fell short.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod at_once;
mod environment;
mod in_time;
mod report;
mod scenarios;

use std::io::IsTerminal;
use std::process::ExitCode;

use environment::Environment;

#[tokio::main]
async fn main() -> ExitCode {
    let environment = Environment::set_up().await;
    let scenarios = scenarios::run(&environment).await;
    environment.progress("waiting for the audit database");
    let records = environment.records().await;
    println!("\nThe audit database:\n\n{}", report::records(&records));
    println!("kubectl get bastionsessions:\n\n{}", environment.sessions().await);
    println!("{}\n{}", report::notices(&scenarios), report::scenarios(&scenarios));
    let all_well = !scenarios.iter().any(report::ScenarioResult::fell_short);
    if !all_well {
        eprintln!("{}", environment.last_words());
    }
    if std::io::stdout().is_terminal() {
        println!("{}", environment.instructions().await);
        tokio::signal::ctrl_c().await.expect("Ctrl-C can be awaited");
        println!();
    }
    environment.take_down().await;
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
