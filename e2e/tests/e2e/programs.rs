//! The programs themselves: their probes, and what they print.

use bastion_e2e::http::get;
use bastion_e2e::manifests::in_repository;
use bastion_e2e::process::{Process, command};
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{Audit, Bastion, Controller, PROMPT_BOUND};

#[tokio::test]
async fn the_probes_of_the_programs_answer_and_their_metrics_are_served() {
    let bastion = Bastion::up().await;
    let controller = Controller::start(&bastion.namespace, "controller-0").await;
    controller.is_ready().await;
    let audit = Audit::start(&bastion.namespace, "audit-0", "10m").await;
    for (program, address) in
        [("gateway", bastion.gateway.http), ("controller", controller.http), ("audit", audit.http)]
    {
        for path in ["/healthz", "/readyz"] {
            let answer = get(address, path).await;
            assert_eq!(answer.0, 200, "{program} {path}: {answer:?}");
        }
        let (code, metrics) = get(address, "/metrics").await;
        assert!(code == 200 && metrics.contains("bastion_"), "{program} /metrics: {code} {metrics}");
    }
}

#[tokio::test]
async fn the_program_prints_the_crds_that_are_in_the_repository() {
    let run = Run::get().await;
    let mut command = command(&run.bastion);
    command.arg("crds");
    let mut process = Process::start(run.dir.join(format!("crds-{}", unique())), command).await;
    let outcome = process.finish(PROMPT_BOUND).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout == in_repository("crds/bastion.dev.yaml"), "crds/ has drifted: make generate");
}
