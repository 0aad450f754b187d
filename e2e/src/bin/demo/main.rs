//! `make demo`: the whole bastion on this machine, and how soon each end of a session is seen.
//!
//! On a terminal it stays up afterwards, to be tried. Without one it ends, with an error where a scene fell short.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod at_once;
mod in_time;
mod report;
mod scenes;
mod stage;

use std::io::IsTerminal;
use std::process::ExitCode;

use stage::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let stage = Stage::set_up().await;
    let scenes = scenes::play(&stage).await;
    stage.progress("waiting for the audit database");
    let records = stage.records().await;
    println!("\nThe audit database:\n\n{}", report::records(&records));
    println!("kubectl get bastionsessions:\n\n{}", stage.sessions().await);
    println!("{}\n{}", report::told(&scenes), report::scenes(&scenes));
    let all_well = !scenes.iter().any(report::Scene::fell_short);
    if !all_well {
        eprintln!("{}", stage.last_words());
    }
    if std::io::stdout().is_terminal() {
        println!("{}", stage.invitation().await);
        tokio::signal::ctrl_c().await.expect("Ctrl-C can be awaited");
        println!();
    }
    stage.take_down().await;
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
