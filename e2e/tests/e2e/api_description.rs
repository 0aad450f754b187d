//! The console's API against its own description, as Schemathesis finds it: what it makes up, the console answers as it says it
//! does, and never with a failure of its own.

use std::time::Duration;

use crate::compat::python;
use bastion_e2e::process::command;
use bastion_e2e::{Audit, Bastion, Console, Process, weight};

/// It asks for as long as this at most, and starts in some seconds.
const LOOKING: Duration = Duration::from_mins(10);

#[tokio::test]
async fn whatever_is_asked_is_answered_as_described() {
    let _held = weight::take(2).await;
    let Some(programs) = python().await else { return };
    let bastion = Bastion::with(async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let namespace = &bastion.namespace;
    let _audit = Audit::start(namespace, "audit-0", "1h").await;
    let console = Console::start(namespace).await;
    let _alice = bastion.open("alice").await;
    let (user, token) = namespace.service_account("administrator").await;
    for role in ["bastion-viewer", "bastion-session-terminator"] {
        namespace.bind(&user, role).await;
    }
    let mut run = command(programs.join("schemathesis"));
    run.args(["run", &format!("http://{}/api/v1/openapi.json", console.address)]);
    run.args([
        "--header",
        &format!("Authorization: Bearer {token}"),
        "--header",
        &format!("Origin: http://{}", console.address),
    ]);
    // Python 3.11 sometimes fails to parse a program while another thread does (python/cpython#106905), so there is one worker.
    run.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "20261123", "--workers", "1"]);
    // What is no place to go on from, or no WebSocket, is refused though the description cannot say which text is one.
    run.args([
        "--checks",
        "all",
        "--exclude-checks",
        "positive_data_acceptance",
        "--no-color",
        "--warnings",
        "off",
        "--continue-on-failure",
    ]);
    run.current_dir(&namespace.dir).env("HOME", &namespace.dir);
    let mut run = Process::start(namespace.dir.join("schemathesis"), run).await;
    let outcome = run.finish(LOOKING).await;
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("API Operations"), "{}", outcome.stdout);
}
